"""The child side of `fusion_hf.tasks.sandbox`: plain scripts that run in a bare interpreter, without this package."""
