"""Kinds of arguments that several commands take: lists, pairs, encoders, queries. They give what the functions take."""

import argparse
import json
import sys
from pathlib import Path

from ..errors import UserError

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
SPLITS = ("train", "partial_test", "test")
OVERWRITE = "write there though it holds something else: files of the same names are replaced"
ENCODER_HELP = "text encoder: a Hub id or folder, offline (extra `offline`), or none (default: %(default)s)"
ROUTER_ENCODER_HELP = (
    "text encoder: a Hub id or folder, offline (extra `offline`), or none; a causal language model (folder, Hub id or "
    ".gguf file) is read inside, where NAME@layer=12@pooling=last@tokens=128 says, or after the layer that predicts "
    "scores best; several between commas stand side by side (default: %(default)s)"
)

KIND_HELP = "router kind: a name, or the path of a Python file with a line ROUTER = …"
TRUST_HELP = "let the code beside the checkpoint run where its kind is not known here"


def names(text: str) -> list[str]:
    """``a,b`` as a list; for ``type=``."""
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"expected names between commas, found {text!r}")
    return found


def pair(text: str) -> tuple[str, str]:
    """``NAME=TEXT``; for ``type=`` with ``action=Pairs``."""
    name, found, value = text.partition("=")
    if not (name.strip() and found and value.strip()):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, found {text!r}")
    return name.strip(), value.strip()


def pair_list(text: str) -> dict[str, str]:
    """``a=b,c=d`` as a dict; for ``type=``."""
    return dict(pair(part) for part in text.split(","))


def number_pair(text: str) -> tuple[str, float]:
    """``NAME=NUMBER``; for ``type=`` with ``action=Pairs``."""
    name, value = pair(text)
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NAME=NUMBER such as gsm8k=2, found {text!r}") from None


def value_pair(text: str) -> tuple[str, object]:
    """``NAME=VALUE`` with a number, true, false or null as in JSON, else text; for ``type=`` with ``action=Pairs``."""
    name, value = pair(text)
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def folds(text: str) -> int | str:
    """A number of folds, or ``tasks``: each task held out in turn."""
    if text == "tasks":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number or tasks, found {text!r}") from None


FOLDS_HELP = "number of folds, or tasks to hold out each task in turn (default: %(default)s)"


def named_folder(text: str) -> tuple[str, str]:
    """``[NAME=]DIR``, named by the folder where no name is given; for ``type=`` with ``action=Pairs``."""
    return pair(text) if "=" in text else (Path(text).name or text, text)


def named_or_all(text: str) -> tuple[str, str]:
    """``[NAME=]DIR``, with the name "" for all where no name is given; for ``type=`` with ``action=Pairs``."""
    return pair(text) if "=" in text else ("", text)


class Pairs(argparse.Action):
    """Repeated pairs as one dict; a name that was given before is an error."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Add a pair."""
        name, value = values
        known = getattr(namespace, self.dest) or {}
        if name in known:
            parser.error(f"argument {option_string}: {name!r} was given twice")
        setattr(namespace, self.dest, {**known, name: value})


def add_systems(add) -> None:
    """What a comparison compares, by level."""
    add("--routers", action=Pairs, type=named_folder, metavar="[NAME=]DIR", help="a router; repeat for more")
    logs = "graded answers to the same queries by"
    add("--thoughts", action=Pairs, type=pair, metavar="NAME=LOG", help=f"{logs} an LLM with thought templates; repeat")
    add("--models", action=Pairs, type=pair, metavar="NAME=LOG", help=f"{logs} a distilled LLM; repeat")
    add("--logs", action=Pairs, type=pair, metavar="NAME=LOG", help=f"{logs} any other LLM; repeat")


def add_queries(add, file_help: str = "read queries from this file, one a line") -> None:
    """The arguments that `read_queries` reads."""
    add("query", nargs="*", default=[], help="queries; none reads standard input, a query a line")
    add("--file", help=file_help)


def read_queries(args) -> list[str]:
    """Queries from the arguments, from --file, or from standard input."""
    file = getattr(args, "file", None)
    if args.query and file:
        raise UserError("expected queries as arguments or --file, found both")
    if args.query:
        if not all(query.strip() for query in args.query):
            raise UserError(f"query {[not q.strip() for q in args.query].index(True) + 1}: expected text, found none")
        return args.query
    if file:
        if not Path(file).is_file():
            raise UserError(f"{file}: expected a file with a query a line, found nothing there")
        try:
            text = Path(file).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{file}: expected UTF-8 text, found byte {error.object[error.start]:#x}") from error
    else:
        if sys.stdin.isatty():
            print("queries, one a line; Ctrl-D ends them:", file=sys.stderr)
        text = sys.stdin.read()
    queries = [line for line in text.split("\n") if line.strip()]
    if not queries:
        raise UserError("no query: give one as an argument, in --file, or on standard input")
    return queries
