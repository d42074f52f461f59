"""Metrics for `evaluate`: thin shells over the graders and rewards of `fusion_hf.logs`, each a folder and a Space.

``evaluate.load(path("fusion_grade"), "gsm8k")`` needs no network; ``fusion-hf push`` of such a folder makes the Space,
after which ``evaluate.load("user/fusion_grade", "gsm8k")`` works as well. What the shells call stands in `scores`.
"""

from pathlib import Path

from ..errors import UserError

METRICS = tuple(sorted(p.name for p in Path(__file__).parent.iterdir() if (p / f"{p.name}.py").is_file()))
"""Every folder of this one with a file of its own name."""


def path(name: str) -> str:
    """Folder of a metric, for `evaluate.load`; a `UserError` lists the known ones."""
    if name not in METRICS:
        raise UserError(f"unknown metric {name!r}: expected one of {', '.join(METRICS)}")
    return str(Path(__file__).parent / name)
