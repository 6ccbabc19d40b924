"""Runs of one task side by side: under which labels they stand, and whether their numbers may be compared."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproj.report.load import Array, Curves, typed
from gradproj.runs.folder import Run
from gradproj.runs.naming import LOOP, fingerprint, target, target_label

BASELINE = "ours"  # the label that the others are set against
START = "start"  # the label of what a run begins with: the picture without optimisation
EARLY = 60  # the step of the paper's early row
START_TOLERANCE = 1e-3  # of a score's spread over the starts: official scores of the same images on other hardware


@dataclass(frozen=True)
class Comparison:
    """Runs of one task (model, target, protocol and prompts) over the same images."""

    name: str  # "<model>-<target>-<protocol>", with "-<8 hex>" where two comparisons would share it
    model: str
    target: str
    protocol: str
    methods: dict[str, Curves]  # label -> curves, each with all ``scores``; "ours" last
    scores: list[str]  # those that some run has; the target first; NaN in the runs that have none
    prompts: NDArray[np.int64]  # (images,), the prompt's place among the comparison's prompts

    @property
    def title(self) -> str:
        images, prompts = len(self.prompts), len(np.unique(self.prompts))
        return f"{self.name} ({images} images of {prompts} prompts)"

    @property
    def names(self) -> dict[str, Any]:
        """The first columns of a CSV."""
        return {"comparison": self.name, "model": self.model, "target": self.target, "protocol": self.protocol}

    @property
    def others(self) -> dict[str, Curves]:
        """The methods that ours is set against."""
        return {label: curves for label, curves in self.methods.items() if label != BASELINE}

    @property
    def scored_everywhere(self) -> list[str]:
        """The scores of every scored step of every run, the target first: none that was given afterwards."""
        every = self.methods.values()
        return [score for score in self.scores if all(np.isfinite(curves.scores[score]).all() for curves in every)]

    def first(self, score: str) -> Curves:
        """The first run that has ``score``."""
        return next(curves for curves in self.methods.values() if np.isfinite(curves.scores[score][:, 0]).all())


def task(run: Run) -> str:
    """Eight hex digits over what runs must share to be compared: model, prompts, protocol and what is climbed."""
    config = run.config
    settings = {name: config["rewards"][name] for name in target(config)}
    return fingerprint([*(config[key] for key in ("model", "reward", "protocol", "prompts")), settings])


def task_name(run: Run) -> str:
    """``<model>-<target>-<protocol>``, for a file's name, too."""
    return f"{run.config['names']['model']}-{target_label(run.config)}-{run.config['protocol']}".replace("*", "x")


def compare(name: str, group: Sequence[Curves]) -> Comparison:
    """The comparison ``name`` of runs that share their task and their images."""
    config = group[0].run.config
    _, prompts = np.unique([image.prompt for image in group[0].images], return_inverse=True)
    group = _told_apart(group)
    scores = list(dict.fromkeys(score for curves in group for score in curves.scores))
    blank = [replace(c, scores={s: c.scores.get(s, np.full(c.climbed.shape, np.nan)) for s in scores}) for c in group]
    model, protocol = config["names"]["model"], config["protocol"]
    return Comparison(name, model, target_label(config), protocol, _labelled(blank), scores, prompts)


def _told_apart(group: Sequence[Curves]) -> list[Curves]:
    """A score that has other settings in some runs gets them into its name: two columns, never one of both."""
    settings = {
        name: [_leaves("", _checkpoint(curves, name)["settings"]) for curves in group if name in curves.scores]
        for name in dict.fromkeys(name for curves in group for name in curves.scores)
    }
    return [
        replace(curves, **{part: _renamed(curves, part, settings) for part in ("scores", "official", "rescored")})
        for curves in group
    ]


def _renamed(curves: Curves, part: str, settings: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    names = {}
    for name in getattr(curves, part):
        own = _leaves("", _checkpoint(curves, name)["settings"])
        apart = [f"{key}={typed(value)}" for key, value in _apart(own, settings[name]).items()]
        names[name] = f"{name} ({', '.join(apart)})" if apart else name
    return {names[name]: value for name, value in getattr(curves, part).items()}


def _labelled(group: Sequence[Curves]) -> dict[str, Curves]:
    """Label -> run, in table order: the method's name, with the settings that tell it from its like."""
    labels: dict[str, Curves] = {}
    for curves in group:
        method = curves.run.config["names"]["method"]
        like = [_settings(other) for other in group if other.run.config["names"]["method"] == method]
        settings = [f"{key}={typed(value)}" for key, value in _apart(_settings(curves), like).items()]
        label = f"{method} ({', '.join(settings)})" if settings else method
        labels[label if label not in labels else f"{label} [{fingerprint(curves.run.config)}]"] = curves
    return {
        label: labels[label]
        for label in sorted(labels, key=lambda label: (label.startswith(BASELINE), _natural(label)))
    }


def _settings(curves: Curves) -> dict[str, Any]:
    config = curves.run.config
    return _leaves("", config["method"]) | {key: config[key] for key in LOOP if key in config}


def _apart(own: Mapping[str, Any], like: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What of ``own`` settings (dotted key -> value) some of ``like`` do not share."""
    absent = object()
    return {key: value for key, value in own.items() if any(other.get(key, absent) != value for other in like)}


def _leaves(key: str, value: Any) -> dict[str, Any]:
    """Nested settings as dotted key -> value."""
    if not isinstance(value, Mapping):
        return {key: value}
    return {k: v for name, item in value.items() for k, v in _leaves(f"{key}.{name}" if key else name, item).items()}


def _natural(label: str) -> list[str | float]:
    """Sorts block=16 before block=128."""
    parts = re.split(r"(\d+(?:\.\d+)?)", label)
    return [float(part) if index % 2 else part for index, part in enumerate(parts)]


def problems(comparison: Comparison) -> Iterator[str]:
    """Why runs of a comparison may not stand side by side, a line each: other weights, another start."""
    first, *others = comparison.methods.values()
    for curves in others:
        shared = [score for score in comparison.scores if _has(first, score) and _has(curves, score)]
        for difference in chain(_other_weights(first, curves, shared), _other_start(first, curves, shared)):
            yield (
                f"{curves.run.folder.name} and {first.run.folder.name} cannot be compared: {difference}; choose runs "
                "with --only, or move one of the two away and make it again beside the other"
            )


def _has(curves: Curves, score: str) -> bool:
    return bool(np.isfinite(curves.scores[score][:, 0]).all())


def _other_weights(first: Curves, other: Curves, scores: Sequence[str]) -> Iterator[str]:
    for name in ["model", *scores]:
        if _checkpoint(first, name)["weights"] != _checkpoint(other, name)["weights"]:
            yield f"{name} has other weights in the two, under one name (config.yaml and scores/ say which)"


def _checkpoint(curves: Curves, name: str) -> Mapping[str, Any]:
    """The weights and the settings of a score or the model."""
    config, plain = curves.run.config, name.partition(" (")[0]
    return curves.rescored.get(name) or {
        "weights": config["weights"].get(plain),
        "settings": config["rewards"].get(plain, {}),
    }


def _other_start(first: Curves, other: Curves, scores: Sequence[str]) -> Iterator[str]:
    for score in scores:
        own, expected = other.scores[score][:, 0], first.scores[score][:, 0]
        for index in np.flatnonzero(np.abs(own - expected) > START_TOLERANCE * _spread(expected) + 1e-6)[:1]:
            yield f"{score} of image {first.images[index]} at step 0 is {own[index]:.6g} against {expected[index]:.6g}"


def _spread(values: Array) -> float:
    return float(values.std() if len(values) > 1 and np.ptp(values) > 0 else np.abs(values).max())
