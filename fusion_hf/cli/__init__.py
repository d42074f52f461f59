"""`fusion-hf`: one thin command a verb over the library. Wrong input gives one line and exit code 2.

A verb is a file of this folder: `HELP`, `EXAMPLE` and `arguments(add)`, whose options have the names and defaults of
the parameters of the function `fusion_hf.<verb>` (`FUNCTION` where that is called otherwise). Where the parameters are
not what is typed it also has `run(args)`, which calls the function and returns its result. The result is printed, and
``--json FILE`` writes its figures. `exit_code(result, args)` says whether a result is a failure.
"""

import argparse
import contextlib
import difflib
import errno
import inspect
import json
import os
import sys
from importlib import import_module
from pathlib import Path

from .. import __version__, plugins
from ..errors import UserError
from ..outputs import write_text
from ..results import Result, jsonable
from ..terminal import quiet, safe
from ._arguments import DEFAULT_ENCODER
from ._config import config_arguments

__all__ = ["DEFAULT_ENCODER", "VERBS", "call", "ended", "main", "make_parser"]

VERBS = {
    path.stem.rstrip("_").replace("_", "-"): path.stem
    for path in sorted(Path(__file__).parent.glob("*.py"))
    if not path.stem.startswith("_")
}
"""Verb -> module of this folder."""


LONGEST_LINE = 4000  # characters: names of a stranger's files may be a million long
DISK = {
    errno.ENOSPC: "no room to write: free some, or write elsewhere",
    errno.EDQUOT: "your quota of the disk is used up: free some, or write elsewhere",
    errno.EFBIG: "a file would grow larger than is allowed (ulimit -f): write elsewhere, or raise the limit",
    errno.EROFS: "a disk that may only be read: write elsewhere",
}


class Parser(argparse.ArgumentParser):
    """Wrong words give one line, and no page of usage before it."""

    def error(self, message: str):
        """Say what is wrong and where the help is, with exit code 2."""
        self.exit(2, f"{self.prog}: {safe(message)}  (see {self.prog} --help)\n")


def function_of(verb: str):
    """The public function of a command."""
    module = import_module(f".{VERBS[verb]}", __name__)
    return getattr(import_module("fusion_hf"), getattr(module, "FUNCTION", verb.replace("-", "_")))


def call(args: argparse.Namespace, **more) -> Result:
    """The function of a command, called with what was typed: options have the names of its parameters.

    Args:
        args: What was parsed.
        more: Parameters that no option has, or in place of what was typed.
    """
    function = function_of(args.verb)
    typed = {name: value for name, value in vars(args).items() if name in inspect.signature(function).parameters}
    return function(**(typed | more))


def ended(run: dict) -> int:
    """The exit code that a run of the collector asks for, by its figures; a line on standard error says why."""
    code, why = import_module("fusion_hf.llms.record").outcome(run)
    if why:
        print(f"fusion-hf: {safe(why)}", file=sys.stderr)
    return code


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(prog="fusion-hf", description="Fuse many LLMs from their logs.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"fusion-hf {__version__}")
    _add_completion(parser)
    commands = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, module in VERBS.items():
        verb = import_module(f".{module}", __name__)
        sub = commands.add_parser(
            name, help=verb.HELP, description=verb.HELP[0].upper() + verb.HELP[1:] + ".", allow_abbrev=False,
            epilog=f"example:\n  {verb.EXAMPLE}", formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        verb.arguments(sub.add_argument)
        sub.add_argument("--json", metavar="FILE", help="also write the result to this file")
        sub.add_argument("--config", metavar="FILE", help="YAML file with options by command, such as "
            f"{{{name}: {{json: result.json}}}}; what is given here wins")  # fmt: skip
        sub.add_argument("--plugin", action="append", default=[], metavar="FILE.py", help="make a file of your own "
            "known: a task, grader, importer, backend or router kind (it is run); repeat for more")  # fmt: skip
        sub.add_argument("-q", "--quiet", action="store_true", help="print the result only: no progress, no warnings")
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        sub.set_defaults(run=getattr(verb, "run", call), exit_code=getattr(verb, "exit_code", None), parser=sub)
    return parser


def _add_completion(parser: argparse.ArgumentParser) -> None:
    """``--print-completion SHELL``, by shtab where that is installed."""

    class Print(argparse.Action):
        def __call__(self, parser, namespace, values, option_string=None):
            try:
                import shtab
            except ImportError:
                parser.error("completion is written by shtab: install it with  pip install 'fusion_hf[completion]'")
            print(shtab.complete(parser, values))
            parser.exit()

    parser.add_argument("--print-completion", choices=("bash", "zsh", "tcsh"), action=Print,
        help="print the completion script of a shell; for bash:  "
        "fusion-hf --print-completion bash > ~/.local/share/bash-completion/completions/fusion-hf")  # fmt: skip


def parse(argv: list[str]) -> argparse.Namespace:
    """What was typed, with the options of ``--config`` before it."""
    parser = make_parser()
    argv = _with_config(argv, next(a for a in parser._actions if a.dest == "verb").choices)
    args, rest = parser.parse_known_args(argv)
    # argparse takes no more positional arguments after an option: queries may stand there too.
    if rest and (not hasattr(args, "query") or any(word.startswith("-") for word in rest)):
        args.parser.error(f"unrecognized arguments: {' '.join(rest)}{_meant(rest, args.parser)}")
    if rest:
        args.query = [*args.query, *rest]
    return args


def _meant(rest: list[str], parser: argparse.ArgumentParser) -> str:
    """What was perhaps meant by options that a command does not have."""
    known = list(parser._option_string_actions)
    for word in (word.split("=")[0] for word in rest if word.startswith("-")):
        if word in known:
            return f"; {word} stands after the command"
        if close := difflib.get_close_matches(word, known, 1):
            return f"; did you mean {close[0]}?"
    return ""


def _with_config(argv: list[str], parsers: dict[str, argparse.ArgumentParser]) -> list[str]:
    """The words of the command line with those of ``--config`` before the command's own."""
    at = next((i for i, word in enumerate(argv) if word in parsers), None)
    if at is None:
        return argv
    look = Parser(prog=f"fusion-hf {argv[at]}", add_help=False, allow_abbrev=False)
    look.add_argument("--config")
    file = look.parse_known_args(argv[at + 1 :])[0].config
    words = [] if file is None else config_arguments(file, argv[at], list(parsers), parsers[argv[at]])
    return [*argv[: at + 1], *words, *argv[at + 1 :]]


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 where the verb says so, 2 wrong input, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        args = parse(argv)
    except UserError as error:
        print(f"fusion-hf: {safe(error)}", file=sys.stderr)
        return 2
    try:
        with quiet(args.quiet):
            _check_json(args.json)
            for file in args.plugin:
                plugins.add(file)
            result = args.run(args)
        return _show(result, args)
    except KeyboardInterrupt:
        print(f"fusion-hf {args.verb}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if args.debug:
            raise
        reason = _disk(error, args)
        print(f"fusion-hf {args.verb}: {reason or _reason(error)}", file=sys.stderr)
        return 2 if reason or isinstance(error, UserError | OSError) else 1


def _show(result: Result, args: argparse.Namespace) -> int:
    """Print a result, write its figures where they are wanted, and return the exit code."""
    print(safe(result))
    if args.json:
        text = json.dumps(jsonable(result), indent=1, ensure_ascii=False)
        _write_json(args.json, text.encode("utf-8", "replace").decode() + "\n")
    return 0 if args.exit_code is None else args.exit_code(result, args)


def _write_json(path: str, text: str) -> None:
    place = Path(path).resolve()
    if place.exists() and not place.is_file():  # a device, or a pipe
        place.write_text(text, encoding="utf-8")
    else:
        write_text(place, text)


def _check_json(path: str | None) -> None:
    """Refuse a file that cannot be written before anything is done, or paid, and one that holds no figures."""
    if path is None:
        return
    try:
        _check_place(path, Path(path))
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"json: {path!r} cannot be written: {error}") from error


def _check_place(path: str, file: Path) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.lstat(path)  # names that no file system takes raise
    if not path or file.is_dir():
        raise UserError(f"json: expected a file to write, found {f'the folder {path}' if path else 'nothing'}")
    if not file.parent.is_dir():
        raise UserError(f"json: {path}: there is no folder {file.parent}: make it first")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise UserError(f"json: {path} may not be written")
    if file.is_file() and file.stat().st_size and file.open("rb").read(64).lstrip()[:1] not in (b"{", b"["):
        raise UserError(f"json: {path} holds something else than figures: name another file")


def _reason(error: Exception) -> str:
    """An error in one line."""
    text = safe(error).replace("\n", " ")
    if isinstance(error, UserError):
        return text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]} … ({len(text)} characters)"
    if isinstance(error, OSError) and error.strerror:
        return f"{safe(error.filename)}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return f"there is not enough memory{f': {text[:500]}' if text else ''}  (add --debug to see where)"
    return f"{type(error).__name__}: {text[:500]}  (add --debug to see where)"


def _disk(error: Exception, args: argparse.Namespace) -> str | None:
    """What is wrong with the disk, for an error of any library that could not write; None for another error."""
    for number, reason in DISK.items():
        if getattr(error, "errno", None) == number or os.strerror(number) in str(error):
            place = getattr(error, "filename", None) or getattr(args, "out", None) or args.json or ""
            return f"{safe(place)}: {reason} ({os.strerror(number)}); what was there before is whole".removeprefix(": ")
    return None
