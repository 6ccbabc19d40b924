"""The measures of a finished run, from its saved pictures to ``diversity.csv``."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from gradproj.diversity.features import FeatureNetwork
from gradproj.diversity.measures import SEED, Measures, measure
from gradproj.errors import UserError
from gradproj.runs import diversity as file
from gradproj.runs.diversity import Diversity
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId
from gradproj.runs.pictures import open_rgb

LIBRARIES = ("torch", "torchvision", "torch-fidelity", "vendi-score", "scikit-learn", "scipy", "numpy", "pillow")
SHOWN = 5  # missing pictures named in one message

Features = Float[np.ndarray, "n d"]
Logits = Float[np.ndarray, "n classes"]


def pictures(run: Run, images: Sequence[ImageId]) -> dict[str, list[Path]]:
    """Set -> the paths of the pictures of ``images``; ``UserError`` names those that are not there."""
    found = {name: [run.pictures(image)[name] for image in images] for name in file.SETS}
    every = [path for paths in found.values() for path in paths]
    absent = [path for path in every if not path.is_file()]
    if not images:
        raise UserError(f"{run.folder} holds no finished image; finish it: {run.command}")
    if absent:
        shown = ", ".join(path.name for path in absent[:SHOWN])
        more = f" and {len(absent) - SHOWN} more" if len(absent) > SHOWN else ""
        raise UserError(
            f"{len(absent)} of {len(every)} pictures are not in {run.images} ({shown}{more}): bring them back, "
            f"or make them anew in another results folder: {run.command}"
        )
    return found


def of_run(run: Run, features: str, network: FeatureNetwork, seed: int = SEED, batch: int = 32) -> bool:
    """Write ``<run>/diversity.csv`` of the recorded images; returns False where it was there already, for these images.

    ``features`` is the network's name, and ``batch`` how many pictures it sees at once. Pictures are taken in the order
    of their names. Raises ``UserError`` for missing or unreadable pictures, and for features that are not finite.
    """
    images, digest = file.images(run)
    paths = pictures(run, images)
    identity = {"run": run.folder.name, "images": digest, "features": features, "weights": dict(network.weights)}
    identity["seed"] = seed
    if _measured_already(run, identity):
        return False
    prompts = np.array([image.prompt for image in images])
    hashes = run.scan().recorded
    sets = {}
    for name in file.SETS:
        recorded = [hashes[image].get(name) for image in images]
        both = list(zip(paths[name], recorded, strict=True))
        sets[name] = _set(run, name, network, both, prompts, seed, batch)
    libraries = {name: version(name) for name in LIBRARIES}
    file.write(run, Diversity(identity | {"libraries": libraries}, sets))
    return True


def extract(
    network: FeatureNetwork, pictures: Sequence[tuple[Path, str | None]], batch: int, label: str
) -> tuple[Features, Logits]:
    """Features (n, d) and logits (n, classes), float32, of n ``pictures``: each a path and its hash in the record.

    A picture whose hash is another one was edited or swapped, which is a ``UserError``. ``label`` names the progress
    bar.
    """
    parts = []
    for start in tqdm(range(0, len(pictures), batch), desc=label, disable=None):
        both = network([open_rgb(*picture) for picture in pictures[start : start + batch]])
        parts.append([part.numpy() for part in both])
    features, logits = (np.concatenate(batches) for batches in zip(*parts, strict=True))
    return features, logits


def _set(
    run: Run,
    name: str,
    network: FeatureNetwork,
    pictures: Sequence[tuple[Path, str | None]],
    prompts: Any,
    seed: int,
    batch: int,
) -> Measures:
    """The measures of one set; ``UserError`` where the network fails or answers what cannot be measured."""
    try:
        features, logits = extract(network, pictures, batch, name)
        return measure(logits, features, prompts, seed)
    except (RuntimeError, ValueError) as error:  # such as out of memory, or a feature that is NaN
        raise UserError(f"the {name} pictures of {run.folder} cannot be measured: {error}") from error


def _measured_already(run: Run, identity: Mapping[str, Any]) -> bool:
    """Whether diversity.csv is of these images, by this network and with this seed."""
    try:
        before = file.read(run)
    except UserError:  # a cut or foreign file is moved aside when the new one is written
        return False
    return before is not None and {key: before.about[key] for key in file.IDENTITY} == identity
