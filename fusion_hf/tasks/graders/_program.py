"""The Python program that a response stands for: blocks of code, and how they are read as one program."""

import ast
import builtins
import json
import re
import sys
import textwrap
import unicodedata
import warnings
from collections.abc import Iterator
from functools import lru_cache

from ._fences import fenced_blocks, tagged_blocks
from ._final import final_text
from ._needed import CODE_LINE, FUNCTIONS, bound, parsed, with_helpers, without_words

LONGEST = 100_000  # characters of a response that are read: a megabyte is no program that a task asks for
_CUTS = 40  # lines that do not parse are cut off the end so many times
_INDENTED = re.compile(r"^[ \t]+\S", re.M)
_IMPORTS = re.compile(r"\s*(?:(?:import|from) [^\n]*\n(?:[ \t]*\n)*)+")
_PROMPTED = re.compile(r"^(?:>>>|\.\.\.|In \[\d{1,4}\]:|[ ]{1,9}\.\.\.:) ?", re.M)
_AROUND = re.compile(r"\A\s{0,9}(?:python\d?|py)[ \t]*\n|</?(?:pre|s|bos)>", re.I)
_QUOTED = re.compile(r"\A\s{0,9}>[ ]?(?:def|class|import|from|@)\b")
_INLINE = re.compile(r"`((?:def|lambda|class)\b[^`\n]{1,1000})`")
_INDENTED_RUN = re.compile(r"^[ \t]+\S[^\n]*(?:\n(?:[ \t]+[^\n]*|(?=\n)))*", re.M)
_QUOTES = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "′": "'", "−": "-", "–": "-"})
_JSON_CODE = re.compile(
    r"\"(?:code|solution|program|completion|function|implementation|answer|python_code)\"\s{0,3}:\s{0,3}"
    r"(\"(?:[^\"\\\n\t]|\\[\"\\/bfnrt]){1,10000}\")"
)
_ANSI = re.compile(r"\x1b\[[0-9;]{0,20}m")


def read_program(response: str, reference: dict, query: str = "") -> str | None:
    """The program that a response stands for: prompt and body, or a whole definition; None if there is no code.

    The last block that defines what the tests call is the answer, with the imports, constants and helpers that it needs
    from other blocks. Where no block does, it is the last one that defines anything.
    """
    text = final_text(response, query)[:LONGEST]
    found = list(blocks(text))
    whole = _choose(found, reference)
    if whole is None:
        mended = [variant for block in found for variant in _variants(block, reference)]
        whole = _choose(mended, reference)
    if whole is not None:
        return without_words(with_helpers(whole[0], whole[1], found))
    first = next((block for block in found if block.strip()), None)
    return None if first is None else (reference["prompt"] or "") + first


def blocks(text: str) -> Iterator[str]:
    """Candidate blocks, best first: tagged ones from the last, fenced ones from the last, then the text around them."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    tagged, untagged = tagged_blocks(text)
    for block in reversed(tagged):
        inside, around = fenced_blocks(block)
        yield from reversed(inside)
        yield from (_trim(part) for part in reversed(around))
    inside, around = fenced_blocks(untagged)
    yield from reversed(inside)
    yield from (_trim(part) for part in reversed(around))
    yield from (json.loads(found) for found in _JSON_CODE.findall(text))


def _trim(block: str) -> str:
    """Without empty lines around; the blanks before the first line stay, for they may be a body's indent."""
    return re.sub(r"\A(?:[ \t]*\n)+", "", block).rstrip()


def _choose(found: list[str], reference: dict) -> tuple[str, str] | None:
    """(program, block) of the first block that defines what is tested, else of the first that defines anything."""
    name = reference["entry_point"]
    rounds: list = [lambda block: True]
    if name:
        # A block that has the whole function goes before one that may be its body, and that before an example.
        defined = re.compile(rf"^[ \t]*(?:async )?def {re.escape(name)}\b", re.M)
        rounds = [defined.search, re.compile(r"\b(?:return|yield)\b").search, rounds[0]]
    wanted = () if name else called_names(tuple(reference["tests"]), reference.get("setup", ""))
    for names in (wanted, ()) if wanted else ((),):
        for fits in rounds:
            for block in found:
                if block.strip() and fits(block):
                    for program in _readings(block, reference):
                        if _parses(program) and _defines(program, reference, names):
                            return program, block
    return None


@lru_cache(maxsize=4096)
def called_names(tests: tuple[str, ...], setup: str = "") -> tuple[str, ...]:
    """Names that tests call and do not define themselves, without those of Python."""
    called, own = set(), set(dir(builtins))
    for code in (setup, *tests):
        try:
            tree = ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        own |= bound(tree)
        if code is not setup:
            called |= {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    return tuple(sorted(called - own))


def _variants(block: str, reference: dict) -> Iterator[str]:
    """Forms of a block that does not parse: without invisible characters, prompts of a shell, and prose around it."""
    plain = block if block.isascii() and block.isprintable() else _visible(block)
    plain = _AROUND.sub("", plain)
    if _QUOTED.match(plain):
        plain = re.sub(r"^[ \t]{0,3}>[ ]?", "", plain, flags=re.M)
    inline = _INLINE.search(plain) if "`" in plain else None
    if inline:
        yield inline.group(1)
    if reference["prompt"] and (body := _INDENTED_RUN.search(plain)):
        yield textwrap.dedent(body.group())
    if ">>>" in plain or "In [" in plain:
        plain = _PROMPTED.sub("", plain)
    starts = {0}
    for pattern in (CODE_LINE, _INDENTED) if reference["prompt"] else (CODE_LINE,):
        start = pattern.search(plain)
        if start:
            starts.add(start.start())
    for start in sorted(starts):
        yield plain[start:]
        yield from _cut(plain[start:], reference)


def _cut(block: str, reference: dict) -> Iterator[str]:
    """The longest beginning of a block whose first reading parses: prose or a line that was cut off may follow it."""
    for reading in range(2):
        lines = block.split("\n")
        for _ in range(_CUTS):
            program = next((p for i, p in enumerate(_readings("\n".join(lines), reference)) if i == reading), None)
            place = None if program is None else _error_line(program)
            if program is None or place is None:
                break
            before = program.count("\n") + 1 - len(lines)
            end = min(place - 1 - before, len(lines) - 1)
            if end <= 0:
                break
            lines = lines[:end]
        else:
            continue
        if len(lines) < block.count("\n") + 1:
            yield "\n".join(lines)


def _error_line(program: str) -> int | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(program)
        return None
    except SyntaxError as error:
        return error.lineno or 1
    except (ValueError, RecursionError, MemoryError):
        return 1


def _visible(code: str) -> str:
    """Without characters that cannot be seen, with plain blanks and quotation marks."""
    code = re.sub("[\u2028\u2029\x85]", "\n", _ANSI.sub("", code.translate(_QUOTES)))
    kinds = ((c, unicodedata.category(c)) for c in code)
    return "".join(" " if kind == "Zs" else c for c, kind in kinds if kind not in ("Cf", "Cc") or c in "\n\t")


def _readings(block: str, reference: dict) -> Iterator[str]:
    """Programs that a block may stand for: a whole definition, or a body of the prompt in several indents."""
    whole = textwrap.dedent(block)
    name, prompt = reference["entry_point"], reference["prompt"]
    if not prompt:
        yield whole
        return
    if re.search(rf"^(?:async )?def {re.escape(name)}\b", whole, re.M):
        yield whole if whole.lstrip().startswith("from __future__") else f"{prompt}\n    pass\n\n{whole}"
    prompt = prompt if prompt.endswith("\n") else prompt + "\n"
    imports = _IMPORTS.match(block)
    if imports and re.match(r"(?:import|from) ", block):
        head = imports.group().rstrip(" \t")
        rest = block[len(head) :]
        yield from (head + prompt + body for body in _bodies(rest))
    yield from (prompt + body for body in _bodies(block))


def _bodies(block: str) -> Iterator[str]:
    """A function's body as it may have been written: indented, flush left, or indented but for its first line."""
    if block[:1].isspace():
        yield block
    yield textwrap.indent(textwrap.dedent(block), "    ")
    yield "    " + block.lstrip()


def _parses(code: str) -> bool:
    return parsed(code) is not None


def _defines(program: str, reference: dict, names: tuple[str, ...] = ()) -> bool:
    """Whether the program holds an answer: the entry point with a body, or a definition that the tests can use.

    Where the tests name what they call, a block that only assigns other names is an example of use, not the answer.
    """
    body = parsed(program).body
    name = reference["entry_point"]
    defined = {node.name for node in body if isinstance(node, (*FUNCTIONS, ast.ClassDef))}
    assigned = {t.id for n in body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
    if name:
        ours = [node for node in body if isinstance(node, FUNCTIONS) and node.name == name]
        empty = bool(ours) and all(isinstance(n, ast.Expr | ast.Pass) for n in ours[-1].body)
        return (bool(ours) and not empty) or name in assigned
    if names:
        real = [n for n in body if isinstance(n, ast.ImportFrom) and n.module in sys.stdlib_module_names]
        imported = {a.asname or a.name for n in real for a in n.names}
        return bool((defined | assigned | imported) & set(names))
    if defined:
        return True
    tests = "\n".join(reference["tests"])
    return any(target in tests and re.search(rf"\b{re.escape(target)}\b", tests) for target in assigned)
