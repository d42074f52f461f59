"""Checks of what a user gives to a function: whole numbers, shares and amounts within their bounds."""

import math
from typing import Any

from .errors import UserError


def check_count(name: str, value: Any, least: int = 1, optional: bool = False) -> None:
    """A whole number from `least` on; None too where it is `optional`."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{name}: expected a whole number from {least} on, found {value!r}")


def check_seed(value: Any) -> None:
    """A seed as NumPy and PyTorch both take it: 0 to 4294967295."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32:
        raise UserError(f"seed: expected a whole number from 0 to {2**32 - 1}, found {value!r}")


def check_share(name: str, value: Any) -> None:
    """A number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UserError(f"{name}: expected a number from 0 to 1, found {value!r}")


def check_amount(name: str, value: Any, optional: bool = True) -> None:
    """A finite number from 0 on, such as US dollars; None too where it is `optional`."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise UserError(f"{name}: expected a number from 0 on, found {value!r}")


def check_choice(name: str, value: Any, known: Any) -> None:
    """One of the known words."""
    if value not in tuple(known):
        raise UserError(f"{name}: expected one of {', '.join(map(str, known))}, found {value!r}")
