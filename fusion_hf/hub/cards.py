"""What writes the card of a folder: the packages that make such folders offer it, as ``CARDS`` of their card.py."""

from collections.abc import Callable
from pathlib import Path

from .. import plugins


def card_writer(kind: str) -> Callable[[str | Path, str], None] | None:
    """What writes the card of a folder of this kind: (folder, repository id); None where the folder brings its own."""
    for name in plugins.names("cards"):
        writers = plugins.load("cards", name).CARDS
        if kind in writers:
            return writers[kind]
    return None
