"""Run examples/improve.ipynb and put its outputs in it anew: ``python scripts/example_notebook.py``, about a minute.

The outputs are what every machine shows: without progress, times, versions and the kernel's name.
"""

import argparse
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from gradproj.files import place

NOTEBOOK = Path(__file__).parents[1] / "examples" / "improve.ipynb"
WIDGET = "application/vnd.jupyter.widget-view+json"


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    made = executed(NOTEBOOK, NOTEBOOK.parent)
    place(NOTEBOOK, (nbformat.writes(made) + "\n").encode())
    print(f"{NOTEBOOK}: {NOTEBOOK.stat().st_size / 1000:.0f} kB")


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook at ``path`` with the outputs of a run in ``folder``; what a cell raises is raised here."""
    notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=1200, kernel_name="python3", record_timing=False, resources=where).execute()
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_progress(output)]
    return notebook


def _is_progress(output: nbformat.NotebookNode) -> bool:
    return output.get("name") == "stderr" or WIDGET in output.get("data", {})


if __name__ == "__main__":
    main()
