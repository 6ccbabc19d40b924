"""One worker's share of one run: make the parts, complete what is missing, score after, say what came out.

Knows nothing of Hydra: settings are the plain dictionaries that ``inputs.check`` answers.
"""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradproj.errors import UserError
from gradproj.execution import settings as inputs
from gradproj.execution.check import check
from gradproj.execution.experiment import Experiment
from gradproj.execution.parts import make, parts
from gradproj.execution.rescore import rescore
from gradproj.runs import progress, scores
from gradproj.runs.environment import describe
from gradproj.runs.folder import Run
from gradproj.runs.naming import LOOP, ImageId, Share, named, science


@dataclass(frozen=True)
class Outcome:
    """What a worker's command came to. Every count is of this worker's own images."""

    run: Run
    recorded: int
    failed: int  # not recorded yet: the same command tries them again
    given_up: int  # not recorded after max_retries + 1 attempts: the same command leaves them alone
    attempts: int  # the most attempts that one of the images given up has had

    @property
    def unfinished(self) -> str | None:
        """What is to be told where some images are not recorded, with what to type; None where all are."""
        reasons = f"the reasons are in {self.run.images}/*.failed"
        parts = []
        if self.failed:
            parts.append(f"{self.failed} images failed, and the same command tries them again")
        if self.given_up:
            parts.append(
                f"{self.given_up} images are given up after {self.attempts} attempts: "
                f"remove the cause, then type max_retries={self.attempts} to try them once more"
            )
        return f"{'; '.join(parts)}; {reasons}" if parts else None


def complete(plain: dict[str, Any], prompts: Sequence[str], model: str, method: str) -> Outcome:
    """Complete this worker's images of one run.

    ``model`` and ``method`` are the chosen YAML files' names.
    """
    plain, after = inputs.split_rewards(plain)
    for name, settings in after.items():
        _meet(make(settings, f"rewards.{name}"), name, prompts)  # and gone again, before the generator comes
    experiment = _experiment(plain, prompts)
    run = _open(experiment, plain, model, method)
    images = inputs.images(plain, len(prompts))
    try:
        progress.ask(run, plain["seeds"], after)
        experiment.complete(run, _missing(run, images, plain["max_retries"]), plain["batch"])
        del experiment  # the held-out rewards get the memory that the generator had
        _score_after(run, after, plain["batch"], images)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise UserError(f"no space left for {run.folder}: make room, then give the same command again") from error
    return _outcome(run, images, plain["max_retries"])


def _outcome(run: Run, images: Share, retries: int) -> Outcome:
    attempts = [len(lines) for image, lines in progress.failures(run).items() if image in images]
    given_up = [count for count in attempts if count > retries]
    recorded = sum(image in images for image in run.recorded())
    return Outcome(run, recorded, len(attempts) - len(given_up), len(given_up), max(given_up, default=0))


def _meet(reward: Any, name: str, prompts: Sequence[str]) -> None:
    """A reward that scores after the work is tried before it: its files, its settings, the prompts."""
    try:
        for start in range(0, len(prompts) if hasattr(reward, "encode") else 0, 1024):
            reward.encode(prompts[start : start + 1024])
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{name} cannot score these prompts: {error}") from error


def _experiment(plain: Mapping[str, Any], prompts: Sequence[str]) -> Experiment:
    """The parts, made and checked against their input."""
    made, target = parts(plain), inputs.target(plain)
    check(made, plain, prompts)
    experiment = Experiment(**made, target=target, prompts=prompts, **{key: plain[key] for key in LOOP})
    experiment.check(min(plain["batch"], len(prompts) * plain["seeds"]))
    return experiment


def _open(experiment: Experiment, plain: Mapping[str, Any], model: str, method: str) -> Run:
    """The run's folder, made or found: only the parts know their weights' hashes, which its name covers."""
    weights = {"model": dict(experiment.model.weights)}
    weights |= {name: dict(one.weights) for name, one in experiment.rewards.items()}
    covered = named(model, method, list(experiment.target), plain)
    covered |= {"prompts": list(experiment.prompts), "weights": weights}
    environment = describe(experiment.model.device) | {"weights": weights, "model": plain["model"]}
    return Run.create(Path(plain["results"]), covered, environment)


def _missing(run: Run, images: Share, retries: int) -> list[ImageId]:
    """The images to do, and how many are given up; damaged records of this worker's images are moved aside first."""
    damaged = sorted(image for image in run.damaged() if image in images)
    for image in damaged:
        run.set_aside(image)
    done = run.recorded()
    given_up = {image for image, attempts in progress.failures(run).items() if len(attempts) > retries}
    left = done | given_up
    missing = [image for image in images if image not in left]
    lost = sum(image in images for image in given_up)
    here = sum(image in images for image in done)
    print(f"{run.folder}: {here} of {len(images)} images recorded, {len(missing)} to do", flush=True)
    if damaged:
        print(f"{len(damaged)} of the others were damaged ({damaged[0]}, ...): moved aside to {run.images}/*.damaged")
    if lost:
        print(f"{lost} failed {retries + 1} times and are left alone: max_retries=... tries them again")
    return missing


def _score_after(run: Run, after: Mapping[str, Any], batch: int, images: Share) -> None:
    """The rewards of ``held_out=after``, one after another, from the saved pictures of this worker's images."""
    for path in scores.set_damaged_aside(run):
        print(f"a damaged file of scores was moved aside: {path}", flush=True)
    recorded = {image for image in run.recorded() if image in images}
    for name in scores.unscored(run, after, recorded):
        rescore(run, name, make(after[name], f"rewards.{name}"), science(after[name]), batch, recorded)
