"""The README's tree: every module of fusion_hf with the first line of its docstring.

python tests/readme_tree.py          writes it between the marks in README.md; a test checks that it is up to date
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- tree: python tests/readme_tree.py -->\n```text\n", "```\n<!-- end of tree -->"


def tree() -> str:
    """A line a file, folder by folder."""
    lines = []
    package = ROOT / "fusion_hf"
    for folder in sorted({p.parent for p in package.rglob("*.py")}):
        files = [p for p in sorted(folder.glob("*.py")) if told(p)]
        if files:
            lines += ["", f"{folder.relative_to(ROOT).as_posix()}/"]
            width = max(len(p.name) for p in files) + 2
            lines += [f"  {p.name.ljust(width)}{told(p)}" for p in files]
    return "\n".join(lines).strip() + "\n"


def told(path: Path) -> str:
    """First line of a module's docstring, without its full stop; empty for an empty file."""
    text = path.read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").split("\n")[0].rstrip(".") if text.strip() else ""


def parts(readme: str) -> tuple[str, str, str]:
    """README before the tree, the tree, and what comes after it."""
    before, rest = readme.split(BEGIN)
    inside, after = rest.split(END)
    return before, inside, after


if __name__ == "__main__":
    page = ROOT / "README.md"
    before, _, after = parts(page.read_text(encoding="utf-8"))
    page.write_text(before + BEGIN + tree() + END + after, encoding="utf-8")
