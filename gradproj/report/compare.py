"""Which runs stand side by side, under which labels, and whether they may."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproj.report.load import Curves, plain
from gradproj.runs.naming import LOOP, Share, fingerprint

BASELINE = "ours"  # the label that the others are set against
START_TOLERANCE = 1e-3  # of a score's spread over the starts: official scores of the same images on other hardware


@dataclass(frozen=True)
class Comparison:
    """Runs of one model, target, protocol and prompt list, over the same images."""

    name: str  # "<model>-<target>-<protocol>", with "-<8 hex>" where two comparisons would share it
    model: str
    target: str
    protocol: str
    methods: dict[str, Curves]  # label -> curves; "ours" last
    scores: list[str]  # those every run has; the target first
    prompts: NDArray[np.int64]  # (images,), the prompt's place among the comparison's prompts

    @property
    def title(self) -> str:
        images, prompts = len(self.prompts), len(np.unique(self.prompts))
        return f"{self.name} ({images} images of {prompts} prompts)"


def compare(runs: Sequence[Curves]) -> tuple[list[Comparison], list[str]]:
    """Every comparison the runs make, by name, and what is wrong with them, a line each."""
    groups: defaultdict[str, list[Curves]] = defaultdict(list)
    for curves in runs:
        config = curves.run.config
        groups[fingerprint([config[key] for key in ("model", "reward", "protocol", "prompts")])].append(curves)
    names = {key: "-".join(_names(group[0].run.config)) for key, group in groups.items()}
    taken = list(names.values())
    comparisons = [
        _comparison(name if taken.count(name) == 1 else f"{name}-{key}", groups[key]) for key, name in names.items()
    ]
    comparisons.sort(key=lambda comparison: comparison.name)
    return comparisons, list(chain.from_iterable(map(_problems, comparisons)))


def _names(config: Mapping[str, Any]) -> tuple[str, str, str]:
    return config["names"]["model"], config["names"]["reward"], config["protocol"]


def _comparison(name: str, group: Sequence[Curves]) -> Comparison:
    model, target, protocol = _names(group[0].run.config)
    scores = [score for score in group[0].scores if all(score in curves.scores for curves in group)]
    _, prompts = np.unique([image.prompt for image in group[0].images], return_inverse=True)
    return Comparison(name, model, target, protocol, _labelled(group), scores, prompts)


def _labelled(group: Sequence[Curves]) -> dict[str, Curves]:
    """Label -> run, in table order: the method's name, with the settings that tell it from its like."""
    labels: dict[str, Curves] = {}
    for curves in group:
        settings = [f"{key.removeprefix('method.')}={plain(value)}" for key, value in _differing(curves, group).items()]
        method = curves.run.config["names"]["method"]
        label = f"{method} ({', '.join(settings)})" if settings else method
        labels[label if label not in labels else f"{label} [{fingerprint(curves.run.config)}]"] = curves
    return {
        label: labels[label]
        for label in sorted(labels, key=lambda label: (label.startswith(BASELINE), _natural(label)))
    }


def _differing(curves: Curves, group: Sequence[Curves]) -> dict[str, Any]:
    """The settings (dotted key -> value) of a run that another run of its method in the group does not share."""
    method = curves.run.config["names"]["method"]
    like = [_settings(other) for other in group if other.run.config["names"]["method"] == method]
    absent = object()
    own = _settings(curves)
    return {key: value for key, value in own.items() if any(other.get(key, absent) != value for other in like)}


def _settings(curves: Curves) -> dict[str, Any]:
    config = curves.run.config
    return dict(_leaves("method", config["method"])) | {key: config[key] for key in LOOP if key in config}


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield key, value
        return
    for name, item in value.items():
        yield from _leaves(f"{key}.{name}", item)


def _natural(label: str) -> list[str | float]:
    """Sorts block=16 before block=128."""
    parts = re.split(r"(\d+(?:\.\d+)?)", label)
    return [float(part) if index % 2 else part for index, part in enumerate(parts)]


def _problems(comparison: Comparison) -> Iterator[str]:
    first, *others = runs = list(comparison.methods.values())
    seeds = 1 + max(image.seed for curves in runs for image in curves.images)
    everything = Share(len(first.run.config["prompts"]), seeds)
    for curves in runs:
        missing = sorted(set(everything) - set(curves.images))
        if missing:
            shown = " ".join(map(str, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            yield (
                f"{curves.run.folder.name} lacks {len(missing)} of {len(everything)} images ({shown}); "
                f"finish it: {curves.run.command} seeds={seeds} shard=0 shards=1"
            )
    for curves in others:
        differences = _other_weights(first, curves, comparison.scores)
        if curves.images == first.images:
            differences = chain(differences, _other_start(first, curves, comparison.scores))
        for difference in differences:
            yield (
                f"{curves.run.folder.name} and {first.run.folder.name} cannot be compared: {difference}; "
                f"move one of the two away and make it again: {curves.run.command}"
            )


def _other_weights(one: Curves, other: Curves, scores: Sequence[str]) -> Iterator[str]:
    for name in ["model", *scores]:
        if _checkpoint(one, name) != _checkpoint(other, name):
            yield f"{name} is another checkpoint or has other settings (see weights and rewards in their config.yaml)"


def _checkpoint(curves: Curves, name: str) -> Any:
    config = curves.run.config
    return curves.rescored.get(name) or {
        "weights": config["weights"].get(name),
        "settings": config["rewards"].get(name),
    }


def _other_start(one: Curves, other: Curves, scores: Sequence[str]) -> Iterator[str]:
    for score in scores:
        first, second = one.scores[score][:, 0], other.scores[score][:, 0]
        scale = first.std() if len(first) > 1 and np.ptp(first) > 0 else np.abs(first).max()
        for index in np.flatnonzero(np.abs(second - first) > START_TOLERANCE * scale + 1e-6)[:1]:
            yield f"{score} of image {one.images[index]} at step 0 is {second[index]:.6g} against {first[index]:.6g}"
