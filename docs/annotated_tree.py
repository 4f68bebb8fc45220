"""Write the annotated tree of `docs/architecture.md`: every module, with its first sentence.

    python docs/annotated_tree.py            prints the tree
    python docs/annotated_tree.py --write    puts it into the page

A test compares the page with what this prints.
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
BEGIN = "<!-- the tree: python docs/annotated_tree.py --write -->\n```\n"
END = "```\n<!-- end of the tree -->"
# Where the sentences begin.
COLUMN = 31


def annotated_tree() -> str:
    """Return the tree of `models/` and `pipeline/`, a line a module."""
    lines = []
    for folder in ("models", "pipeline"):
        lines.append(_line(f"{folder}/", ROOT / folder / "__init__.py"))
        lines += _lines_below(ROOT / folder, "  ")
    return "\n".join(lines) + "\n"


def _lines_below(folder: Path, indent: str) -> list[str]:
    """Return a line for each module of a package, and then for those of the packages in it."""
    lines = []
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            lines.append(_line(f"{indent}{path.name}", path))
    for path in sorted(folder.glob("*/__init__.py")):
        lines.append(_line(f"{indent}{path.parent.name}/", path))
        lines += _lines_below(path.parent, f"{indent}  ")
    return lines


def _line(name: str, module: Path) -> str:
    return f"{name:<{COLUMN}}{_first_sentence(module)}"


def _first_sentence(module: Path) -> str:
    docstring = ast.get_docstring(ast.parse(module.read_text())) or ""
    first_paragraph = docstring.split("\n\n")[0]
    return " ".join(first_paragraph.split()).rstrip(".:")


def page_with(tree: str) -> str:
    """Return the page with a tree between the marks."""
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + tree + END + after


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page_with(annotated_tree()))
    else:
        print(annotated_tree(), end="")
