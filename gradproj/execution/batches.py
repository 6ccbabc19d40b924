"""A run's missing images, batch after batch: each is optimised, scored and recorded, or leaves the reason why not."""

import random
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch

from gradproj.execution import scheduler
from gradproj.execution.display import Display
from gradproj.execution.experiment import Experiment
from gradproj.execution.out_of_memory import Memory
from gradproj.execution.trajectory import ImageTrajectory, to_pictures
from gradproj.optimize import Step
from gradproj.runs import progress
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId


def complete(experiment: Experiment, run: Run, images: Sequence[ImageId], batch: int, latents: bool = False) -> None:
    """Optimise and record ``images``, ``batch`` at a time; one that fails leaves its reason beside the records.

    ``latents``: the latent of the kept picture is saved beside it.

    The batches come in an order that no other process shares, and what another one recorded meanwhile is left out: two
    workers that were started by mistake do almost nothing twice (docs/decisions/0004).
    """
    memory = Memory(experiment.model)
    try:
        with Display(len(images), experiment.steps) as display:
            for number in shuffled(-(-len(images) // batch)):
                chunk = [images[at] for at in range(number * batch, min(len(images), (number + 1) * batch))]
                missing = [image for image in chunk if not run.has(image)]
                if missing:
                    attempt = partial(_attempt, experiment, run, display, latents)
                    memory.fit(missing, attempt, give_up=partial(progress.fail, run))
                display.advance(len(chunk))
    finally:
        progress.rest(run)


def shuffled(count: int) -> Iterator[int]:
    """0 to ``count`` - 1 in random order, each order as likely; remembers only what it has moved, not a list of all.

    This is the shuffle of Fisher and Yates, whose list holds its own positions until they are moved.
    """
    moved: dict[int, int] = {}
    for last in range(count - 1, -1, -1):
        chosen = random.randrange(last + 1)
        yield moved.get(chosen, chosen)
        moved[chosen] = moved.pop(last, last)


def _attempt(
    experiment: Experiment, run: Run, display: Display, latents: bool, images: Sequence[ImageId], note: str
) -> None:
    """One batch. An error of the device fails all of its images; what ends the worker, or memory, is raised."""
    label = experiment.prompts[images[0].prompt] + (f" and {len(images) - 1} more" if len(images) > 1 else "")
    try:
        steps = display.watch(experiment.iterate(images, experiment.steps), label, len(images))
        trajectory = experiment.follow(images, _beating(run, steps, len(images)))
        for image, made in zip(images, trajectory.images, strict=True):
            _record(experiment, run, image, made, note, latents)
    except (RuntimeError, ValueError) as error:  # a failed kernel, a latent that is not finite
        if isinstance(error, (torch.OutOfMemoryError, *scheduler.interruptions())):
            raise
        for image in images:
            progress.fail(run, image, f"{type(error).__name__}: {error}")


def _beating(run: Run, steps: Iterable[Step], images: int) -> Iterator[Step]:
    """``steps`` as they come, each with a sign of life beside the records."""
    for step in steps:
        progress.beat(run, images)
        yield step


def _record(experiment: Experiment, run: Run, image: ImageId, made: ImageTrajectory, note: str, latents: bool) -> None:
    """Write the image's record and pictures, or why it has none."""
    failure = made.failure(min(experiment.max_skips, experiment.steps))
    if failure:
        progress.fail(run, image, failure)
        return
    if note:
        progress.note(run, image, note)
    picture, latent = made.kept(experiment.keep)
    start, kept = to_pictures(torch.stack([made.start, picture]))
    if latents:
        run.save_latent(image, latent.cpu().numpy())
    facts = {"gradient_halvings": made.halvings} if made.halvings else {}
    run.write(image, made.rows, {"start": start, "kept": kept}, facts)
