"""One run's records -> the scores of the images it would hand over at each scored step."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproj.errors import UserError
from gradproj.runs import progress
from gradproj.runs import scores as scores_given_later
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId, target, target_label
from gradproj.runs.record import COLUMNS

Array = NDArray[np.float64]
LATENT = {  # columns of a record that say whether the latent is still noise -> how a reader is told
    "latent_rms": "rms",
    "cosine": "cosine with the start",
    "flatness": "spectral flatness",
    "distance": "distance to the set",
}


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
    reward: NDArray[np.float32]  # (images, all steps + 1): the climbed reward of every step, as recorded
    official: dict[str, NDArray[np.float32]]  # reward -> (images, all steps + 1), as recorded; NaN: not scored there

    def of(self, images: Sequence[ImageId]) -> "Curves":
        """The curves of ``images`` alone, which the run must have."""
        places = [self.images.index(image) for image in images]
        arrays = {name: getattr(self, name)[places] for name in ("seconds", "climbed", "reward")}
        for name in ("latent", "scores", "official"):
            arrays[name] = {key: values[places] for key, values in getattr(self, name).items()}
        return replace(self, images=list(images), **arrays)


def summary(folder: Path) -> str:
    """One run in a line: target and held-out means from start to end, seconds per image, n. Reads only that run."""
    found = curves(Run.open(folder))
    if not found:
        return f"{folder.name} | no finished image | n 0"
    changes = [f"{score} {v[:, 0].mean():.4g} -> {v[:, -1].mean():.4g}" for score, v in found.scores.items()]
    return " | ".join([folder.name, *changes, f"{found.seconds[:, -1].mean():.3g} s/image", f"n {len(found.images)}"])


def typed(value: object) -> str:
    """A config value as a person types it."""
    return value if isinstance(value, str) else json.dumps(value)


def curves(run: Run) -> Curves | None:
    """Read and check all records of one run, None where it has none; ``UserError`` names the image that is wrong.

    Of the scores given afterwards those are left out that some images lack as yet.
    """
    records = run.records()
    if not records:
        return None
    images, table = list(records), run.values(list(records.values()))
    column = {name: table[:, :, index] for index, name in enumerate(run.columns)}
    scored = _scored(run, images, column["step"], table[:, :, len(COLUMNS) :])
    kept, exact = _kept(run.config["keep"], column["reward"], scored)
    steps = np.flatnonzero(scored.all(0))
    if not exact[-1]:
        raise UserError(
            f"{run.folder}: the best step of an image has no scores; delete the run and give: {run.command}"
        )
    scores = {name: np.take_along_axis(column[name], kept[:, steps], 1) for name in run.config["rewards"]}
    later = _given_later(run, images, len(steps))
    return Curves(
        run,
        images,
        steps,
        exact[steps],
        column["seconds"][:, steps],
        _target_first(run.config, scores) | {name: values for name, (_, values) in later.items()},
        np.take_along_axis(column["reward"], kept[:, steps], 1),
        {name: column[name][:, steps] for name in LATENT},
        {name: checkpoint for name, (checkpoint, _) in later.items()},
        column["reward"].astype(np.float32),
        {name: column[name].astype(np.float32) for name in run.config["rewards"]},
    )


def unscored(run: Run, images: Sequence[ImageId]) -> dict[str, int]:
    """Reward -> how many of ``images`` lack its score, of those that were to be given afterwards and are not all."""
    there = scores_given_later.read(run)
    return scores_given_later.unscored(run, {*there, *progress.wanted(run).after}, images)


def _given_later(run: Run, images: list[ImageId], steps: int) -> dict[str, tuple[Any, Array]]:
    """Reward -> (checkpoint, (images, steps)) of the files in the run's scores folder that have every image."""
    there = scores_given_later.read(run)
    found: dict[str, tuple[Any, Array]] = {}
    for reward in sorted(there.keys() - scores_given_later.unscored(run, there, images).keys()):
        given = there[reward]
        values = np.full((len(images), steps), np.nan)
        values[:, [0, -1]] = [given.values[image] for image in images]
        found[reward] = given.checkpoint, values
    return found


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


def _target_first(config: dict[str, Any], scores: dict[str, Array]) -> dict[str, Array]:
    """The target before the others. A mix is one score more: the weighted sum of its official scores."""
    climbed = sum((weight * scores[name] for name, weight in target(config).items()), np.zeros(1))
    return {target_label(config): climbed} | scores
