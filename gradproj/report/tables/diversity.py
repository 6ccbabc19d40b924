"""The diversity table: a run's numbers from its diversity.csv, for start and kept pictures, beside the paper's."""

from dataclasses import asdict

from gradproj.errors import UserError
from gradproj.report import paper
from gradproj.report.compare import Comparison
from gradproj.report.table import Column, Row, Table
from gradproj.runs import diversity as file
from gradproj.runs.diversity import Diversity
from gradproj.runs.folder import Run

SCORES = {
    "inception_score_1": "IS, 1 split",
    "inception_score_10": "IS, 10 splits",
    "inception_score_10_sd": "± sd",
    "vendi": "Vendi",
    "vendi_per_prompt": "Vendi per prompt",
}
PAPER = {"paper_inception_score": "IS paper", "paper_vendi": "Vendi paper"}
TITLE = "Diversity"
NOTE = (
    "Set: start, the pictures without optimisation; kept, those after it. IS: Inception score, of the whole set and as "
    "mean and standard deviation of 10 splits, after a seeded permutation. Vendi: of the whole set and the mean over "
    "the prompts, cosine kernel, q = 1. Both grow with n: compare equal n only. Paper: its published numbers for "
    "1,125 images of 45 prompts, its feature network, splits and kernel unpublished. Features: the network and its "
    "file; numbers of different networks cannot be compared."
)


def table(comparison: Comparison) -> Table:
    """A row for each set of pictures of every run that has a diversity.csv.

    Raises ``UserError`` with a line for each file that is cut, edited, foreign or of other images than the run has now.
    """
    lines = rows(comparison)
    scores = [Column(score, words, ".2f") for score, words in SCORES.items()]
    published = [Column(key, words) for key, words in PAPER.items() if any(line[key] for line in lines)]
    columns = [Column("method"), Column("set"), *scores, *published, Column("features"), Column("n")]
    shown = [line | {"features": f"{line['features']} {line['weights'][:8]}"} for line in lines]
    return Table(comparison.title, columns, lines, NOTE, shown)


def current(run: Run) -> Diversity | None:
    """What the run's diversity.csv says, None where there is none.

    Raises ``UserError`` where the file is of other images than the run has recorded by now.
    """
    found = file.read(run)
    if found is not None:
        names, digest = file.images(run)
        if found.about["images"] != digest:
            raise UserError(
                f"{run.folder / file.NAME} is of {found.sets['kept'].n} images that are not the {len(names)} recorded "
                f"by now: {file.again(run)}"
            )
    return found


def rows(comparison: Comparison) -> list[Row]:
    """The lines of diversity.csv: one for each set of pictures of every run that has been measured."""
    lines, problems = [], []
    for label, curves in comparison.methods.items():
        try:
            found = current(curves.run)
        except UserError as error:
            problems.append(str(error))
            continue
        if found is not None:
            steps = int(curves.steps[-1])
            lines += [
                _line(comparison, label, curves.run, name, found) | paper.diversity(comparison, label, steps, name)
                for name in file.SETS
            ]
    if problems:
        raise UserError("\n".join(problems))
    return lines


def _line(comparison: Comparison, label: str, run: Run, name: str, found: Diversity) -> Row:
    return comparison.names | {
        "method": label,
        "run": run.folder.name,
        "set": name,
        **asdict(found.sets[name]),
        "features": found.about["features"],
        "weights": " ".join(found.about["weights"].values()),
        "seed": found.about["seed"],
    }
