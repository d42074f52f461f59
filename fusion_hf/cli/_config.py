"""``--config FILE``: options of commands from a YAML file, as the scripts of TRL read them.

The file has a section for each command, and a section's keys are its options::

    collect:
      pool: pool.yaml
      max_usd: 5
    train-router: {kind: fusion, seed: 1}

What is given on the command line wins. No file is read that was not named: one that lies in a folder of somebody else
could name another pool.
"""

import argparse
from typing import Any

from ..errors import UserError
from ..yaml_file import read_yaml

_NOT_THERE = {"help", "config"}


def config_arguments(path: str, verb: str, verbs: list[str], parser: argparse.ArgumentParser) -> list[str]:
    """The section of a command as arguments, to stand before those of the user.

    Raises:
        UserError: The file cannot be read, or it names a command or an option that does not exist.
    """
    sections = read_yaml(path) or {}
    if not isinstance(sections, dict) or not all(isinstance(part, dict | None) for part in sections.values()):
        raise UserError(f"{path}: expected a section of options for each command, such as  collect: {{max_usd: 5}}")
    unknown = [name for name in sections if name not in verbs]
    if unknown:
        raise UserError(f"{path}: expected names of commands, found {unknown[0]!r}: one of {', '.join(verbs)}")
    options = {a.dest: a for a in parser._actions if a.option_strings and a.dest not in _NOT_THERE}
    words = []
    for key, value in (sections.get(verb) or {}).items():
        option = options.get(str(key).replace("-", "_"))
        if option is None:
            raise UserError(f"{path}: {verb} has no option {key!r}: expected one of {', '.join(sorted(options))}")
        words += _words(f"{path}: {verb}, {key}", option, value)
    return words


def _words(place: str, option: argparse.Action, value: Any) -> list[str]:
    """One option as the words of a command line."""
    if value is None:
        return []
    flag = max(option.option_strings, key=lambda name: (not name.startswith("--no-"), len(name)))
    if option.nargs == 0:  # a switch
        if not isinstance(value, bool):
            raise UserError(f"{place}: expected true or false, found {value!r}")
        off = [name for name in option.option_strings if name.startswith("--no-")]
        return [flag] if value else off[:1]
    if isinstance(value, dict):
        value = [f"{name}={_text(item)}" for name, item in value.items()]
    if not isinstance(value, list):
        return [f"{flag}={_text(value)}"]
    if option.nargs is None and getattr(option.type, "__name__", "") == "names":
        return [f"{flag}={','.join(map(_text, value))}"]
    return [f"{flag}={_text(item)}" for item in value]


def _text(value: Any) -> str:
    """A scalar as it is written on a command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)
