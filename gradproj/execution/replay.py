"""One image of a run made again, from config.yaml and seed: are the numbers the same?

Same means: in every column of the record but the seconds, no step is further off than TOLERANCE of that column's range
over the steps. The image is made beside copies of itself, in a batch and with threads as when the run was made: then
the same machine and versions give the same bits. Another batch rounds the first step otherwise in its last digit, the
steps after it enlarge the difference, and the answer may be "not the same".
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradproj.errors import UserError
from gradproj.execution import devices, protocol, threads, weights
from gradproj.execution.animation import animate, png
from gradproj.execution.compiled import warm_up, warmed_up
from gradproj.execution.display import Display
from gradproj.execution.experiment import Experiment
from gradproj.execution.memory.planner import plan
from gradproj.execution.settings.compose import compose_stored, unknown_code
from gradproj.execution.settings.parts import check_parts, parts
from gradproj.execution.trajectory import ImageTrajectory, to_pictures
from gradproj.files import place
from gradproj.optimize import Step
from gradproj.runs import environment, latents
from gradproj.runs.folder import Run
from gradproj.runs.naming import LOOP, ImageId, target, target_label
from gradproj.runs.pictures import open_rgb
from gradproj.runs.record import picture_hash

PARTS = ("model", "method", "rewards")
TOLERANCE = 1e-3  # of a column's range over the steps
MOST = 1024  # copies of the image side by side


def replay(
    folder: Path,
    image: ImageId,
    settings: Sequence[str],
    batch: int | None = None,
    gif: bool = False,
    trust: bool = False,
    latent: bool = False,
) -> bool:
    """Make ``image`` of the run in ``folder`` again and print the comparison; whether it is the same.

    ``settings`` say where weights are today (``model.source.repo=/folder``) and the device, ``batch`` how many images
    were made side by side (None: as env.json says). Start and kept picture are put where they are missing; ``gif`` adds
    an animation, ``latent`` the kept picture's latent, if the numbers are the same.
    Making the parts calls what config.yaml names: code that is not gradproj's is refused unless ``trust``.
    """
    run = Run.open(folder.resolve())
    if not trust and (code := list(unknown_code({key: run.config[key] for key in PARTS}))):
        raise UserError(
            f"{run.folder}/config.yaml names code that is not gradproj's, and a replay calls it: {', '.join(code)}. "
            f"If you trust who made this run, type: gradproj replay {folder} {image} --trust"
        )
    recorded, label = run.table(image), run.label(image)
    hashes = label.get("pictures", {})
    for kind, path in run.pictures(image).items():
        if path.exists():  # a packed run may come without
            open_rgb(path, hashes.get(kind))
    facts = environment.read(run.folder)
    batch = batch or facts.get("batch")
    if not isinstance(batch, int):
        raise UserError(f"{run.folder}/env.json does not say how many images were made side by side: give --batch N")
    if batch > MOST:
        raise UserError(f"--batch {batch} is more than a replay makes side by side: give at most --batch {MOST}")
    experiment = _experiment(run, settings, batch)
    print(f"on {environment.device_name(experiment.model.device)} ({experiment.model.device})", flush=True)
    with threads.chosen(facts.get("threads"), experiment.model.latent_shape):
        compiled = warm_up(experiment, [batch]) if label.get("compiled") else None
        with warmed_up(experiment, compiled):
            made, pictures = _again(experiment, image, batch)
    again = pd.DataFrame(made.rows).reindex(columns=recorded.columns)
    again = again.astype(float).map(lambda value: float(f"{value:.6g}"))  # as a record has them
    if len(again) != len(recorded):
        raise UserError(f"{image} took {len(again)} rows, its record has {len(recorded)}: is config.yaml edited?")
    same = _compare(run, image, deviations(recorded, again), batch)
    if same:
        _restore(run, image, again, pictures, hashes)
    if same and latent:
        run.images.mkdir(exist_ok=True)
        latents.save(run, image, made.kept(experiment.keep)[1].cpu().numpy())
        print(run.latent(image))
    if gif:
        for path in animate(run, image, pictures):
            print(path)
    return same


def deviations(recorded: pd.DataFrame, again: pd.DataFrame) -> pd.Series:
    """Largest |again - recorded| of each column but the seconds, in units of the recorded column's range.

    A column that does not move is measured by its size; where only one of the two has a number it is infinite.
    """
    columns = [column for column in recorded.columns if column not in ("step", "seconds")]
    then, now = recorded[columns].to_numpy(float), again[columns].to_numpy(float)
    given = np.isfinite(then)
    low, high = np.where(given, then, np.inf).min(0), np.where(given, then, -np.inf).max(0)
    scale = np.where(high > low, high - low, np.maximum(np.abs(low), 1e-12))
    apart = np.where(given & np.isfinite(now), np.abs(now - then), np.where(given == np.isfinite(now), 0, np.inf))
    return pd.Series(np.where(given.any(0), apart.max(0) / scale, apart.max(0)), index=columns)


def _compare(run: Run, image: ImageId, apart: pd.Series, batch: int) -> bool:
    """Print how far each column is off; whether all are within the tolerance."""
    for column, value in apart.items():
        print(f"{column:<20} {value:.2g} of its range{'' if value <= TOLERANCE else '  <- more than the tolerance'}")
    same = bool((apart <= TOLERANCE).all())
    verdict = "the same" if same else "NOT the same"
    print(f"{image} of {run.folder.name}: {verdict} numbers (tolerance {TOLERANCE:g}, batch={batch})")
    if not same:
        print("other machine, versions or batch (a run's last batch is shorter: try --batch N)? env.json has the run's")
    return same


def _experiment(run: Run, settings: Sequence[str], batch: int) -> Experiment:
    """The parts that the run was made with; ``UserError`` where their weights are others today."""
    config = compose_stored(run.config, settings)
    check_parts(config)
    free = devices.memory(config["device"])
    words = [f"model={config['names']['model']}", f"rewards=[{','.join(config['rewards'])}]", *settings]
    weights.settle([config], words)
    config = plan(config | {"batch": batch, "held_out": "auto", "memory": "auto"}, free).settings
    made = parts(config)
    devices.expect_gpu(made["model"], config["device"])
    for name, part in {"model": made["model"], **made["rewards"]}.items():
        then, today = run.config["weights"][name], protocol.weights(name, part)
        if today != then:
            raise UserError(
                f"{name} has other weights than the run had: {then} then, {today} today; say where those of then are: "
                "gradproj replay RUN IMAGE model.source.repo=/folder (or model.source.revision=...)"
            )
    loop = {key: config[key] for key in LOOP}
    return Experiment(**made, target=target(config), prompts=config["prompts"], **loop)


def _again(experiment: Experiment, image: ImageId, batch: int) -> tuple[ImageTrajectory, dict[int, Any]]:
    """What a run would keep of it, and step -> 8-bit picture of every step."""
    pictures: dict[int, Any] = {}

    def keeping(steps: Iterable[Step]) -> Iterator[Step]:
        for step in steps:
            pictures[step.index] = to_pictures(experiment.official(step, copies).image[:1])[0]
            yield step

    copies = [image] * batch
    with Display(1, experiment.steps, target_label({"reward": experiment.target})) as display:
        steps = display.watch(experiment.iterate(copies, experiment.steps), experiment.prompts[image.prompt], 1)
        trajectory = experiment.follow(copies, keeping(steps))
    return trajectory.images[0], pictures


def _restore(
    run: Run, image: ImageId, rows: pd.DataFrame, pictures: Mapping[int, Any], hashes: Mapping[str, str]
) -> None:
    """Put the start and the kept picture where there is none, if they are those that were recorded."""
    kept = int(np.nanargmax(rows["reward"])) if run.config["keep"] == "best" else max(pictures)
    for kind, step in (("start", 0), ("kept", kept)):
        path = run.pictures(image)[kind]
        if not path.exists() and hashes.get(kind) not in (None, picture_hash(pictures[step])):
            print(f"not put back: {path}, because some pixels are rounded otherwise than when it was recorded")
        elif not path.exists():
            run.images.mkdir(exist_ok=True)
            place(path, png(pictures[step]))
            print(f"made again: {path}")
