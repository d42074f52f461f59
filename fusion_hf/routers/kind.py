"""Router kinds by name, and loading a saved router."""

from pathlib import Path
from typing import Any

from .. import plugins
from ..errors import UserError, hub_reason
from .base import Router

KINDS: tuple[str, ...] = plugins.names("routers")
"""Router kinds: every file of ``kinds/`` with a line `ROUTER = …`, and those that other packages offer.
``best_single.py`` is the kind ``best-single``, and ``random_.py`` is ``random``."""


def get_kind(name: str) -> type[Router]:
    """The router class of a kind, by its name or a path; a `UserError` lists the known ones."""
    return plugins.load("routers", name).ROUTER


def register() -> None:
    """Make `AutoConfig` and `AutoModel` know every kind; calling it again changes nothing."""
    from transformers import AutoConfig, AutoModel

    for name in KINDS:
        cls = get_kind(name)
        AutoConfig.register(cls.config_class.model_type, cls.config_class, exist_ok=True)
        AutoModel.register(cls.config_class, cls, exist_ok=True)


def load_router(path: str | Path, **kwargs: Any) -> Router:
    """Load a router from a folder or Hub repository, with the code of this package.

    Raises:
        UserError: Nothing is there, or it is no router.
    """
    from transformers import AutoConfig, AutoModel

    register()
    known = {get_kind(name).config_class for name in KINDS}
    try:
        config = AutoConfig.from_pretrained(path, **kwargs)
        if type(config) not in known:
            raise UserError(f"{path}: expected a router of fusion_hf, found a model of type {config.model_type!r}")
        return AutoModel.from_pretrained(path, **kwargs)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no router can be loaded from there: {hub_reason(error)}") from error
