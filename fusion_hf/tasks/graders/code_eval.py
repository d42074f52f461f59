"""Code: the program passes the tests of its task (Chen et al., arXiv 2107.03374), run in `fusion_hf.tasks.sandbox`.

The gold answer is one JSON object: ``{"prompt": code that the answer completes, "setup": code that prepares the tests,
"tests": [code], "entry_point": name that the answer must define or complete ("" where the tests name it)}``.
"""

import ast
import json
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence

from ...errors import UserError
from ..sandbox import run_python
from ._grade import Grade

# CPU time decides, so that a busy machine fails nobody; the wall clock is for programs that sleep.
CPU_S, TIMEOUT_S = 10.0, 30.0
# Tags as prompts write them; in lower case, as in ``arr[end]``, they are code.
_TAGS = re.compile(
    r"\[(?:BEGIN|Begin)\](.*?)(?:\[/?(?:DONE|Done)\]|\[/(?:BEGIN|Begin)\]|\[END\]|(?=\[(?:BEGIN|Begin)\])|\Z)", re.S
)
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[ \t]*[\w+-]*[ \t]*\n(.*?)(?:^[ \t]*(?:```|~~~)|\Z)", re.S | re.M)
_FENCE_LINE = re.compile(r"^[ \t]*(?:```|~~~)[\w+-]*[ \t]*$\n?", re.M)
_CODE_LINE = re.compile(r"^(?:def|class|import|from|async def|@)\s?\w*", re.M)
_IMPORTS = re.compile(r"\s*(?:(?:import|from) [^\n]*\n\s*)+")
_FRAMES = re.compile(r"\b(?:f_back|_getframe|currentframe|tb_frame|f_locals|get_referrers|get_objects)\b")


def paper(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """What stands between the first [BEGIN] and [DONE] passes the tests, as one attempt (pass@1)."""
    gold = read_gold(ground_truth)
    _, begun, rest = response.partition("[BEGIN]")
    code, done, _ = rest.partition("[DONE]")
    if not (begun and done):
        return Grade(0.0, None, "no [BEGIN] … [DONE]")
    defined = f"def {gold['entry_point']}" in code
    return _run(code if defined or not gold["prompt"] else gold["prompt"] + code, gold)


def strict(response: str, ground_truth: Sequence[str], query: str) -> Grade:
    """The last block of code that reads as Python, whole or completing the prompt, passes the tests."""
    gold = read_gold(ground_truth)
    program = read_program(response, gold)
    if program is None:
        return Grade(0.0, None, "no Python code could be read")
    if _FRAMES.search(program):
        return Grade(0.0, program, "the code looks into the frames of the program that checks it")
    return _run(program, gold)


def read_gold(ground_truth: Sequence[str]) -> dict:
    """The gold answer's JSON object, checked."""
    try:
        gold = json.loads(ground_truth[0])
        if set(gold) >= {"prompt", "setup", "tests", "entry_point"} and isinstance(gold["tests"], list):
            return gold
        found = ", ".join(gold)
    except (json.JSONDecodeError, TypeError) as error:
        found = f"{ground_truth[0]!r:.60} ({error})"
    raise UserError(f"code_eval: expected gold JSON with prompt, setup, tests and entry_point, found {found}")


def _run(program: str, gold: dict) -> Grade:
    result = run_python(program, timeout=TIMEOUT_S, cpu_s=CPU_S, setup=gold["setup"], tests=gold["tests"])
    return Grade(float(result.ok), program, result.reason)


def read_program(response: str, gold: dict) -> str | None:
    """The program that a response stands for: prompt and body, or a whole definition; None if there is no code."""
    first = None
    for block in _blocks(response):
        for program in _readings(block, gold):
            if _parses(program) and _defines(program, gold):
                return program
        if first is None and block.strip():
            first = (gold["prompt"] or "") + block
    return first


def _blocks(response: str) -> Iterator[str]:
    """Candidate blocks, best first: tagged ones from the last, fenced ones from the last, then the bare text."""
    response = response.replace("\r\n", "\n")
    tagged = _TAGS.findall(response)
    for block in reversed(tagged):
        fenced = _FENCE.findall(block)
        yield from reversed(fenced)
        if not fenced:
            yield _trim(_FENCE_LINE.sub("", block))
    untagged = re.sub(r"\[/?(?:BEGIN|Begin|DONE|Done|END)\]", "", response)
    fenced = _FENCE.findall(untagged)
    yield from reversed(fenced)
    if not tagged and not fenced:
        yield _trim(untagged)
        start = _CODE_LINE.search(untagged)
        lines = untagged[start.start() :].splitlines() if start else []
        # Prose may follow the code: the longest beginning that parses is the code.
        for end in range(len(lines), max(len(lines) - 60, 0), -1):
            code = "\n".join(lines[:end])
            if _parses(code):
                yield code
                break


def _trim(block: str) -> str:
    """Without empty lines around; the blanks before the first line stay, for they may be a body's indent."""
    return re.sub(r"\A(?:[ \t]*\n)+", "", block).rstrip()


def _readings(block: str, gold: dict) -> Iterator[str]:
    """Programs that a block may stand for: a whole definition, or a body of the prompt in several indents."""
    whole = textwrap.dedent(block)
    name, prompt = gold["entry_point"], gold["prompt"]
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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(code)
        return True
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _defines(program: str, gold: dict) -> bool:
    """Whether the program holds an answer: the entry point with a body, or a definition that the tests can use.

    Where the tests name what they call, a block that only assigns other names is an example of use, not the answer.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        body = ast.parse(program).body
    name = gold["entry_point"]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    assigned = {ast.unparse(t) for n in body if isinstance(n, ast.Assign) for t in n.targets}
    if name:
        ours = [node for node in body if isinstance(node, kinds) and node.name == name]
        empty = bool(ours) and all(isinstance(n, ast.Expr | ast.Pass) for n in ours[-1].body)
        return (bool(ours) and not empty) or name in assigned
    if any(isinstance(node, (*kinds, ast.ClassDef)) for node in body):
        return True
    return any(re.search(rf"\b{re.escape(target)}\b", test) for target in assigned for test in gold["tests"])
