"""Text encoders: any Hugging Face model, a language model read inside, or a static table of token embeddings."""
