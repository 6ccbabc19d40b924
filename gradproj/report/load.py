"""One run's records -> the scores of the images it would hand over at each scored step."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradproj.errors import UserError
from gradproj.runs import progress
from gradproj.runs import scores as scores_given_later
from gradproj.runs.folder import COLUMNS, Run
from gradproj.runs.naming import ImageId

Array = NDArray[np.float64]
LATENT = ("latent_rms", "cosine", "flatness", "distance")  # columns of a record that say whether the latent is noise


@dataclass(frozen=True)
class Curves:
    """What a run keeps after each step that all of its images have scores for (with steps 0 and last among them).

    ``keep: last`` keeps the step itself, ``keep: best`` the scored step up to there with the highest climbed reward.
    """

    run: Run
    images: list[ImageId]  # in the order of their names
    steps: NDArray[np.int64]  # (steps,)
    exact: NDArray[np.bool_]  # (steps,): no unscored earlier step would have been kept instead
    seconds: Array  # (images, steps), per image, cumulative
    scores: dict[str, Array]  # score -> (images, steps), official units; the target first; NaN: not scored there
    climbed: Array  # (images, steps): the reward that was climbed, in its own form, of the float picture
    latent: dict[str, Array]  # statistic of LATENT -> (images, steps), of each step's own latent; NaN: not recorded
    rescored: dict[str, Any]  # score -> checkpoint, of those given afterwards: only at the first and the last step


def load(results: Path) -> tuple[list[Curves], list[str]]:
    """The curves of every run under ``results/runs``, by run id, and the problems of those that have none."""
    folder = results / "runs"
    found = sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    if not found:
        raise UserError(f"{folder} holds no runs; type `make run` first")
    runs: list[Curves] = []
    problems: list[str] = []
    for path in found:
        try:
            run = Run.open(path)
            runs.append(curves(run, dict(sorted(run.records()))))
        except UserError as error:
            problems.append(str(error))
    return runs, problems


def summary(folder: Path) -> str:
    """One run in a line: target and held-out means from start to end, seconds per image, n. Reads only that run."""
    run = Run.open(folder)
    records = dict(sorted(run.records()))
    if not records:
        return f"{folder.name} | no finished image | n 0"
    found = curves(run, records, whole=False)
    changes = [f"{score} {v[:, 0].mean():.4g} -> {v[:, -1].mean():.4g}" for score, v in found.scores.items()]
    return " | ".join([folder.name, *changes, f"{found.seconds[:, -1].mean():.3g} s/image", f"n {len(found.images)}"])


def plain(value: object) -> str:
    """A config value as one types it."""
    return value if isinstance(value, str) else json.dumps(value)


def curves(run: Run, records: Mapping[str, bytes], whole: bool = True) -> Curves:
    """Parse and check the records (name -> CSV text) of one run; ``UserError`` names the image that is wrong.

    Scores given afterwards that some images lack as yet are an error too, or left out where not ``whole``.
    """
    if not records:
        raise UserError(f"{run.folder} holds no finished image; finish it: {run.command}")
    images: list[ImageId] = []
    for name in records:
        try:
            images.append(ImageId.parse(name))
        except ValueError as error:
            raise UserError(f"{run.images / name}.csv is not called <prompt id>-<seed>; move it away") from error
    _refuse_strangers(run, records)
    table = _parse(run, list(records.values()))
    column = {name: table[:, :, index] for index, name in enumerate(run.header.split(","))}
    scored = _scored(run, images, column["step"], table[:, :, len(COLUMNS) :])
    kept, exact = _kept(run.config["keep"], column["reward"], scored)
    steps = np.flatnonzero(scored.all(0))
    if not exact[-1]:
        raise UserError(
            f"{run.folder}: the best step of an image has no scores; delete the run and give: {run.command}"
        )
    scores = {name: np.take_along_axis(column[name], kept[:, steps], 1) for name in run.config["rewards"]}
    later = _given_later(run, images, len(steps), whole)
    scores = _target_first(run.config, scores) | {name: values for name, (_, values) in later.items()}
    checkpoints = {name: checkpoint for name, (checkpoint, _) in later.items()}
    climbed = np.take_along_axis(column["reward"], kept[:, steps], 1)
    latent = {name: column[name][:, steps] for name in LATENT}
    seconds = column["seconds"][:, steps]
    return Curves(run, images, steps, exact[steps], seconds, scores, climbed, latent, checkpoints)


def _refuse_strangers(run: Run, records: Mapping[str, bytes]) -> None:
    """Refuse records of prompts that the run does not have, and one under two names: no seal covers the name."""
    first: dict[bytes, str] = {}
    for name, content in records.items():
        if ImageId.parse(name).prompt >= len(run.config["prompts"]):
            raise UserError(f"{run.images / name}.csv is of a prompt that the run does not have; move it away")
        if (other := first.setdefault(content, name)) != name:
            raise UserError(
                f"{run.images}: the records of {other} and {name} are the same, byte for byte: one is a copy; "
                f"remove both and give: {run.command}"
            )


def _given_later(run: Run, images: list[ImageId], steps: int, whole: bool) -> dict[str, tuple[Any, Array]]:
    """Reward -> (checkpoint, (images, steps)) of the files in the run's scores folder."""
    there = scores_given_later.read(run)
    lacking = scores_given_later.unscored(run, {*there, *progress.asked_after(run)}, images)
    for reward, count in sorted(lacking.items()) if whole else ():
        raise UserError(
            f"{run.folder}: {count} of {len(images)} images have no score of {reward} as yet; "
            f"finish it: gradproj score {reward} {run.folder}"
        )
    found: dict[str, tuple[Any, Array]] = {}
    for reward in sorted(there.keys() - lacking.keys()):
        given = there[reward]
        values = np.full((len(images), steps), np.nan)
        values[:, [0, -1]] = [given.values[image] for image in images]
        found[reward] = given.checkpoint, values
    return found


def _parse(run: Run, contents: list[bytes]) -> Array:
    """(images, steps + 1, columns): one pass over all records of a form, their headers (checked by ``Run``) cut off."""
    columns = run.header.split(",")
    table = np.full((len(contents), run.config["steps"] + 1, len(columns)), np.nan)
    for header in run.headers:
        first = f"{header}\n".encode()
        own = [place for place, content in enumerate(contents) if content.startswith(first)]
        text = io.BytesIO(b"".join([contents[place][len(first) :] for place in own]))
        frame = pd.read_csv(text, names=header.split(","), dtype=np.float64) if own else pd.DataFrame(columns=columns)
        table[own] = frame.reindex(columns=columns).to_numpy(np.float64).reshape(len(own), *table.shape[1:])
    return table


def _scored(run: Run, images: list[ImageId], step: Array, scores: Array) -> NDArray[np.bool_]:
    """(images, steps + 1): which rows carry scores. Refuses steps out of order, scores missing or not finite."""
    given = np.any(~np.isnan(scores), axis=2)
    right = (step == np.arange(step.shape[1])) & (np.isfinite(scores).all(2) | ~given)
    right[:, [0, -1]] &= given[:, [0, -1]]
    for place, row in np.argwhere(~right)[:1]:
        raise UserError(
            f"{run.record(images[place])}: row {row} is not step {row} with one finite number for every score; "
            f"delete it and give: {run.command}"
        )
    return given


def _kept(keep: str, reward: Array, scored: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(images, steps + 1) the row kept after each step; (steps + 1,) whether no unscored row beats it."""
    rows = np.arange(reward.shape[1])
    if keep == "last":
        return np.broadcast_to(rows, reward.shape), np.all(scored, axis=0)
    climbed = np.where(np.isnan(reward), -np.inf, reward)
    best = np.maximum.accumulate(np.where(scored, climbed, -np.inf), axis=1)
    rises = np.diff(best, axis=1, prepend=-np.inf) > 0
    kept = np.maximum.accumulate(np.where(rises, rows, 0), axis=1)
    return kept, np.all(best == np.maximum.accumulate(climbed, axis=1), axis=0)


def _target_first(config: Mapping[str, Any], scores: dict[str, Array]) -> dict[str, Array]:
    """The target before the others. A mix is one score more, named "a+b": the weighted sum of its official scores."""
    target = config["names"]["reward"]
    if not isinstance(config["reward"], str):
        scores = scores | {target: sum((w * scores[name] for name, w in config["reward"].items()), np.zeros(1))}
    return {target: scores[target]} | scores
