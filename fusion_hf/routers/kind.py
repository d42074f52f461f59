"""Router kinds by name, and loading a saved router."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import plugins
from ..errors import UserError, hub_reason
from .base import Router
from .sound import check_config, check_router, weights_bytes

KINDS: Sequence[str] = plugins.Names("routers")
"""Router kinds: every file of ``kinds/`` with a line `ROUTER = …`, and those that other packages and paths offer.
``best_single.py`` is the kind ``best-single``, and ``random_.py`` is ``random``."""
PREFIX = "fusion_hf-"
"""What every ``model_type`` begins with; the name of the kind follows."""

_GIVEN: dict[str, type[Router]] = {}  # classes that were handed over, by the name of their kind


def get_kind(kind: str | type[Router]) -> type[Router]:
    """The class of a router kind, known to `AutoModel` from then on.

    Args:
        kind: A name of `KINDS`, the path of a Python file with a line ``ROUTER = …``, or the class itself.

    Raises:
        UserError: There is no such kind (the message lists the known ones), or it is not what a kind has to be.
    """
    if isinstance(kind, type):
        cls = _register(kind)
        _GIVEN[cls.config_class.model_type.removeprefix(PREFIX)] = cls
        return cls
    if not isinstance(kind, str):
        raise UserError(f"kind: expected a name, a path or a class of routers, found {kind!r}")
    if kind in _GIVEN:
        return _GIVEN[kind]
    name, module = plugins.given("routers", kind)
    return module.ROUTER if plugins.ours("routers", name) else _register(module.ROUTER, name)


def kind_name(kind: str | type[Router]) -> str:
    """Name of a kind: that of its ``model_type``."""
    return get_kind(kind).config_class.model_type.removeprefix(PREFIX)


def register() -> None:
    """Make `AutoConfig` and `AutoModel` know every kind; calling it again changes nothing.

    A kind of another package that fails is left out, with a warning.
    """
    for name, module in plugins.load_all("routers").items():
        try:
            _register(module.ROUTER, name)
        except UserError as error:
            if plugins.ours("routers", name):
                raise
            warnings.warn(f"{error}: it is left out", stacklevel=2)


def _register(cls: Any, name: str | None = None) -> type[Router]:
    from transformers import AutoConfig, AutoModel

    if not isinstance(cls, type) or not issubclass(cls, Router):
        raise UserError(f"router kind {name or cls!r}: expected a subclass of fusion_hf.Router, found {cls!r}")
    found = cls.config_class.model_type
    if not found.startswith(PREFIX) or (name is not None and found != PREFIX + name):
        raise UserError(
            f"router kind {name or cls.__name__!r}: expected a config_class with model_type "
            f"{PREFIX + (name or 'NAME')!r}, found {found!r}"
        )
    AutoConfig.register(found, cls.config_class, exist_ok=True)
    AutoModel.register(cls.config_class, cls, exist_ok=True)
    return cls


def load_router(path: str | Path, trust_remote_code: bool = False, **kwargs: Any) -> Router:
    """Load a router from a folder or Hub repository, with the code of this package.

    Args:
        path: Folder or Hub id.
        trust_remote_code: Whether the code beside a checkpoint may be run where its kind is not known here.
        **kwargs: As in ``AutoModel.from_pretrained``.

    Raises:
        UserError: Nothing is there, it is no router, or its kind is not known here.
    """
    from transformers import AutoConfig, AutoModel

    register()
    options = {"trust_remote_code": trust_remote_code, **kwargs}
    try:
        config = AutoConfig.from_pretrained(path, **options)
        if not config.model_type.startswith(PREFIX):
            raise UserError(f"{path}: expected a router of fusion_hf, found a model of type {config.model_type!r}")
        check_config(config, weights_bytes(path))
        router, loaded = AutoModel.from_pretrained(path, output_loading_info=True, **options)
        if loaded["missing_keys"]:
            raise UserError(f"its weights lack {min(loaded['missing_keys'])}: train it again")
        check_router(router)
        return router
    except UserError as error:
        raise UserError(f"{str(path)[:300]}: {str(error).removeprefix(f'{path}: ')}") from error.__cause__
    except (OSError, ValueError) as error:
        if PREFIX in str(error) or "trust_remote_code" in str(error):
            raise UserError(
                f"{path}: its kind of router is not known here (known: {', '.join(plugins.names('routers'))}): install "
                "the package it comes from, name its file with --plugin FILE.py (fusion_hf.plugins.add), or let the "
                "code beside the checkpoint run with --trust-remote-code, if you trust whoever wrote it"
            ) from error
        raise UserError(f"{str(path)[:300]}: no router can be loaded from there: {hub_reason(error)[:600]}") from error
    except Exception as error:  # whatever a broken file makes of torch and transformers
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: a broken router ({type(error).__name__}: {reason}): train it again") from error
