"""The README tells the tree as it is, and every path that it links to is there."""

import ast
import copy
import inspect
import re
import shlex
from pathlib import Path

import module_list
import pytest

from fusion_hf.cli import VERBS, function_of, parse

README = (module_list.ROOT / "README.md").read_text(encoding="utf-8")


def test_the_list_of_modules_is_up_to_date():
    assert module_list.PAGE.read_text(encoding="utf-8") == module_list.page(), "run: python tests/module_list.py"


def test_every_module_says_what_it_is():
    silent = [
        str(p.relative_to(module_list.ROOT))
        for p in (module_list.ROOT / "fusion_hf").rglob("*.py")
        if p.read_text(encoding="utf-8").strip() and not module_list.told(p)
    ]
    assert not silent


def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    assert len(links) > 4 and not [link for link in links if not (module_list.ROOT / link).exists()]


def test_packages_of_the_layout_are_all_there():
    layout = README.split("## Layout\n\n```\n")[1].split("```")[0]
    named = {
        name
        for line in layout.splitlines()
        if line.startswith("  ")
        for name in re.findall(r"^  (\w+/)|(\w+\.py)", line)
    }
    named = {a or b for a, b in named}
    package = Path(module_list.ROOT / "fusion_hf")
    packages = {f"{p.name}/" for p in package.iterdir() if (p / "__init__.py").exists()}
    assert named == packages | {p.name for p in package.glob("[a-z]*.py")}


RECIPES = re.split(r"^\*\*", README.split("recipes\n")[1].split("\n## ")[0], flags=re.M)[1:]


def blocks(text, language):
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M))


def not_default(verb, values):
    """The values that differ from the defaults of the verb's function."""
    parameters = inspect.signature(function_of(verb)).parameters
    return {n: v for n, v in values.items() if n in parameters and v not in (parameters[n].default, [])}


def in_shell(text):
    """Verb and what is given to its function, of every command."""
    for line in re.findall(r"^fusion-hf (.*)$", blocks(text, "bash").replace("\\\n", " "), re.M):
        typed = vars(parse(shlex.split(line, comments=True)))
        if "queries" in inspect.signature(function_of(typed["verb"])).parameters:
            typed["queries"] = typed.pop("query")
        yield typed["verb"], not_default(typed["verb"], typed)


def in_python(text):
    """The same of every call; None for an object in place of what it can be read from."""
    tree, verbs = ast.parse(blocks(text, "python")), {function_of(verb).__name__: verb for verb in VERBS}
    known = {ast.unparse(node.targets[0]): node.value for node in ast.walk(tree) if isinstance(node, ast.Assign)}

    class Known(ast.NodeTransformer):
        def visit_Name(self, node):
            return known.get(node.id, node)

    def value(node):
        try:
            return ast.literal_eval(Known().visit(copy.deepcopy(node)))
        except ValueError:
            return None

    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("fusion_hf."):
            verb = verbs[node.func.attr]
            words = {k.arg: k.value for k in node.keywords}
            bound = inspect.signature(function_of(verb)).bind(*node.args, **words).arguments
            yield verb, not_default(verb, {name: value(given) for name, given in bound.items()})


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda text: text.split("**")[0])
def test_a_recipe_is_the_same_in_python_and_in_the_shell(recipe):
    shell, python = sorted(in_shell(recipe), key=str), sorted(in_python(recipe), key=str)
    assert [verb for verb, _ in shell] == [verb for verb, _ in python] != []
    for (_, typed), (_, given) in zip(shell, python, strict=True):
        assert {n: typed[n] if v is None and n in typed else v for n, v in given.items()} == typed


def test_a_difference_between_python_and_the_shell_is_seen():
    text = "```python\nq = 'a'\nfusion_hf.ask('s', [q], plan=True)\n```\n```bash\nfusion-hf ask s {}\n```"
    (python,) = in_python(text)
    assert python == ("ask", {"fused": "s", "queries": ["a"], "plan": True})
    assert list(in_shell(text.format("a --plan"))) == [python]
    assert all(list(in_shell(text.format(words))) != [python] for words in ("a", "b --plan", "a --plan --task t"))
