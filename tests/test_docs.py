"""What README, guides and pages say exists: commands, options, kinds, targets. (CI runs the examples themselves.)"""

import ast
import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import command_list
import pytest

import fusion_hf
from fusion_hf.cli import VERBS, make_parser
from fusion_hf.routers import KINDS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.S | re.M)
COMMAND = re.compile(r"fusion-hf ([a-z][\w-]*)((?:[ \t]+(?:\\\n)?[^\n`#|]*)*)")
pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="docs/ is not in an installed wheel")


def options_of(verb):
    """The flags that a verb knows."""
    (verbs,) = (a for a in make_parser()._actions if a.dest == "verb")
    return set(verbs.choices[verb]._option_string_actions)


def commands(text):
    """(verb, flags) of every command in a page, continued lines included."""
    for match in COMMAND.finditer(text.replace("\\\n", " ")):
        yield match[1], re.findall(r"(?<![\w-])(--[a-z][\w-]*|-k)\b", match[2])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_and_options_exist(page):
    for verb, flags in commands(page.read_text(encoding="utf-8")):
        assert verb in VERBS, f"fusion-hf {verb}"
        unknown = set(flags) - options_of(verb)
        assert not unknown, f"fusion-hf {verb} has no {', '.join(sorted(unknown))}"


def test_the_check_sees_wrong_commands():
    text = "`fusion-hf nope` and\n```bash\nfusion-hf route router \\\n    --wrong 3 --scenario cost   # --not-this\n```"
    assert list(commands(text)) == [("nope", []), ("route", ["--wrong", "--scenario"])]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_blocks_are_python(page):
    for language, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            ast.parse(code)


def test_the_list_of_commands_is_up_to_date():
    assert command_list.PAGE.read_text(encoding="utf-8") == command_list.page(), "run: python tests/command_list.py"


def test_every_option_has_a_help_text():
    (verbs,) = (a for a in make_parser()._actions if a.dest == "verb")
    silent = [f"{name} {a.dest}" for name, verb in verbs.choices.items() for a in verb._actions if not a.help]
    assert not silent, ", ".join(silent)


def test_every_verb_is_documented():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    missing = [verb for verb in VERBS if not re.search(rf"`(fusion-hf )?{verb}\b|^fusion-hf {verb}\b", text, re.M)]
    assert not missing, f"in neither README nor docs: {', '.join(missing)}"


def test_every_kind_is_documented():
    text = (ROOT / "docs" / "guides" / "route.md").read_text(encoding="utf-8")
    missing = [kind for kind in KINDS if f"`{kind}`" not in text]
    assert not missing, f"not in the guide: {', '.join(missing)}"


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert all(str(p.relative_to(ROOT / "docs")) in nav for p in PAGES if "docs" in p.relative_to(ROOT).parts)


def test_make_targets_are_all_explained():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"\.PHONY: (.*)", makefile)[1].split()) - {"help"}
    assert set(re.findall(r"^# make (\w+) ", makefile, re.M)) == targets


def test_long_lines_of_code_wrap_in_the_built_pages():
    style = re.search(r"^extra_css: \[(\S+)\]$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M)
    rules = (ROOT / "docs" / style[1]).read_text(encoding="utf-8")
    assert ".md-typeset pre > code" in rules and "white-space: pre-wrap" in rules


def test_scripts_import_what_is_there():
    """Most scripts of benchmarks/ and examples/ need logs or hours, so that no test runs them."""
    wrong = []
    for path in [p for folder in ("benchmarks", "examples", "dataset_scripts") for p in (ROOT / folder).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fusion_hf"):
                module = import_module(node.module)
                inside = {found.name for found in iter_modules(getattr(module, "__path__", []))}
                missing = [n.name for n in node.names if n.name not in inside and not hasattr(module, n.name)]
                wrong += [f"{path.relative_to(ROOT)}: {node.module}.{name}" for name in missing]
    assert not wrong, "\n".join(wrong)


def test_every_public_name_is_in_the_api_pages():
    """As `module.name`, or as all of its module."""
    shown = set()
    for page in (ROOT / "docs" / "api").glob("*.md"):
        for name, options in re.findall(r"^::: (\S+)\n(.*)", page.read_text(encoding="utf-8"), re.M):
            members = re.search(r"members: \[(.*?)\]", options)
            whole = not members or name.rpartition(".")[2][0].isupper()  # of a class only its methods are chosen
            shown |= {name} if whole else {f"{name}.{member}" for member in members[1].split(", ")}
    missing = []
    for name in fusion_hf.__all__:
        module = {"plugins": "fusion_hf.plugins", "UserError": "fusion_hf.errors"}.get(name, "fusion_hf")
        homes = {module, getattr(getattr(fusion_hf, name), "__module__", ""), f"fusion_hf.{fusion_hf._LATER.get(name)}"}
        if not shown & ((homes | {f"{home}.{name}" for home in homes}) - {"fusion_hf"}):
            missing.append(name)
    assert not missing


def bound(module):
    """Names that a module binds, what it imports included."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).split(".")[0]


def test_what_is_referred_to_is_there():
    """`fusion_hf.module.name` in docstrings, pages and cards."""
    texts = [p for folder in ("fusion_hf", "docs", "model_cards", "benchmarks") for p in (ROOT / folder).rglob("*.*")]
    wrong = []
    for path in [p for p in texts if p.suffix in (".py", ".md", ".jinja")]:
        for name in set(re.findall(r"`(fusion_hf(?:\.[a-z_]\w*)+(?:\.\w+)?)\b", path.read_text(encoding="utf-8"))):
            place, rest = ROOT, name.split(".")
            while rest and ((place / rest[0]).is_dir() or (place / f"{rest[0]}.py").is_file()):
                place /= rest.pop(0)
            module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            known = {*bound(module), *(fusion_hf.__all__ if place == ROOT / "fusion_hf" else ())}
            if rest and rest[0] not in known:
                wrong.append(f"{path.relative_to(ROOT)}: {name}")
    assert not wrong, "\n".join(wrong)
