"""The embedded sample: a real log of six tiny LLMs that `examples/tiny_fleet` trained, and one of them to read with.

Its card, README.md in this folder, says exactly what it is and how to make it again.
"""

from pathlib import Path

_HERE = Path(__file__).parent


def sample_path() -> Path:
    """The FusionBench folder: splits train, partial_test and test of 14 miniature tasks."""
    return _HERE


def pool_path() -> Path:
    """The pool file that priced the log."""
    return _HERE / "pool.yaml"


def reader_path() -> Path:
    """The one LLM of the fleet that ships: a `transformers` model folder."""
    return _HERE / "reader"
