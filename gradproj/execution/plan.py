"""What a command would do, from the records alone: which images are missing and why, how long, how much disk.

Imports no torch and loads no model. Where the weights' hashes are not known, because their files are not here, runs are
found by all else that their names cover.
"""

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any

from gradproj.errors import UserError
from gradproj.runs import scores
from gradproj.runs.folder import Run, run_id
from gradproj.runs.naming import ImageId, Share, fingerprint
from gradproj.runs.progress import failures

SAMPLE = 20  # records that are read for an estimate


@dataclass(frozen=True)
class Cell:
    """One run of a plan: its images, why each that is to do is missing, and what others like it took."""

    name: str
    recorded: int
    missing: Counter[str]  # reason -> images
    unscored: Mapping[str, int]  # reward that is to score afterwards -> images recorded that it has not scored
    seconds: float | None  # of an image
    device: str
    megabytes: float | None  # of an image

    def line(self) -> str:
        reasons = [f"{count} {reason}" for reason, count in self.missing.most_common()]
        reasons += [f"{count} recorded but not yet scored by {reward}" for reward, count in self.unscored.items()]
        why = ", ".join(reasons) or "nothing to do"
        return f"{self.name}: {self.recorded} recorded; {why}"


def cell(
    config: Mapping[str, Any],
    images: Share,
    retries: int,
    there: Sequence[Run],
    after: Iterable[str] = (),
) -> Cell:
    """``config``: a run's config, without its weights where they are not known.

    ``images``: those that this command would see to.
    ``there``: the runs of the results folder (``runs.results.find``).
    ``after``: the rewards that are to score the pictures when all are there.
    """
    names = config["names"]
    if "weights" in config:
        name = run_id(config)
        own = [run for run in there if run.folder.name == name]
    else:
        name = f"{names['model']}-{names['method']}-{names['reward']}"
        own = [run for run in there if fingerprint(_without_weights(run.config)) == fingerprint(config)]
    recorded, failed, cut, unscored = set(), {}, set(), {}
    for run in own:
        found = run.scan()
        run.refuse_strangers(found)
        recorded |= found.recorded.keys()
        failed |= failures(run)
        cut |= found.damaged
        unscored = scores.unscored(run, after, found.recorded)
    missing: Counter[str] = Counter()
    done = sum(image in images for image in recorded)
    for image in failed.keys() & set(filter(images.__contains__, failed)):
        attempts = len(failed[image])
        if attempts > retries:
            missing[f"given up after {attempts} attempts"] += 1
        else:
            missing[f"failed ({failed[image][-1][:80]}), to be tried again"] += 1
    again = sum(image in images for image in cut - recorded - failed.keys())
    missing += Counter({"cut, to be made again": again, "not begun": len(images) - done - missing.total() - again})
    like = own or [run for run in there if _alike(run.config, config)]
    return Cell(name, done, missing, unscored, *_costs(like))


def total(cells: Iterable[Cell]) -> str:
    """Images to do, hours and gigabytes; what no record tells is said to be unknown."""
    cells = list(cells)
    left = [sum(count for why, count in cell.missing.items() if not why.startswith("given up")) for cell in cells]
    known = [(cell, count) for cell, count in zip(cells, left, strict=True) if count and cell.seconds is not None]
    hours = sum(count * (cell.seconds or 0) for cell, count in known) / 3600
    gigabytes = sum(count * (cell.megabytes or 0) for cell, count in known) / 1000
    unknown = sum(left) - sum(count for _, count in known)
    devices = " and ".join(sorted({cell.device for cell, _ in known}))
    lines = [f"{sum(left)} images to do in {len(cells)} runs"]
    if known:
        lines.append(f"about {hours:.2g} hours on one {devices}, scores and saving aside; {gigabytes:.2g} GB")
    if unknown:
        lines.append(f"{unknown} of them are of models or steps without a record here: hours and GB unknown")
    return "\n".join(lines)


def _without_weights(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "weights"}


def _alike(config: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """The same model at the same number of steps: about the same work per image, whatever the method."""
    return all(fingerprint(config[key]) == fingerprint(other[key]) for key in ("model", "steps"))


def _costs(runs: Sequence[Run]) -> tuple[float | None, str, float | None]:
    """Median seconds of an image, the device, and megabytes of an image, from a sample of the records."""
    seconds, sizes, device = [], [], "unknown device"
    for run in runs:
        for path in islice(run.images.glob("[0-9]*.csv"), SAMPLE):
            with contextlib.suppress(UserError, FileNotFoundError, ValueError):  # damaged, moved by now, or no image's
                image = ImageId.parse(path.stem)
                seconds.append(float(run.table(image)["seconds"].iloc[-1]))
                files = (path, *run.pictures(image).values(), run.latent(image))
                sizes.append(sum(file.stat().st_size for file in files if file.exists()) / 1e6)
        with contextlib.suppress(OSError, ValueError, KeyError):
            device = json.loads((run.folder / "env.json").read_text(encoding="utf-8"))["device"]
        if seconds:
            return median(seconds), device, median(sizes)
    return None, device, None
