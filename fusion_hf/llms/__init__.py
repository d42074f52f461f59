"""The pool of LLMs, the ways to reach them, and the collection of their answers."""
