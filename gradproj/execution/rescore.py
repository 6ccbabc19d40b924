"""Score a finished run's saved pictures with another reward, without optimising again."""

from collections.abc import Collection, Mapping
from typing import Any

from tqdm import tqdm

from gradproj.errors import UserError
from gradproj.execution import protocol
from gradproj.execution.rehearsal import encode_all
from gradproj.runs import scores
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.pictures import open_rgb
from gradproj.runs.scores import Scores


def rescore(
    run: Run,
    name: str,
    reward: Any,
    settings: Mapping[str, Any],
    batch: int = 8,
    images: Collection[ImageId] | None = None,
) -> int:
    """Add ``reward``'s official scores of the recorded ``images`` (None: all) to ``<run>/scores/<name>.csv``.

    Answers how many it scored. ``settings`` are the reward's own, as a run's config.yaml would name them. Images that
    have a row are left alone; a kill loses one batch. ``UserError`` where a record's pictures are not there (a packed
    run may come without), and for scores that are not finite numbers, one for each picture.
    """
    checkpoint = {"weights": protocol.weights(name, reward), "settings": dict(settings)}
    found = run.scan()
    run.refuse_strangers(found)
    hashes = found.recorded
    wanted = hashes.keys() if images is None else hashes.keys() & set(images)
    missing = sorted(wanted - scores.given(run, name, checkpoint).keys(), key=str)
    pictures = [path for image in missing for path in run.pictures(image).values()]
    absent = [path for path in pictures if not path.is_file()]
    if absent:
        raise UserError(
            f"{len(absent)} of {len(pictures)} pictures to score are not there ({absent[0]}): bring them back, "
            f"or make them anew in another results folder: {run.command}"
        )
    if missing:
        encode_all(name, reward, [run.config["prompts"][prompt] for prompt in sorted({one.prompt for one in missing})])
    for start in tqdm(range(0, len(missing), batch), desc=name, disable=None):
        values = _score(run, name, reward, {image: hashes[image] for image in missing[start : start + batch]})
        scores.add(run, name, Scores(checkpoint, values))
    return len(missing)


def _score(
    run: Run, name: str, reward: Any, hashes: Mapping[ImageId, Mapping[str, str]]
) -> dict[ImageId, tuple[float, float]]:
    images = list(hashes)
    prompts = [run.config["prompts"][image.prompt] for image in images]
    start = [open_rgb(run.start(image), own.get("start")) for image, own in hashes.items()]
    kept = [open_rgb(run.kept(image), own.get("kept")) for image, own in hashes.items()]
    try:
        first, last = (protocol.score(name, reward, pictures, prompts).tolist() for pictures in (start, kept))
    except (RuntimeError, ValueError) as error:  # out of memory, a prompt that the reward cannot read
        raise UserError(
            f"{name} cannot score the images {images[0]} to {images[-1]} of {run.folder} ({error}); "
            "those before them are kept: the same command goes on"
        ) from error
    return dict(zip(images, zip(first, last, strict=True), strict=True))
