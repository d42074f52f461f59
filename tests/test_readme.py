"""The README tells the tree as it is, and every path that it links to is there."""

import re
from pathlib import Path

import readme_tree

README = (readme_tree.ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tree_is_up_to_date():
    assert readme_tree.parts(README)[1] == readme_tree.tree(), "run: python tests/readme_tree.py"


def test_every_module_says_what_it_is():
    silent = [
        str(p.relative_to(readme_tree.ROOT))
        for p in (readme_tree.ROOT / "fusion_hf").rglob("*.py")
        if p.read_text(encoding="utf-8").strip() and not readme_tree.told(p)
    ]
    assert not silent


def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    assert len(links) > 4 and not [link for link in links if not (readme_tree.ROOT / link).exists()]


def test_folders_of_the_house_are_all_there():
    house = README.split("## The house\n\n```\n")[1].split("```")[0]
    told = {name for line in house.splitlines() if line.startswith("  ") for name in re.findall(r"\w+(?:/|\.py)", line)}
    package = Path(readme_tree.ROOT / "fusion_hf")
    rooms = {f"{p.name}/" for p in package.iterdir() if (p / "__init__.py").exists()}
    assert told == rooms | {p.name for p in package.glob("[a-z]*.py")}
