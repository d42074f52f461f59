"""docs/commands.md: every command with its options, made from the parser.

python tests/command_list.py          writes it; a test checks that it is up to date
"""

import argparse
from pathlib import Path

from fusion_hf.cli import make_parser

PAGE = Path(__file__).resolve().parent.parent / "docs" / "commands.md"
HEAD = """# Commands and options

Made from the parser: `fusion-hf VERB --help` says the same. Exit codes: 0 done, 1 where the verb says so, 2 wrong input
(one line says what is wrong), 130 interrupted.
"""


def page() -> str:
    """The whole page."""
    parser = make_parser()
    parts = [HEAD, _table("For every command", [a for a in parser._actions if _shown(a)])]
    (verbs,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    for name, verb in verbs.choices.items():
        example = verb.epilog.partition("\n")[2].strip()
        parts += [f"## {name}\n\n{verb.description}\n\n```text\n{example}\n```\n"]
        parts += [_table("", [a for a in verb._actions if _shown(a)])]
    return "\n".join(part for part in parts if part)


def _shown(action: argparse.Action) -> bool:
    return action.dest not in ("help", "verb") and action.help is not argparse.SUPPRESS


def _table(title: str, actions: list[argparse.Action]) -> str:
    if not actions:
        return ""
    rows = [f"| `{_name(a)}` | {_text(a)} |" for a in actions]
    head = f"## {title}\n\n" if title else ""
    return f"{head}| option | what it does |\n|---|---|\n" + "\n".join(rows) + "\n"


def _name(action: argparse.Action) -> str:
    value = action.metavar or (action.choices and "{" + ",".join(map(str, action.choices)) + "}") or action.dest.upper()
    value = " ".join(value) if isinstance(value, tuple) else value
    if not action.option_strings:
        return (value if action.metavar or action.choices else action.dest).replace("|", "\\|")
    takes = "" if action.nargs == 0 else f" {value}"
    return (", ".join(action.option_strings) + takes).replace("|", "\\|")


def _text(action: argparse.Action) -> str:
    shown = vars(action) | {"prog": "fusion-hf"}
    text = (action.help or "") % {k: (v.__name__ if hasattr(v, "__name__") else v) for k, v in shown.items()}
    required = "; required" if action.required and action.option_strings else ""
    return (text + required).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
