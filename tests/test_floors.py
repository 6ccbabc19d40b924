"""A room imports only from lower floors (CONTRIBUTING.md); the report and the records know no torch."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gradproj"
FLOORS = [
    {"errors", "types", "spectrum", "files", "names"},
    {"miniature", "pretrained", "archive", "parts"},
    {"noise", "models", "rewards", "methods", "features"},
    {"optimize", "records", "environment", "pictures"},
    {"scores", "packing", "progress", "track", "diversity"},
    {"experiment", "report", "inputs", "rescore", "plan", "status"},
    {"worker"},
    {"run"},
    {"replay"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
LIGHT = ("records", "names", "archive", "packing", "progress", "parts", "inputs", "plan", "status", "scores", "run")
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "gradproj":
            found |= {f"gradproj.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    rooms = {name.split(".")[1] for name in imports(path) if name.startswith("gradproj.")}
    upwards = {room for room in rooms if room != own and FLOOR[room] >= FLOOR[own]}
    assert not upwards
    if own in ("models", "rewards", "methods", "features"):
        assert own not in rooms, "siblings of one floor do not know each other"


def test_the_report_and_the_records_import_no_torch() -> None:
    paths = [*(PACKAGE / "report").rglob("*.py"), *(PACKAGE / f"{name}.py" for name in LIGHT)]
    assert not [path for path in paths if any(name.split(".")[0] == "torch" for name in imports(path))]
