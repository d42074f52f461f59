"""`fusion-hf`: one thin command a verb over the library. Wrong input gives one line and exit code 2.

A verb is a file of this folder: `HELP`, `EXAMPLE`, `arguments(add)`, `run(args)`. With `FIGURES = True` it takes
``--json FILE``, and what `run` returns is written there.
"""

import argparse
import json
import os
import sys
from importlib import import_module
from pathlib import Path

from ..errors import UserError

VERBS = {
    path.stem.rstrip("_").replace("_", "-"): path.stem
    for path in sorted(Path(__file__).parent.glob("*.py"))
    if not path.stem.startswith("_")
}
"""Verb -> module of this folder."""

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
ENCODER_HELP = "text encoder: a Hub id or folder, offline (extra `offline`), or none (default: %(default)s)"


def read_queries(args) -> list[str]:
    """Queries from the arguments, from --file, or from standard input."""
    if args.query:
        return args.query
    path = getattr(args, "file", None)
    if path and not Path(path).is_file():
        raise UserError(f"{path}: expected a file with a query a line, found nothing there")
    text = Path(path).read_text(encoding="utf-8") if path else sys.stdin.read()
    queries = [line for line in text.splitlines() if line.strip()]
    if not queries:
        raise UserError("no query: give one as an argument, in --file, or on standard input")
    return queries


def chosen_llms(args) -> list[str] | None:
    """The LLMs to learn from, by --llms and --small; None for all. Sizes are those of --pool, else of the log."""
    names = args.llms.split(",") if args.llms else None
    if not args.small:
        return names
    from ..llms.build import pool_rows
    from ..logs.card import llm_rows
    from ..logs.select import small_llms
    from ..logs.store import local_path

    rows = pool_rows(args.pool) if args.pool else llm_rows(local_path(args.bench))
    if not rows:
        raise UserError("--small needs the size of every LLM: give --pool FILE, the log has no config llms")
    small = small_llms({row["name"]: row["size"] for row in rows})
    return small if names is None else [name for name in names if name in small]


def read_option(text: str) -> tuple[str, object]:
    """Name and value of ``NAME=VALUE``; a value that is no number, true, false or null is a string."""
    name, found, value = text.partition("=")
    if not name.isidentifier() or not found:
        raise UserError(f"--option: expected NAME=VALUE, found {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def print_json(result) -> None:
    """Figures on standard output, for a person or a pipe."""
    print(json.dumps(result, indent=1, ensure_ascii=False))


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(prog="fusion-hf", description="Fuse many LLMs from their logs.")
    parser.add_argument("--debug", action="store_true", help="show the traceback of wrong input")
    commands = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, module in VERBS.items():
        verb = import_module(f".{module}", __name__)
        sub = commands.add_parser(
            name, help=verb.HELP, description=verb.HELP[0].upper() + verb.HELP[1:] + ".",
            epilog=f"example:\n  {verb.EXAMPLE}", formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        verb.arguments(sub.add_argument)
        if getattr(verb, "FIGURES", False):
            sub.add_argument("--json", metavar="FILE", help="also write the figures to this file")
        sub.set_defaults(run=verb.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 where the verb says so, 2 wrong input, 130 interrupted."""
    parser = make_parser()
    args, rest = parser.parse_known_args(argv)
    # argparse takes no more positional arguments after an option: queries may stand there too.
    if rest and (not hasattr(args, "query") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.query += rest
    try:
        result = args.run(args)
        if getattr(args, "json", None):
            Path(args.json).write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except UserError as error:
        if args.debug:
            raise
        print(f"fusion-hf {args.verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"fusion-hf {args.verb}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result.get("exit_code", 0) if isinstance(result, dict) else 0
