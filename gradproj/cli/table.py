"""Turn all records of a results folder into tables/ and plots/ beside them, and show the main tables here.

Every ``<results>/*/runs`` (the committed ones and other people's) and ``<results>/runs`` (your own) is taken by itself.
What is unfinished or no run is left out and named; what is damaged or may not be compared is refused.
"""

import argparse
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradproj.errors import UserError

if TYPE_CHECKING:
    from gradproj.report.build import Report
    from gradproj.report.choose import Choice
    from gradproj.report.compare import Comparison


def main(arguments: list[str]) -> int:
    given = parser("table", __doc__).parse_args(arguments)
    from gradproj.report.build import build

    return every_root(given.results, lambda root: _show(root, build(root, choice(given))))


def parser(verb: str, description: str | None) -> argparse.ArgumentParser:
    """The options that ``table`` and ``report`` share: where the runs are, and which of them to take."""
    made = argparse.ArgumentParser(
        prog=f"gradproj {verb}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--results", type=Path, default=Path("results"), help="the folder that holds runs/")
    made.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="runs or comparisons of this name alone, such as 'shapes-ours-*' (may be given more than once)",
    )
    made.add_argument("--partial", action="store_true", help="unfinished runs, too: the images that all runs share")
    made.add_argument("--strict", action="store_true", help="refuse where something would be left out")
    return made


def choice(given: argparse.Namespace) -> "Choice":
    """The patterns and switches of the command line, as the report takes them."""
    from gradproj.report.choose import Choice

    return Choice(given.only, given.partial, given.strict)


def every_root(results: Path, show: Callable[[Path], None]) -> int:
    """Call ``show`` for every folder of ``results`` that holds runs; a refused folder does not stop the others.

    Raises ``UserError`` with all that was refused. A folder without a run of a chosen name is passed over, as long as
    another folder has one.
    """
    from gradproj.report.build import roots
    from gradproj.report.choose import NoSuchRun

    refused, absent = [], []
    folders = roots(results)
    for root in folders:
        try:
            show(root)
        except NoSuchRun as error:
            absent.append(str(error))
        except UserError as error:
            refused.append(str(error))
    if refused or len(absent) == len(folders):
        raise UserError("\n".join(refused or absent))
    return 0


def say_left_out(report: "Report") -> None:
    """Print on stderr what the tables leave out, a line each."""
    for line in report.left_out:
        print(f"left out: {line}", file=sys.stderr)


def _show(root: Path, report: "Report") -> None:
    """Print the main table of every comparison without its intervals; the one with the newest run comes last."""
    from gradproj.report.writing import WIDTH, terminal

    tables = dict(zip((comparison.name for comparison in report.comparisons), report.tables["main"], strict=True))
    for comparison in sorted(report.comparisons, key=_newest):
        print(textwrap.fill(_heading(comparison), WIDTH))
        print(f"{terminal(tables[comparison.name])}\n")
    print(f"{len(report.written)} files in tables/ and plots/ of {root} have the intervals and the rest")
    say_left_out(report)


def _heading(comparison: "Comparison") -> str:
    """Model, target, protocol and prompt set in words."""
    first = next(iter(comparison.methods.values()))
    prompts = len(first.run.config["prompts"])
    images = f"{len(comparison.prompts)} images of {prompts} prompts"
    task = f"{comparison.model} climbing {comparison.target}, {comparison.protocol} protocol"
    return f"{task}, {images} ({_prompt_set(first.run.config['prompts'])})"


def _prompt_set(prompts: Sequence[str]) -> str:
    """How these prompts are chosen (``prompts=NAME``), or the first of them where they are no named set."""
    from gradproj.execution.settings.overrides import data_folder

    for path in sorted(data_folder("prompts").glob("*.txt")):
        if path.read_text(encoding="utf-8").splitlines() == list(prompts):
            return f"prompts={path.stem}"
    return f"the first is {textwrap.shorten(prompts[0], 40, placeholder=' ...')!r}"


def _newest(comparison: "Comparison") -> float:
    """When the last image of its runs was recorded, in seconds since 1970."""
    folders = [curves.run.folder for curves in comparison.methods.values()]
    there = [path for folder in folders for path in (folder, folder / "images") if path.exists()]
    return max(path.stat().st_mtime for path in there)
