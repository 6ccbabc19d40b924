"""The diversity table: a run's start and kept pictures, the paper's numbers beside them. Reads diversity.csv alone."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from gradproj.errors import UserError
from gradproj.report import paper, render
from gradproj.report.compare import Comparison
from gradproj.runs import diversity as file
from gradproj.runs.diversity import Diversity
from gradproj.runs.folder import Run

SCORES = {
    "inception_score_1": "IS, 1 split",
    "inception_score_10": "IS, 10 splits",
    "vendi": "Vendi",
    "vendi_per_prompt": "Vendi per prompt",
}
NOTE = (
    "Set: start, the pictures without optimisation; kept, those after it. IS: Inception score, of the whole set and as "
    "mean and standard deviation of 10 splits, after a seeded permutation. Vendi: of the whole set and the mean over "
    "the prompts, cosine kernel, q = 1. Both grow with n: compare equal n only. Paper: its published numbers for "
    "1,125 images of 45 prompts, its feature network, splits and kernel unpublished. Features: the network and its "
    "file; numbers of different networks cannot be compared."
)


def files(comparisons: Sequence[Comparison]) -> dict[str, str]:
    """File name -> text; nothing where no run has a diversity.csv.

    ``UserError``, a line each, for files that are cut, edited, foreign or of other images than the run has now.
    """
    problems: list[str] = []
    sections = [(comparison, list(_lines(comparison, problems))) for comparison in comparisons]
    if problems:
        raise UserError("\n".join(problems))
    sections = [(comparison, lines) for comparison, lines in sections if lines]
    if not sections:
        return {}
    return {
        "diversity.csv": render.csv([line for _, lines in sections for line in lines]),
        "diversity.md": render.markdown("Diversity", NOTE, [_section(*section) for section in sections]),
    }


def current(run: Run) -> Diversity | None:
    """What the run's diversity.csv says, None where there is none; ``UserError`` where it does not cover its images."""
    found = file.read(run)
    if found is not None:
        names, digest = file.images(run)
        if found.about["images"] != digest:
            raise UserError(
                f"{run.folder / file.NAME} is of {found.sets['kept'].n} images that are not the {len(names)} recorded "
                f"by now: {file.again(run)}"
            )
    return found


def _lines(comparison: Comparison, problems: list[str]) -> Iterator[dict[str, Any]]:
    """The lines of diversity.csv, per run that has been measured and set; what is wrong is added to ``problems``."""
    for label, curves in comparison.methods.items():
        try:
            found = current(curves.run)
        except UserError as error:
            problems.append(str(error))
            continue
        if found is not None:
            for name in file.SETS:
                published = paper.diversity(comparison, label, int(curves.steps[-1]), name)
                yield _line(comparison, label, curves.run, name, found) | published


def _line(comparison: Comparison, label: str, run: Run, name: str, found: Diversity) -> dict[str, Any]:
    return {
        "comparison": comparison.name,
        "model": comparison.model,
        "target": comparison.target,
        "protocol": comparison.protocol,
        "method": label,
        "run": run.folder.name,
        "set": name,
        **asdict(found.sets[name]),
        "features": found.about["features"],
        "weights": " ".join(found.about["weights"].values()),
        "seed": found.about["seed"],
    }


def _section(comparison: Comparison, lines: Sequence[Mapping[str, Any]]) -> render.Section:
    body = []
    for line in lines:
        cells = []
        for score in SCORES:
            sd = line.get(f"{score}_sd", math.nan)
            cells.append(
                render.Cell(render.number(line[score], 2), "" if math.isnan(sd) else f"± {render.number(sd, 2)}")
            )
        published = " / ".join(line[key] for key in ("paper_inception_score", "paper_vendi") if line[key])
        ends = [published, f"{line['features']} {line['weights'][:8]}", str(line["n"])]
        body.append([render.Cell(line["method"]), render.Cell(line["set"]), *cells, *map(render.Cell, ends)])
    header = ["method", "set", *SCORES.values(), "paper: IS / Vendi", "features", "n"]
    return render.Section(comparison.title, header, body)
