"""One image of a run made again, from config.yaml and seed; are the numbers the same?

Same means: in every column of the record but the seconds, no step is further off than TOLERANCE of that column's range
over the steps. The image is made beside copies of itself, in batches as large as the run's were: the same machine,
versions and batch give the same bits; others round otherwise, and the steps carry it on, which is then told as not the
same. Start and kept picture are put where they are missing (a packed run that came without them).
"""

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradproj.errors import UserError
from gradproj.files import place
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

TOLERANCE = 1e-3  # of a column's range over the steps
FRAMES, SIDE, PAUSE = 60, 256, 80  # of an animation: at most so many pictures, pixels, milliseconds each


def replay(folder: Path, image: str, settings: list[str], batch: int | None = None, gif: bool = False) -> bool:
    """Make ``image`` of the run in ``folder`` again, print the comparison; whether it is the same."""
    run = Run.open(folder.resolve())
    own = _image(run, image)
    recorded = run.table(own)
    batch = batch or _batch(run)
    rows, pictures = _again(run, own, settings, batch)
    again = pd.DataFrame(rows).reindex(columns=recorded.columns)
    again = again.astype(float).map(lambda value: float(f"{value:.6g}"))  # as a record has them
    if len(again) != len(recorded):
        raise UserError(f"{image} took {len(again)} rows, its record has {len(recorded)}: is config.yaml edited?")
    apart = deviations(recorded, again)
    same = bool((apart <= TOLERANCE).all())
    for column, value in apart.items():
        print(f"{column:<20} {value:.2g} of its range{'' if value <= TOLERANCE else '  <- more than the tolerance'}")
    verdict = "the same" if same else "NOT the same"
    print(f"{image} of {run.folder.name}: {verdict} numbers (tolerance {TOLERANCE:g}, batch={batch})")
    if not same:
        print("other machine, versions or batch (a run's last batch is shorter: try --batch N)? env.json has the run's")
    if same:
        _restore(run, own, again, pictures)
    if gif:
        for path in _animate(run, own, pictures):
            print(path)
    return same


def deviations(recorded: pd.DataFrame, again: pd.DataFrame) -> pd.Series:
    """Largest |again - recorded| of each column but the seconds, in units of the recorded column's range.

    A column that does not move is measured by its size; where only one of the two has a number it is infinite.
    """
    columns = [column for column in recorded.columns if column not in ("step", "seconds")]
    one, other = recorded[columns].to_numpy(float), again[columns].to_numpy(float)
    given = np.isfinite(one)
    low, high = np.where(given, one, np.inf).min(0), np.where(given, one, -np.inf).max(0)
    scale = np.where(high > low, high - low, np.maximum(np.abs(low), 1e-12))
    apart = np.where(given & np.isfinite(other), np.abs(other - one), np.where(given == np.isfinite(other), 0, np.inf))
    return pd.Series(np.where(given.any(0), apart.max(0) / scale, apart.max(0)), index=columns)


def _image(run: Run, text: str) -> ImageId:
    try:
        return ImageId.parse(text)
    except ValueError as error:
        raise UserError(f"{run.folder} has no record of {text}: {error}") from error


def _batch(run: Run) -> int:
    """How many images were made side by side, as typed; else the default of configs/config.yaml."""
    typed = re.findall(r"\bbatch=(\d+)", run.command)
    return int(typed[-1]) if typed else 16


def _again(run: Run, image: ImageId, settings: list[str], batch: int) -> tuple[list[dict[str, float]], dict[int, Any]]:
    """The rows, and step -> picture of every step."""
    from gradproj.execution import settings as inputs
    from gradproj.execution.compose import compose_stored
    from gradproj.execution.experiment import Experiment
    from gradproj.execution.parts import parts
    from gradproj.execution.trajectory import Tracks, to_pictures
    from gradproj.runs.naming import LOOP

    config = compose_stored(run.config, settings)
    made = parts(config)
    _refuse_other_weights(run, made)
    loop = {key: config[key] for key in LOOP}
    experiment = Experiment(**made, target=inputs.target(config), prompts=config["prompts"], **loop)
    tracks = Tracks(made["rewards"], [config["prompts"][image.prompt]] * batch, config["steps"], config["score_every"])
    pictures = {}
    for step in experiment.iterate([image] * batch, config["steps"]):
        tracks.follow(step)
        pictures[step.index] = to_pictures(step.image[:1])[0]
    tracks.score_best()
    return tracks.each[0].rows, pictures


def _refuse_other_weights(run: Run, made: Mapping[str, Any]) -> None:
    for name, part in {"model": made["model"], **made["rewards"]}.items():
        recorded = run.config["weights"][name]
        if dict(part.weights) != recorded:
            raise UserError(
                f"{name} has other weights than the run had: {recorded} then, {dict(part.weights)} today; "
                "say where those of then are: gradproj replay RUN IMAGE model.source.repo=/folder "
                "(or model.source.revision=...)"
            )


def _restore(run: Run, image: ImageId, rows: pd.DataFrame, pictures: Mapping[int, Any]) -> None:
    """Put the start and the kept picture where there is none."""
    kept = int(np.nanargmax(rows["reward"])) if run.config["keep"] == "best" else max(pictures)
    for path, picture in ((run.start(image), pictures[0]), (run.kept(image), pictures[kept])):
        if not path.exists():
            run.images.mkdir(exist_ok=True)
            place(path, _bytes(picture, "PNG"))
            print(f"made again: {path}")


def _animate(run: Run, image: ImageId, pictures: Mapping[int, Any]) -> Iterator[Path]:
    """``<image>.gif``, FRAMES steps at most, the last for longer; ``<image>-steps.png``, the scored ones."""
    from gradproj.runs.pictures import strip

    run.images.mkdir(exist_ok=True)
    last = max(pictures)
    chosen = sorted({round(last * frame / (FRAMES - 1)) for frame in range(FRAMES)})
    first, *others = [_small(pictures[step]) for step in chosen]
    durations = [PAUSE] * len(others) + [20 * PAUSE]
    moving = _bytes(first, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
    scored = sorted({*range(0, last + 1, run.config["score_every"]), last})
    still = strip([(str(step), pictures[step]) for step in scored], side=min(SIDE, pictures[0].width * 4))
    for name, content in {f"{image}.gif": moving, f"{image}-steps.png": still}.items():
        place(run.images / name, content)
        yield run.images / name


def _small(picture: Any) -> Any:
    """At most SIDE pixels; a miniature's are enlarged to a multiple, its pixels kept."""
    from PIL import Image as Pillow

    times = SIDE // max(picture.size)
    if times > 1:
        return picture.resize((picture.width * times, picture.height * times), Pillow.Resampling.NEAREST)
    copy = picture.copy()
    copy.thumbnail((SIDE, SIDE))
    return copy


def _bytes(picture: Any, form: str, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=form, **settings)
    return buffer.getvalue()
