"""Reading YAML that anyone may have written: bounded in size, plain values only, one line where it is wrong."""

from os import PathLike
from pathlib import Path
from typing import Any

from .errors import UserError

MAX_BYTES = 4 << 20
MAX_NODES = 200_000  # after every alias is written out


def read_yaml(path: str | PathLike[str]) -> Any:
    """Content of a YAML file.

    Raises:
        UserError: No such file, no YAML, more than `MAX_BYTES`, aliases that grow beyond `MAX_NODES`, or a value that
            refers to itself.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: expected a YAML file, but it cannot be read: {reason}") from error
    if len(data) > MAX_BYTES:
        raise UserError(f"{path}: expected a YAML file of at most {MAX_BYTES >> 20} MB")
    return parse_yaml(data, str(path))


def parse_yaml(text: str | bytes, name: str) -> Any:
    """Value of YAML text; `name` says in errors what it is."""
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _size(node, {}, ()) > MAX_NODES:
                raise UserError(f"{name}: its aliases grow to more than {MAX_NODES} values: write them out, or fewer")
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except UserError:
        raise
    except RecursionError as error:
        raise UserError(f"{name}: expected YAML, found values that are nested too deep or hold themselves") from error
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise UserError(f"{name}: expected YAML, found {' '.join(str(error).split())[:200]}") from error


def _size(node: Any, known: dict[int, int], above: tuple[int, ...]) -> int:
    """Nodes at and below `node`, with each alias counted in full."""
    import yaml

    if id(node) in above:
        raise RecursionError
    if id(node) not in known:
        children = node.value if isinstance(node, yaml.CollectionNode) else []
        pairs = [part for child in children for part in (child if isinstance(child, tuple) else (child,))]
        known[id(node)] = 1 + sum(_size(part, known, (*above, id(node))) for part in pairs)
    return known[id(node)]
