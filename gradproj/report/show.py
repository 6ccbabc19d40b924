"""One run or one image in lines for a terminal: the climbed reward's curve, official scores, where the pictures are.

Every text that comes from prompts or failures is made printable.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradproj.report.load import Array, Curves, curves
from gradproj.runs import progress, scores
from gradproj.runs.contents import PACKED
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId, target, target_label
from gradproj.runs.terminal import printable, shortened, spark


@dataclass(frozen=True)
class Paper:
    """What the lines are written on: its width in characters (at least 40), and the characters of a curve."""

    width: int
    blocks: str


def run_lines(run: Run, paper: Paper) -> Iterator[str]:
    """The mean over a run's recorded images, then a line for each of them, then those that failed and why."""
    found = curves(run)
    seen = found.images if found else []
    prompts = len({image.prompt for image in seen})
    yield f"{run.folder.name}: {len(seen)} images of {prompts} prompts, {run.config['steps']} steps"
    if found:
        yield from _climb(run, found.reward.mean(0, dtype=float), paper, f"mean of {len(seen)}")
        official = {name: values.astype(float) for name, values in found.official.items()}
        yield from _rows(run, found.reward.astype(float), official, _later(run, seen))
        yield ""
        yield from _each(run, found, paper)
    for image, reasons in progress.failures(run).items():
        yield f"{image} failed: {shortened(reasons[-1] if reasons else 'no reason given', 200)}"
    yield from _places(run, seen)


def image_lines(run: Run, image: ImageId, paper: Paper) -> Iterator[str]:
    """One image: its prompt, its curve, its scores and its files."""
    table = run.table(image)
    yield f"{image} of {run.folder.name}: {printable(run.config['prompts'][image.prompt])}"
    reward = table["reward"].to_numpy(float)
    yield from _climb(run, reward, paper, "this image")
    official = {name: table[name].to_numpy(float)[None] for name in run.config["rewards"]}
    yield from _rows(run, reward[None], official, _later(run, [image]))
    if skipped := int(np.nansum(table["skipped"])):
        yield f"{skipped} steps were skipped, because the gradient was zero or not finite"
    note = run.images / f"{image}.note"
    if note.exists():
        yield f"note:   {printable(note.read_text(errors='replace').strip())}"
    record = run.record(image)
    yield f"record: {record if record.exists() else run.folder / PACKED}"
    there = {kind: path for kind, path in run.pictures(image).items() if path.exists()}
    there |= {path.suffix[1:]: path for path in [run.images / f"{image}.gif"] if path.exists()}
    yield from (f"{kind + ':':<7} {path}" for kind, path in there.items())
    if not there:
        yield f"no PNGs here: gradproj replay {run.folder} {image} makes them again"


def _climb(run: Run, reward: Array, paper: Paper, whose: str) -> Iterator[str]:
    """The climbed reward's way in words and as a curve; ``reward`` (steps + 1,)."""
    words = f"{target_label(run.config)} climbed ({whose}), steps 0 to {len(reward) - 1}: "
    words += f"{reward[0]:.4g} -> {reward[-1]:.4g}"
    if np.isfinite(reward).any():
        words += f", highest {np.nanmax(reward):.4g} at step {np.nanargmax(reward)}"
    yield words
    yield spark(reward.tolist(), paper.width - 1, paper.blocks)


def _later(run: Run, images: Sequence[ImageId]) -> dict[str, Array]:
    """Reward -> (images, 2) scores of start and kept picture, of those given afterwards to all of ``images``."""
    every = {name: given.values for name, given in scores.read(run).items()}
    return {
        name: np.array([values[image] for image in images])
        for name, values in every.items()
        if values.keys() >= set(images)
    }


def _rows(run: Run, reward: Array, official: Mapping[str, Array], later: Mapping[str, Array]) -> Iterator[str]:
    """Official scores at the start, at each image's best step and at the last, means over the images.

    ``reward`` and each of ``official`` are (images, steps + 1). The best of the scored steps is the best of all,
    because a worker scores that, too. A score given afterwards has no other step than those of the saved pictures.
    """
    kept_best = run.config["keep"] == "best"
    titles = ["start", f"best step{' (kept)' * kept_best}", f"last step{' (kept)' * (not kept_best)}"]
    width = max(map(len, [*official, *later, "official scores"])) + 2
    climbed = target(run.config)
    yield f"{'official scores':<{width}}" + "".join(f"{title:>18}" for title in titles)
    for name, values in official.items():
        best = np.where(np.isfinite(values) & np.isfinite(reward), reward, -np.inf).argmax(1)
        cells = (values[:, 0], np.take_along_axis(values, best[:, None], 1), values[:, -1])
        numbers = "".join(f"{cell.mean():>18.4g}" for cell in cells)
        yield f"{name:<{width}}{numbers}{'  climbed' * (name in climbed)}"
    for name, values in later.items():
        start, kept = (f"{value:>18.4g}" for value in values.mean(0))
        yield f"{name:<{width}}" + "".join([start, *([kept, f"{'-':>18}"] if kept_best else [f"{'-':>18}", kept])])


def _each(run: Run, found: Curves, paper: Paper) -> Iterator[str]:
    """A line an image: start and end of the climbed reward, its curve, the prompt."""
    names = max(len(str(image)) for image in found.images)
    length = max(8, (paper.width - names - 24) // 3)
    for image, reward in zip(found.images, found.reward, strict=True):
        line = f"{image!s:<{names}}  {reward[0]:>8.4g} -> {reward[-1]:<8.4g}  "
        line += f"{spark(reward.tolist(), length, paper.blocks):<{length}}  "
        yield line + shortened(run.config["prompts"][image.prompt], paper.width - len(line))


def _places(run: Run, images: Sequence[ImageId]) -> Iterator[str]:
    """Where the pictures are, or how to get them."""
    if images and not any(path.exists() for image in images for path in run.pictures(image).values()):
        yield f"no PNGs here: gradproj replay {run.folder} IMAGE makes an image's again"
    elif images:
        yield f"pictures: {run.images}/IMAGE-start.png and IMAGE.png (gradproj show {run.folder.name} IMAGE)"
    sheet = run.folder / "before_after.png"
    if sheet.exists():
        yield f"before/after of the first ones: {sheet}"
