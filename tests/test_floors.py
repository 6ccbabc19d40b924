"""A room imports only from rooms below it, rooms of one floor do not know each other, and some rooms know no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gradproj"
CORE = ("errors", "types", "files", "spectrum", "noise", "optimize")  # one room of six files, read in one sitting
FLOORS = [
    set(CORE),
    {"methods", "pretrained", "miniature", "runs"},
    {"models", "rewards", "diversity"},
    {"execution", "report"},
    {"cli"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
LIGHT = ("runs", "report", "cli")
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in CORE)


def imports(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it."""
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
    sideways = {room for room in rooms if FLOOR[room] >= FLOOR[own] and room != own}
    assert not {room for room in sideways if not (own in CORE and room in CORE)}
    if own in ("models", "rewards", "methods"):
        assert own not in rooms, "one file each: siblings do not know each other"


@pytest.mark.parametrize("room", LIGHT)
def test_a_light_room_imports_no_torch(room: str) -> None:
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in (PACKAGE / room).rglob("*.py")
    ]
    code = f"import sys, {', '.join(sorted(modules))}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
