"""The choice of the comparison as one thing to load, call and push: for every task the configuration that won."""

from .answer import FusedAnswer
from .asking import Thoughts, collect_candidate
from .choice import FusedDecision
from .system import FusedSystem
from .write import write_fused

__all__ = ["FusedAnswer", "FusedDecision", "FusedSystem", "Thoughts", "collect_candidate", "write_fused"]
