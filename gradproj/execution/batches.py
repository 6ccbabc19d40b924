"""Images, batch after batch: each is optimised, scored and handed on, or the reason why not is."""

import random
from collections.abc import Iterator, Sequence
from functools import partial

import torch

from gradproj.execution import scheduler
from gradproj.execution.destination import Destination, Made
from gradproj.execution.display import Display
from gradproj.execution.experiment import Experiment
from gradproj.execution.out_of_memory import Memory
from gradproj.execution.trajectory import ImageTrajectory, to_pictures
from gradproj.runs.naming import ImageId, target_label


def complete(experiment: Experiment, destination: Destination, images: Sequence[ImageId], batch: int) -> None:
    """Optimise ``images``, ``batch`` at a time, and hand each to ``destination``, or the reason why it failed.

    The batches come in an order that no other process shares, and what another one recorded meanwhile is left out: two
    workers that were started by mistake do almost nothing twice (docs/decisions/0004).
    """
    memory, climbed = Memory(experiment.model), target_label({"reward": experiment.target})
    try:
        with Display(len(images), experiment.steps, climbed) as display:
            for number in shuffled(-(-len(images) // batch)):
                chunk = [images[at] for at in range(number * batch, min(len(images), (number + 1) * batch))]
                missing = [image for image in chunk if not destination.has(image)]
                if missing:
                    attempt = partial(_attempt, experiment, destination, display)
                    memory.fit(missing, attempt, give_up=destination.fail)
                display.advance(len(chunk))
    finally:
        with experiment.phase("saving"):
            destination.rest()


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
    experiment: Experiment, destination: Destination, display: Display, images: Sequence[ImageId], note: str
) -> None:
    """One batch. An error of the device fails all of its images; what ends the worker, or memory, is raised."""
    label = experiment.prompts[images[0].prompt] + (f" and {len(images) - 1} more" if len(images) > 1 else "")
    try:
        steps = display.watch(experiment.iterate(images, experiment.steps), label, len(images))
        trajectory = experiment.follow(images, steps, partial(destination.see, images))
    except (RuntimeError, ValueError) as error:  # a failed kernel, a latent that is not finite
        if isinstance(error, (torch.OutOfMemoryError, *scheduler.interruptions())):
            raise
        for image in images:
            destination.fail(image, f"{type(error).__name__}: {error}")
        return
    with experiment.phase("saving"):  # an error from here on is of an earlier image's files, and ends the worker
        for image, made in zip(images, trajectory.images, strict=True):
            _hand_on(experiment, destination, image, made, note)


def _hand_on(experiment: Experiment, destination: Destination, image: ImageId, way: ImageTrajectory, note: str) -> None:
    """Give ``destination`` the image, or why there is none."""
    failure = way.failure(min(experiment.max_skips, experiment.steps))
    if failure:
        destination.fail(image, failure)
        return
    picture, latent = way.kept(experiment.keep)
    start, kept = to_pictures(torch.stack([way.start, picture]))
    facts = {"gradient_halvings": way.halvings} if way.halvings else {}
    destination.take(image, Made(way.rows, start, kept, latent, facts, note))
