"""Turns one run's records into curves: the scores of the images that the run would hand over at each scored step."""

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
LATENT = {  # the columns of a record that say whether the latent is still noise -> their titles in tables and plots
    "latent_rms": "rms",
    "cosine": "cosine with the start",
    "flatness": "spectral flatness",
    "distance": "distance to the set",
}


@dataclass(frozen=True)
class Curves:
    """What a run would keep if it ended at a step, for every step at which all its images were scored.

    With ``keep: last`` that is the step itself, with ``keep: best`` the scored step so far with the highest climbed
    reward. Step 0 and the last step are always scored.
    """

    run: Run
    images: list[ImageId]  # in the order of their names
    steps: NDArray[np.int64]  # (steps,)
    exact: NDArray[np.bool_]  # (steps,), False where an image would have kept an earlier step that has no scores
    seconds: Array  # (images, steps), spent on the image up to the step
    scores: dict[str, Array]  # score -> (images, steps) in official units, the target first; NaN where not scored
    climbed: Array  # (images, steps), the reward in the form that was climbed, of the picture before it became 8-bit
    latent: dict[str, Array]  # column of LATENT -> (images, steps), always of the step itself; NaN where not recorded
    rescored: dict[str, Any]  # score given afterwards, which has the first and the last step only -> its checkpoint
    reward: NDArray[np.float32]  # (images, all steps + 1), the climbed reward of every step
    official: dict[str, NDArray[np.float32]]  # reward -> (images, all steps + 1); NaN where not scored

    def of(self, images: Sequence[ImageId]) -> "Curves":
        """The curves of ``images`` alone, which the run must have."""
        rows = [self.images.index(image) for image in images]
        arrays = {name: getattr(self, name)[rows] for name in ("seconds", "climbed", "reward")}
        for name in ("latent", "scores", "official"):
            arrays[name] = {key: values[rows] for key, values in getattr(self, name).items()}
        return replace(self, images=list(images), **arrays)


def summary(folder: Path) -> str:
    """One run in a line: the mean of each score at the start and at the end, seconds per image and number of images."""
    found = curves(Run.open(folder))
    if not found:
        return f"{folder.name} | no finished image | n 0"
    ends = {score: (values[:, 0].mean(), values[:, -1].mean()) for score, values in found.scores.items()}
    changes = [f"{score} {start:.4g} -> {end:.4g}" for score, (start, end) in ends.items()]
    return " | ".join([folder.name, *changes, f"{found.seconds[:, -1].mean():.3g} s/image", f"n {len(found.images)}"])


def typed(value: object) -> str:
    """A config value as a person types it."""
    return value if isinstance(value, str) else json.dumps(value)


def curves(run: Run) -> Curves | None:
    """All records of one run, checked; None where it has no record. ``UserError`` names the image that is wrong.

    A score that is given afterwards is left out as long as some image lacks it.
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
    """Reward that is scored afterwards -> how many of ``images`` still lack its score; only those that lack any."""
    there = scores_given_later.read(run)
    return scores_given_later.unscored(run, {*there, *progress.wanted(run).after}, images)


def _given_later(run: Run, images: list[ImageId], steps: int) -> dict[str, tuple[Any, Array]]:
    """Reward -> its checkpoint and its scores (images, steps), where it was scored afterwards on every image.

    Only the start and the kept picture are saved, so that there are scores at the first and the last step alone.
    """
    there = scores_given_later.read(run)
    found: dict[str, tuple[Any, Array]] = {}
    for reward in sorted(there.keys() - scores_given_later.unscored(run, there, images).keys()):
        given = there[reward]
        values = np.full((len(images), steps), np.nan)
        values[:, [0, -1]] = [given.values[image] for image in images]
        found[reward] = given.checkpoint, values
    return found


def _scored(run: Run, images: list[ImageId], step: Array, scores: Array) -> NDArray[np.bool_]:
    """Which rows have scores, (images, steps + 1), from ``step`` (images, steps + 1) and ``scores`` (..., rewards).

    ``UserError`` for a step out of order and for a row that lacks some scores or has one that is not finite.
    """
    given = np.any(~np.isnan(scores), axis=2)
    right = (step == np.arange(step.shape[1])) & (np.isfinite(scores).all(2) | ~given)
    right[:, [0, -1]] &= given[:, [0, -1]]
    for index, row in np.argwhere(~right)[:1]:
        raise UserError(
            f"{run.record(images[index])}: row {row} is not step {row} with one finite number for every score; "
            f"delete it and give: {run.command}"
        )
    return given


def _kept(keep: str, reward: Array, scored: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Which row would be kept if the run ended at a step, (images, steps + 1), and where that is exact, (steps + 1,).

    It is not exact where an image has an unscored row with a higher climbed reward, which would have been kept.
    """
    rows = np.arange(reward.shape[1])
    if keep == "last":
        return np.broadcast_to(rows, reward.shape), np.all(scored, axis=0)
    climbed = np.where(np.isnan(reward), -np.inf, reward)
    best = np.maximum.accumulate(np.where(scored, climbed, -np.inf), axis=1)
    rises = np.diff(best, axis=1, prepend=-np.inf) > 0
    kept = np.maximum.accumulate(np.where(rises, rows, 0), axis=1)
    return kept, np.all(best == np.maximum.accumulate(climbed, axis=1), axis=0)


def _target_first(config: dict[str, Any], scores: dict[str, Array]) -> dict[str, Array]:
    """``scores`` with the target before them; the target of a mix is the weighted sum of its official scores."""
    climbed = sum((weight * scores[name] for name, weight in target(config).items()), np.zeros(1))
    return {target_label(config): climbed} | scores
