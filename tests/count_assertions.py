"""Count the assertions of a tree of tests, to see that a refactoring lost none.

    python tests/count_assertions.py FOLDER [FOLDER ...]

For each folder it prints how many test functions, `assert` statements, operands of `and` in them,
`pytest.raises` and `pytest.warns`, and calls of `assert_...` functions there are. `conditions` is
the number to compare: it does not change where `assert a and b` becomes two lines.
"""

import ast
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

RAISES = ("raises", "warns")


def name_of(function: ast.expr) -> str:
    """The last part of what is called: `assert_close` of `torch.testing.assert_close`."""
    if isinstance(function, ast.Attribute):
        return function.attr
    if isinstance(function, ast.Name):
        return function.id
    return ""


def conditions_of(test: ast.expr) -> int:
    """How many conditions an `assert` holds together with `and`."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return sum(conditions_of(value) for value in test.values)
    return 1


def count(source: str) -> Counter:
    """Count what one file of tests asserts."""
    found: Counter = Counter()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            found["tests"] += 1
        elif isinstance(node, ast.Assert):
            found["asserts"] += 1
            found["conditions"] += conditions_of(node.test)
        elif isinstance(node, ast.Call):
            name = name_of(node.func)
            if name in RAISES:
                found["raises"] += 1
            elif name.startswith("assert_"):
                found["assert calls"] += 1
    return found


def main(folders: Sequence[str]) -> None:
    """Print a line for each folder."""
    for folder in folders:
        total: Counter = Counter()
        for path in sorted(Path(folder).rglob("*.py")):
            total += count(path.read_text())
        columns = ("tests", "asserts", "conditions", "raises", "assert calls")
        print(folder, ", ".join(f"{total[column]} {column}" for column in columns), sep=": ")


if __name__ == "__main__":
    main(sys.argv[1:])
