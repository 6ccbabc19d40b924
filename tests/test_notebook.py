"""examples/improve.ipynb runs, and the outputs in it are small and of no particular machine."""

import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))  # scripts/ is no part of the package

import example_notebook as script  # noqa: E402

SHOWN = ("execute_result", "display_data")


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(notebook: nbformat.NotebookNode) -> list[list[list[str]]]:
    """What every code cell shows: the forms of each of its outputs."""
    return [[sorted(output.data) for output in cell.outputs] for cell in code_cells(notebook)]


def test_it_runs_and_shows_what_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    folder = tmp_path / "empty"
    folder.mkdir()
    committed = nbformat.read(script.NOTEBOOK, as_version=4)
    made = script.executed(script.NOTEBOOK, folder)
    assert kinds(made) == kinds(committed)
    assert [cell.source for cell in code_cells(made)] == [cell.source for cell in code_cells(committed)]
    assert list(folder.iterdir()) == []


def test_a_cell_that_raises_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    path = tmp_path / "wrong.ipynb"
    cells = [nbformat.v4.new_code_cell("1 / 0")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    with pytest.raises(Exception, match="ZeroDivisionError"):
        script.executed(path, tmp_path)


def test_what_is_committed_is_small_whole_and_of_no_machine() -> None:
    text = script.NOTEBOOK.read_text(encoding="utf-8")
    assert len(text.encode()) < 300_000
    assert not [path for path in (sys.prefix, str(Path.home()), str(ROOT), "/tmp/", ".py:") if path in text]
    cells = code_cells(nbformat.read(script.NOTEBOOK, as_version=4))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type not in SHOWN]
    (one,) = [output.data["text/html"] for output in cells[1].outputs]
    assert one.count("data:image/png") == 2 and "<polyline" in one and "a red ring" in one
    assert sum("image/png" in output.data for cell in cells for output in cell.outputs) == 2, "the way, two methods"
