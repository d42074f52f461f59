"""docs/modules.md: every module of fusion_hf with the first line of its docstring.

python tests/module_list.py          writes it; a test checks that it is up to date
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "modules.md"


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


def page() -> str:
    """The whole page."""
    return f"# Every module in one line\n\n```text\n{tree()}```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
