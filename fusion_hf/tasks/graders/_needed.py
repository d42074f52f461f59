"""What an answer in Python needs from other blocks of a response: imports, constants, functions and classes."""

import ast
import builtins
import re
import textwrap
import warnings
from collections.abc import Iterator
from functools import lru_cache

CODE_LINE = re.compile(r"^(?:def|class|import|from|async def|@)\s?\w*", re.M)
_BINDING = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Try, ast.If)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@lru_cache(maxsize=256)
def parsed(code: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def with_helpers(program: str, block: str, found: list[str]) -> str:
    """The program after the imports, constants, functions and classes that it uses and that other blocks define."""
    if len(found) < 2 or "from __future__" in program:
        return program
    others = [tree for other in found if other is not block for tree in _trees(other)]
    defined: dict[str, ast.stmt] = {}
    for tree in others:
        for node in tree.body:
            if isinstance(node, (*FUNCTIONS, ast.ClassDef, *_BINDING)):
                for name in (
                    bound(ast.Module([node], [])) if not isinstance(node, (*FUNCTIONS, ast.ClassDef)) else (node.name,)
                ):
                    defined.setdefault(name, node)
    tree = parsed(program)
    if not defined or tree is None:
        return program
    needed: dict[int, ast.stmt] = {}
    missing = _free(tree) & defined.keys()
    while missing and len(needed) < 100:
        node = defined.pop(missing.pop())
        if id(node) not in needed:
            needed[id(node)] = node
            missing |= _free(ast.Module([node], [])) & defined.keys()
    missing = _free(tree) - {name for node in needed.values() for name in bound(ast.Module([node], []))}
    if missing:  # "from math import *" may be what gives them
        needed |= {
            id(n): n for tree in others for n in tree.body if isinstance(n, ast.ImportFrom) and n.names[0].name == "*"
        }
    order = [node for tree in reversed(others) for node in tree.body if id(node) in needed]
    return "\n".join([*map(ast.unparse, order), program]) if order else program


def _trees(block: str) -> Iterator[ast.Module]:
    """What a block holds as Python: the whole, or the paragraphs of definitions and imports among its prose."""
    whole = parsed(textwrap.dedent(block))
    if whole is not None:
        yield whole
        return
    for paragraph in re.split(r"\n[ \t]*\n", block)[:50]:
        start = CODE_LINE.search(paragraph)
        if start and (tree := parsed(paragraph[start.start() :])) is not None:
            yield tree


def without_words(program: str) -> str:
    """Without lines of words that nothing binds, such as "python" or "This is recursive": they can only fail."""
    tree = parsed(program)
    lone = [n for n in tree.body if isinstance(n, ast.Expr)] if tree else []
    words = [n for n in lone if isinstance(n.value, ast.Name | ast.Compare)]
    if not words:
        return program
    known = bound(tree) | set(dir(builtins))
    lines = program.split("\n")
    for node in words:
        line = lines[node.lineno - 1]
        if not known.intersection(re.findall(r"\w+", line)) and re.fullmatch(r"\s*[A-Za-z]+(?: [a-z]+){0,9}\s*", line):
            lines[node.lineno - 1] = ""
    return "\n".join(lines)


def _free(tree: ast.AST) -> set[str]:
    """Names that code uses and does not bind anywhere."""
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return used - bound(tree) - set(dir(builtins))


def bound(tree: ast.AST) -> set[str]:
    """Names that code binds: assigned, defined, imported, or arguments."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names
