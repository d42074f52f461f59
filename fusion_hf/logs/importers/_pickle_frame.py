"""The columns of a pickled pandas DataFrame, read as data: nothing that the file names is imported or called.

A pickle is a program; `pickle.load` runs it, and whatever it names. Here its opcodes are only read
(`pickletools.genops` decodes them and runs nothing): what the program would import becomes a `Name`, what it would call
a `Call`, and both are inert. Of the tree that comes out, the few forms are understood that pandas 1 and 2 write for a
frame of NumPy columns. Anything else is refused with the line that converts the file.
"""

import pickletools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ._files import open_binary


class _Unknown(Exception):
    """The pickle holds something that is not understood."""


@dataclass(eq=False)
class Name:
    """What the pickle would import."""

    path: str


@dataclass(eq=False)
class Call:
    """What the pickle would call, with which arguments, and the state that it would set afterwards."""

    name: Any
    args: tuple
    state: Any = None


_BROKEN = (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError)  # what nonsense leads to
_MARK = object()
_LITERALS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_pickled_frame(path: Path) -> dict[str, np.ndarray]:
    """Column name -> values (float64, int64, bool or object arrays) of a DataFrame that pandas 1 or 2 pickled.

    Raises:
        UserError: Not a pickle, or one that holds anything but a frame of plain NumPy columns.
    """
    try:
        with open_binary(path) as file:
            return _frame(_tree(file.read()))
    except (_Unknown, *_BROKEN) as reason:
        raise UserError(
            f"{path}: expected a pickled DataFrame of NumPy columns, found {reason}: nothing in it was run; if you "
            f"trust it, convert it:  python -c \"import pandas; pandas.read_pickle('{path.name}').to_csv"
            f"('{path.name.split('.')[0]}.csv', index=False)\""
        ) from None


def _tree(data: bytes) -> Any:
    """What the pickle describes, with every import as a `Name` and every call as a `Call`."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                return stack.pop()
            _step(opcode.name, argument, stack, memo)
    except _BROKEN as error:
        raise _Unknown(f"no pickle ({' '.join(str(error).split())[:80]})") from None
    raise _Unknown("a pickle that was cut off")


def _step(name: str, argument: Any, stack: list, memo: dict[int, Any]) -> None:
    """One opcode."""
    if name in _LITERALS:
        stack.append(_LITERALS[name])
    elif name in _EMPTY:
        stack.append(_EMPTY[name]())
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
        memo[argument] = stack[-1]
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(memo[argument])
    elif name == "MARK":
        stack.append(_MARK)
    elif name in _TUPLES:
        stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
    elif name in ("TUPLE", "LIST", "DICT", "APPENDS", "SETITEMS", "ADDITEMS", "FROZENSET"):
        _gather(name, stack)
    elif name == "APPEND":
        value = stack.pop()
        stack[-1].append(value)
    elif name == "SETITEM":
        value, key = stack.pop(), stack.pop()
        stack[-1][key] = value
    elif name == "GLOBAL":
        stack.append(Name(".".join(argument.split(" ", 1))))
    elif name == "STACK_GLOBAL":
        attribute, module = stack.pop(), stack.pop()
        stack.append(Name(f"{module}.{attribute}"))
    elif name in ("REDUCE", "NEWOBJ"):
        args, function = stack.pop(), stack.pop()
        stack.append(Call(function, args if isinstance(args, tuple) else (args,)))
    elif name == "BUILD":
        state = stack.pop()
        if not isinstance(stack[-1], Call):
            raise _Unknown("a state for something that is no object")
        stack[-1].state = state
    elif name in ("PROTO", "FRAME"):
        pass
    elif isinstance(argument, str | bytes | bytearray | int | float):
        stack.append(argument)  # every opcode that pushes its argument: numbers, texts, bytes
    elif name == "POP":
        stack.pop()
    else:
        raise _Unknown(f"the opcode {name}")


def _gather(name: str, stack: list) -> None:
    """An opcode that takes everything above the last mark."""
    start = len(stack) - 1
    while stack[start] is not _MARK:
        start -= 1
    items = stack[start + 1 :]
    del stack[start:]
    if name == "APPENDS":
        stack[-1].extend(items)
    elif name == "ADDITEMS":
        stack[-1].update(items)
    elif name == "SETITEMS":
        stack[-1].update(zip(items[::2], items[1::2], strict=True))
    elif name == "DICT":
        stack.append(dict(zip(items[::2], items[1::2], strict=True)))
    else:
        stack.append({"TUPLE": tuple, "LIST": list, "FROZENSET": frozenset}[name](items))


def _is(value: Any, *ends: str) -> bool:
    """Is this a call of a name that ends in one of `ends`?"""
    return isinstance(value, Call) and isinstance(value.name, Name) and value.name.path.endswith(ends)


def _what(value: Any) -> str:
    if isinstance(value, Call):
        return _what(value.name)
    return value.path if isinstance(value, Name) else f"a {type(value).__name__}"


def _frame(tree: Any) -> dict[str, np.ndarray]:
    state = tree.state if _is(tree, ".DataFrame") else None
    manager = (state.get("_mgr") or state.get("_data")) if isinstance(state, dict) else None
    if not _is(manager, ".BlockManager"):
        raise _Unknown(_what(tree) if state is None else _what(manager))
    blocks, axes = _blocks(manager)
    if len(axes) != 2:
        raise _Unknown(f"{len(axes)} axes")
    names, rows = _index(axes[0]), len(_index(axes[1]))
    columns: dict[int, np.ndarray] = {}
    for values, places in blocks:
        if values.ndim != 2 or values.shape != (len(places), rows):
            raise _Unknown(f"a block of shape {values.shape} for {len(places)} columns of {rows} rows")
        columns |= dict(zip(places, values, strict=True))
    if sorted(columns) != list(range(len(names))):
        raise _Unknown(f"{len(columns)} columns for {len(names)} names")
    return {str(names[place]): columns[place] for place in range(len(names))}


def _blocks(manager: Call) -> tuple[list[tuple[np.ndarray, Sequence[int]]], list]:
    """[(values [columns, rows], places of the columns)] and the axes, as pandas 1.3 and later write them."""
    if manager.args and len(manager.args) == 2 and all(_is(b, "._unpickle_block") for b in manager.args[0]):
        parts = [(block.args[0], block.args[1]) for block in manager.args[0]]
        return [(_array(values), _places(places)) for values, places in parts], list(manager.args[1])
    raise _Unknown("a BlockManager of another version of pandas")


def _places(value: Any) -> Sequence[int]:
    if _is(value, ".slice"):
        start, stop, step = value.args
        return range(start, stop, 1 if step is None else step)
    return [int(place) for place in _array(value)]


def _index(value: Any) -> Any:
    """The labels of an axis."""
    if _is(value, "._new_Index") and len(value.args) == 2 and isinstance(value.args[1], dict):
        kind, data = value.args
        if isinstance(kind, Name) and kind.path.endswith(".RangeIndex"):
            return range(data["start"], data["stop"], data["step"])
        if "data" in data:
            return _array(data["data"])
    raise _Unknown(f"an index of the kind {_what(value)}")


def _array(value: Any) -> np.ndarray:
    """An array of numbers, booleans or Python objects."""
    if _is(value, ".multiarray._reconstruct") and isinstance(value.state, tuple) and len(value.state) == 5:
        _, shape, kind, fortran, data = value.state
        return _filled(data, _dtype(kind), shape, "F" if fortran else "C")
    if _is(value, ".numeric._frombuffer") and len(value.args) == 4:
        data, kind, shape, order = value.args
        return _filled(data, _dtype(kind), shape, order)
    raise _Unknown(f"a column of the kind {_what(value)}")


def _filled(data: Any, kind: np.dtype, shape: tuple, order: str) -> np.ndarray:
    if kind.hasobject:
        if not isinstance(data, list):
            raise _Unknown("a column of objects without a list")
        flat = np.empty(len(data), object)
        flat[:] = [_scalar(item) for item in data]
    else:
        flat = np.frombuffer(_bytes(data), kind)
    return flat.reshape(shape, order=order)


def _bytes(value: Any) -> bytes:
    if _is(value, "_codecs.encode") and value.args[1:] == ("latin1",):  # protocols before 3 have no bytes
        return value.args[0].encode("latin1")
    return bytes(value) if isinstance(value, bytes | bytearray) else b""


def _scalar(value: Any) -> Any:
    """A text, a number, None, or a NumPy number; anything else is refused."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if _is(value, ".multiarray.scalar") and len(value.args) == 2:
        return np.frombuffer(_bytes(value.args[1]), _dtype(value.args[0]))[0].item()
    raise _Unknown(f"a cell of the kind {_what(value)}")


def _dtype(value: Any) -> np.dtype:
    """bool, (u)int, float or object, little-endian or of the machine."""
    if _is(value, "numpy.dtype") and value.args and value.args[0] in _KINDS:
        if isinstance(value.state, tuple) and len(value.state) > 1 and value.state[1] == ">":
            raise _Unknown("big-endian numbers")
        return np.dtype(_KINDS[value.args[0]])
    raise _Unknown(f"values of the type {value.args[0] if isinstance(value, Call) and value.args else _what(value)}")


_KINDS = {code: code for code in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")} | {
    "O8": "O", "O": "O",
}  # fmt: skip
