"""Score a finished run's saved pictures with another reward, without optimising again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image as Pillow
from PIL.Image import Image as Picture
from tqdm import tqdm

from gradproj import scores
from gradproj.errors import UserError
from gradproj.records import Run
from gradproj.scores import Scores


def rescore(run: Run, name: str, reward: Any, settings: Mapping[str, Any], batch: int = 8) -> int:
    """Add ``reward``'s official scores of every recorded image to ``<run>/scores/<name>.csv``; returns how many.

    ``settings`` are the reward's own, as a run's config.yaml would name them. Images that have a row are left alone; a
    kill loses one batch. ``UserError`` where a record's pictures are not there (a packed run may come without).
    """
    checkpoint = {"weights": dict(reward.weights), "settings": dict(settings)}
    there = scores.read(run).get(name)
    missing = sorted(run.done() - (there.values.keys() if there else set()))
    pictures = [(run.images / f"{image}-start.png", run.images / f"{image}.png") for image in missing]
    absent = [str(path) for pair in pictures for path in pair if not path.is_file()]
    if absent:
        raise UserError(f"{len(absent)} pictures of {run.folder} are not there ({absent[0]}): bring them back first")
    scores.add(run, name, Scores(checkpoint, {}))
    for start in tqdm(range(0, len(missing), batch), desc=name, disable=None):
        chunk = missing[start : start + batch]
        prompts = [run.config["prompts"][int(image.split("-")[0])] for image in chunk]
        before, after = zip(*pictures[start : start + batch], strict=True)
        first = reward.score([_open(path) for path in before], prompts).tolist()
        last = reward.score([_open(path) for path in after], prompts).tolist()
        scores.add(run, name, Scores(checkpoint, dict(zip(chunk, zip(first, last, strict=True), strict=True))))
    return len(missing)


def _open(path: Path) -> Picture:
    with Pillow.open(path) as picture:
        return picture.convert("RGB")
