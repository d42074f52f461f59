"""Text encoders: any Hugging Face model, or a static table of token embeddings."""
