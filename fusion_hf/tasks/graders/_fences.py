"""Blocks of code in a text: between tags, and between fences. Each is found in one pass over the text."""

import re

# Tags as prompts write them; in lower case, as in ``arr[end]``, they are code.
_TAG = re.compile(
    r"\[(?P<close>/?)(?P<name>BEGIN|Begin|DONE|Done|END|PYTHON|CODE)\]|</?(?:code|python|solution|answer)>"
    r"|</?(?:pre|code)(?:\s[^<>\n]{0,100})?>"
)
_OPENING = ("BEGIN", "Begin", "PYTHON", "CODE")
_FENCE = re.compile(
    r"^(?P<indent>[ \t]{0,40}(?:(?:[-*+]|\d{1,2}[.)])[ \t]{1,4}(?=[`~]{3}))?)"
    r"(?P<quote>(?:>[ \t]?){0,4})[ \t]{0,12}(?P<mark>`{3,40}|~{3,40})(?P<info>[^\n]{0,2000})$"
)
_LANGUAGE = re.compile(r"(?:python\d?(?:\.\d+)?|py\d?|ipython|sage|code|text|plaintext|txt)\b[:,]?\s?", re.I)
_CODE = re.compile(
    r"(?:def|class|import|from|return|async|for|if|while|try|with|lambda|print|@\w)\b|\w+\s?=\s|\w+\(|[\])}]"
)


def tagged_blocks(text: str) -> tuple[list[str], str]:
    """(the texts between [BEGIN] and [DONE] and the like, the text without the tags)."""
    found: list[str] = []
    start = None
    for tag in _TAG.finditer(text):
        opening = tag["name"] in _OPENING and not tag["close"]
        if start is not None:
            found.append(text[start : tag.start()])
            start = None
        if opening:
            start = tag.end()
    if start is not None:
        found.append(text[start:])
    return found, _TAG.sub("", text)


def fenced_blocks(text: str) -> tuple[list[str], list[str]]:
    """(the texts between fences, the texts around them), each in its order.

    A fence may carry a language, attributes or the first line of the code, be quoted or indented, and lack its partner.
    """
    inside: list[str] = []
    around: list[str] = []
    lines: list[str] = []
    opened: re.Match | None = None
    for line in text.split("\n"):
        fence = _FENCE.match(line) if "```" in line or "~~~" in line else None
        if fence is None:
            if opened is not None and line.rstrip().endswith("```"):
                lines.append(line.rstrip()[:-3])
                inside.append(_block(lines, opened))
                lines, opened = [], None
            else:
                lines.append(line)
            continue
        info = fence["info"].strip()
        if opened is None:
            around.append("\n".join(lines))
        elif fence["mark"][0] != opened["mark"][0] or len(fence["mark"]) < len(opened["mark"]):
            lines.append(line)  # a fence of another kind within this one
            continue
        else:
            inside.append(_block(lines, opened))
        lines = []
        if opened is not None and not info:
            opened = None
            continue
        first, closed = _first_line(info)
        if closed:
            inside.append(first)
            opened = None
        else:
            lines = [first] if first else []
            opened = fence
    (around if opened is None else inside).append("\n".join(lines) if opened is None else _block(lines, opened))
    return inside, [part for part in around if part.strip()]


def _first_line(info: str) -> tuple[str, bool]:
    """(code that stands on the line of an opening fence, whether the fence is closed there)."""
    closed = info.endswith("```")
    info = info.removesuffix("```").rstrip("` ") if closed else info
    language = _LANGUAGE.match(info)
    code = info[language.end() :] if language else info
    return (code, closed) if _CODE.match(code) and not re.match(r"[\w-]+=[\"'{\w]", code) else ("", False)


def _block(lines: list[str], fence: re.Match) -> str:
    """The lines of a block without the quotation marks and the indent that its fence has, too."""
    if fence["quote"]:
        lines = [re.sub(r"^[ \t]{0,40}(?:>[ \t]?){0,4}", "", line, count=1) for line in lines]
    indent = re.sub(r"\S", " ", fence["indent"])  # that of a list's item, too
    if indent and all(line.startswith(indent) or not line.strip() for line in lines):
        lines = [line[len(indent) :] for line in lines]
    return "\n".join(lines) + ("\n" if lines else "")
