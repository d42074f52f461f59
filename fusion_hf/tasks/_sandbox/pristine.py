"""Keeps what the tests compare with as it was before the answer's code ran.

A program can replace what a test relies on: `sys.modules["math"]`, `math.isclose`, `unittest.TestCase.assertEqual`,
`collections.Counter`. So the modules that the tests name are imported before it; what they hold is put back when it has
run; and when the tests are through, it must still be there. Fresh copies of the modules for the tests alone would not
do: a `Counter` of the program would not equal a `Counter` of the tests.

It covers names of modules, attributes of classes and the code of functions. It does not cover the state of other
objects (an instance, a dict, a closure), code that replaces something while the tests call it and puts it back before
they end, and names that the tests take from the program.
"""

import builtins
import math
import sys

_FUNCTION, _MODULE = type(lambda: None), type(sys)
_GONE = object()
# Types that tests compare. Python cannot patch them; a hole of the interpreter can (the dict behind `str.__dict__`).
_TYPES = (bool, int, float, str, bytes, list, tuple, dict, set, object)
# What programs may set for themselves; "this" and "antigravity" do something when they are imported.
_FREE = {"stdin", "stdout", "stderr", "argv", "path"}
_LAZY = {"__annotations__", "__annotations_cache__", "__doc__"}
_SURPRISES = {"this", "antigravity", "__main__"}


class Tampered(Exception):
    """The program replaced something that the tests use and that cannot be put back."""


class Pristine:
    """What the modules held that the compiled `tests` may use: made before the program, put back after it."""

    def __init__(self, tests: list) -> None:
        names = _names(tests)
        wanted = (names & sys.stdlib_module_names) | {n for n in names if "." in n}
        for name in sorted(wanted - _SURPRISES):
            try:  # noqa: SIM105 (contextlib takes long to import)
                __import__(name)
            except Exception:
                pass  # not a module, or not on this system: where a test needs it, the test fails
        self.registry = sys.modules
        self.modules = dict(sys.modules) if wanted else {"builtins": builtins, "math": math}
        self.builtins, self.kept = builtins.__dict__, dict(builtins.__dict__)
        found = [m for m in self.modules.values() if isinstance(m, _MODULE) and m is not builtins]
        self.names = [(m.__dict__, dict(m.__dict__)) for m in found]
        for table, saved in self.names:
            if table is sys.__dict__:
                for name in _FREE & saved.keys():
                    del saved[name]
        values = [v for _, saved in self.names for v in saved.values()] if wanted else []
        classes = {id(v): v for v in (*values, *_TYPES) if isinstance(v, type)}
        self.classes = [(c, c.__dict__, dict(c.__dict__)) for c in classes.values()]
        values += [v for owner, _, saved in self.classes if owner not in _TYPES for v in saved.values()]
        functions = {id(f): f for v in values for f in _functions(v)}
        self.functions = [
            (f, f.__code__, f.__defaults__, f.__kwdefaults__, dict(f.__kwdefaults__ or {})) for f in functions.values()
        ]

    def put_back(self) -> None:
        """Undo what the program replaced.

        Raises:
            Tampered: It changed a type that Python itself cannot change (through a hole in the interpreter).
        """
        self.builtins.update(self.kept)  # first: everything below calls them
        sys.modules = self.registry
        self.registry.update(self.modules)
        for table, saved in self.names:
            table.update(saved)
            for name in (table.keys() - saved.keys()) & self.kept.keys() - {"__annotations__"}:
                del table[name]  # it would hide a builtin from the module's functions
        for owner, table, saved in self.classes:
            if not _same(table, saved):
                _put_back(owner, table, saved)
        for function, code, defaults, keywords, saved in self.functions:
            if not _same_function(function, code, defaults, keywords, saved):
                function.__code__, function.__defaults__, function.__kwdefaults__ = code, defaults, keywords
                if keywords is not None:
                    keywords.clear()
                    keywords.update(saved)

    def check(self) -> None:
        """Raise `Tampered` if something callable is no longer what `put_back` left, while the tests ran."""
        for name in self.kept:
            if name not in self.builtins or self.builtins[name] is not self.kept[name]:
                raise Tampered(f"builtins.{name}")
        for name, module in self.modules.items():
            if self.registry.get(name) is not module:
                raise Tampered(f"sys.modules[{name!r}]")
        for table, saved in self.names:
            changed = _changed(table, saved)
            hidden = (table.keys() - saved.keys()) & self.kept.keys() - {"__annotations__"}
            if changed or hidden:
                raise Tampered(f"{saved.get('__name__')}.{changed or min(hidden)}")
        for owner, table, saved in self.classes:
            if not _same(table, saved):
                raise Tampered(f"{owner.__module__}.{owner.__qualname__}")
        for function, *rest in self.functions:
            if not _same_function(function, *rest):
                raise Tampered(f"{function.__module__}.{function.__qualname__}")


def _names(codes: list) -> set[str]:
    """Every name in the code, with those of the functions in it."""
    names: set[str] = set()
    codes = list(codes)
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [c for c in code.co_consts if isinstance(c, type(code))]
    return names


def _functions(value: object) -> list:
    """The Python functions of a module's or class's value."""
    kind = type(value)
    if kind is _FUNCTION:
        return [value]
    if kind is staticmethod or kind is classmethod:
        return [f for f in (value.__func__,) if type(f) is _FUNCTION]
    if kind is property:
        return [f for f in (value.fget, value.fset) if type(f) is _FUNCTION]
    return []


def _guarded(name: str, value: object) -> bool:
    """Whether replacing this during the tests is a forgery; a module's own state may be set by its own code."""
    constant = not name.startswith("_") and type(value) in (int, float, str)
    return callable(value) or isinstance(value, _MODULE) or constant


def _changed(table: dict, saved: dict) -> str:
    """The first guarded name of `saved` that `table` holds otherwise, "" if there is none."""
    for name, value in saved.items():
        if table.get(name, _GONE) is not value and _guarded(name, value):
            return name
    return ""


def _same(table: dict, saved: dict) -> bool:
    """Whether a class has the attributes that it had."""
    for name, value in saved.items():
        if table.get(name, _GONE) is not value and name not in _LAZY:
            return False
    return len(table) == len(saved) or not table.keys() - saved.keys() - _LAZY


def _same_function(function, code, defaults: tuple | None, keywords: dict | None, saved: dict) -> bool:
    """Whether a function does what it did."""
    if (
        function.__code__ is not code
        or function.__defaults__ is not defaults
        or function.__kwdefaults__ is not keywords
    ):
        return False
    return keywords is None or (len(keywords) == len(saved) and all(keywords.get(n, _GONE) is saved[n] for n in saved))


def _put_back(owner: type, table: dict, saved: dict) -> None:
    try:
        for name, value in saved.items():
            if table.get(name, _GONE) is not value and name not in _LAZY:
                type.__setattr__(owner, name, value)
        for name in table.keys() - saved.keys() - _LAZY:
            type.__delattr__(owner, name)
    except (TypeError, AttributeError) as error:
        raise Tampered(f"{owner.__module__}.{owner.__qualname__}") from error
