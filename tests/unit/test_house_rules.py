"""The rules of the house that a machine can check: layers, vendors, sizes."""

import ast
import importlib.util
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

from tests.helpers.paths import ROOT

LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 50
LINES_OF_THE_ENTRY = 100
LINES_OF_THE_README = 140

SOURCES = [*sorted((ROOT / "models").rglob("*.py")), *sorted((ROOT / "pipeline").rglob("*.py"))]


def lines_of(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_layers_and_vendors_are_kept(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    status = lint_imports(config_filename="pyproject.toml", no_cache=True, no_logo=True)
    assert status == 0, capsys.readouterr().out


def test_a_forbidden_import_would_be_noticed(tmp_path, monkeypatch, capsys):
    """Two packages that do not know each other, of which one imports the other."""
    for name in ("upper", "lower"):
        (tmp_path / "house" / name).mkdir(parents=True)
        (tmp_path / "house" / name / "__init__.py").touch()
    (tmp_path / "house" / "__init__.py").touch()
    (tmp_path / "house" / "lower" / "__init__.py").write_text("import house.upper\n")
    (tmp_path / "rules.toml").write_text(
        '[tool.importlinter]\nroot_package = "house"\n'
        '[[tool.importlinter.contracts]]\nname = "layers"\ntype = "layers"\n'
        'layers = ["house.upper", "house.lower"]\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert lint_imports(config_filename="rules.toml", no_cache=True, no_logo=True) != 0
    assert "house.lower is not allowed to import house.upper" in capsys.readouterr().out


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_and_its_functions_can_be_taken_in(path):
    assert lines_of(path) <= LINES_OF_A_FILE
    long = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            if length > LINES_OF_A_FUNCTION:
                long.append(f"{node.name}: {length} lines")
    assert long == []


def test_the_entry_point_and_the_readme_are_short():
    assert lines_of(ROOT / "pipeline" / "run.py") < LINES_OF_THE_ENTRY
    assert lines_of(ROOT / "README.md") <= LINES_OF_THE_README


def test_the_annotated_tree_is_that_of_the_modules():
    place = ROOT / "docs" / "annotated_tree.py"
    spec = importlib.util.spec_from_file_location("annotated_tree", place)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    tree = script.annotated_tree()
    assert script.page_with(tree) == script.PAGE.read_text(), (
        "run: python docs/annotated_tree.py --write"
    )
