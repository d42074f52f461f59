"""Calling a function when other modules have been imported, so that importing fusion_hf need not import them."""

import sys
import threading
from collections.abc import Callable, Iterable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _Watch:
    """An import finder that finds nothing itself: it sees when imports of some packages begin and end.

    What is to be called waits for the end of the outermost of these imports, when none of the packages' modules is
    half made: a function called earlier would import modules that are still being imported.
    """

    def __init__(self) -> None:
        self.packages: set[str] = set()
        self.waiting: list[tuple[list[str], Callable[[], None]]] = []
        self.depth = threading.local()

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """What the other finders find, followed to the end of its import."""
        if name.partition(".")[0] not in self.packages:
            return None
        finders = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
        specs = (finder.find_spec(name, path, target) for finder in finders)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            self._follow(spec.loader)
        return spec

    def _follow(self, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module  # the loader is as it was
            self.depth.now = getattr(self.depth, "now", 0) + 1
            try:
                execute(module)
            finally:
                self.depth.now -= 1
            if self.depth.now == 0:
                self.call()

        loader.exec_module = exec_module

    def call(self) -> None:
        """Call what waits for a module that is there now."""
        ready = [item for item in self.waiting if any(name in sys.modules for name in item[0])]
        self.waiting = [item for item in self.waiting if item not in ready]
        if not self.waiting and self in sys.meta_path:
            sys.meta_path.remove(self)
        for _, function in ready:
            function()


_WATCH = _Watch()


def after_import(modules: Iterable[str], function: Callable[[], None], packages: Iterable[str] = ()) -> None:
    """Call `function` once, when the first of `modules` has been imported: at once where one is there already.

    Args:
        modules: Full names, such as ``transformers.pipelines``.
        function: Takes nothing. What it raises reaches whoever imports the module.
        packages: Other top-level packages whose imports have to be through before it is called, such as the one that
            defines `function` and imports one of `modules` itself.
    """
    modules = list(modules)
    if any(name in sys.modules for name in modules):
        function()
        return
    if _WATCH not in sys.meta_path:
        sys.meta_path.insert(0, _WATCH)
    _WATCH.packages |= {name.partition(".")[0] for name in modules} | set(packages)
    _WATCH.waiting.append((modules, function))
