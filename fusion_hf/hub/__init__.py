"""What goes to the Hub: kinds of folders, and pushing them with their cards. Nothing else writes to the Hub."""

from .kinds import kind_of
from .upload import planned, push

__all__ = ["kind_of", "planned", "push"]
