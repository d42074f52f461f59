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
        UserError: No such file, no YAML, more than `MAX_BYTES`, aliases that grow beyond `MAX_NODES`, a key that
            stands twice, or a value that refers to itself.
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
            known: dict[int, int] = {}
            if _size(node, known, ()) > MAX_NODES:
                grow = "holds" if len(known) > MAX_NODES else "its aliases grow to"
                raise UserError(f"{name}: {grow} more than {MAX_NODES} values: expected fewer")
            _check_keys(node, name)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except UserError:
        raise
    except RecursionError as error:
        raise UserError(f"{name}: expected YAML, found values that are nested too deep or hold themselves") from error
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise UserError(f"{name}: expected YAML, found {' '.join(str(error).split())[:200]}") from error


def _check_keys(node: Any, name: str) -> None:
    """Refuse a mapping with one key twice, of which YAML would silently take the last."""
    import yaml

    waiting, seen = [node], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if not isinstance(node, yaml.MappingNode):
            waiting += node.value
            continue
        keys: set[tuple[str, str]] = set()
        for key, value in node.value:
            waiting += [key, value]
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in keys:
                line = key.start_mark.line + 1
                raise UserError(f"{name}, line {line}: {key.value!r:.80} stands twice in one mapping: expected it once")
            keys |= {(key.tag, key.value)} if isinstance(key, yaml.ScalarNode) else set()


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
