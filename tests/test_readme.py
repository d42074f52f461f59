"""The README tells the tree as it is, and every path that it links to is there."""

import re
from pathlib import Path

import module_list

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
