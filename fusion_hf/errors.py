"""Errors that the user can act on, and the import of optional packages."""

import importlib
from types import ModuleType


class UserError(ValueError):
    """Wrong input. The message is one line that says what was expected, what was found and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


class MissingPackage(UserError, ImportError):
    """An optional package is not installed; the message holds the line that installs it."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say which extra of fusion_hf installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackage(
            f"{module} cannot be imported ({error}): install it with  pip install 'fusion_hf[{extra}]'"
        ) from error
