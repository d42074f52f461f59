"""The child side of `fusion_hf.bench.sandbox`: plain scripts that run in a bare interpreter, without this package."""
