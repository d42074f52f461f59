"""What goes to the Hub: kinds of folders, their cards, and pushing. Nothing else writes to the Hub."""

from ..distill.report import write_adapter_card
from .cards import write_router_card
from .kinds import kind_of
from .upload import planned, push

__all__ = ["kind_of", "planned", "push", "write_adapter_card", "write_router_card"]
