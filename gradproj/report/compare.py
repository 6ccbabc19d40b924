"""Runs of one task side by side, under labels that tell them apart."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproj.report.load import Curves, typed
from gradproj.runs.folder import Run
from gradproj.runs.naming import LOOP, fingerprint, target, target_label

BASELINE = "ours"  # the label of the method that the others are compared with
START = "start"  # the label of the pictures without optimisation, with which every run begins


@dataclass(frozen=True)
class Comparison:
    """Runs of one task (model, target, protocol and prompts) over the same images."""

    name: str  # "<model>-<target>-<protocol>", and "-<8 hex>" where two comparisons would have the same name
    model: str
    target: str
    protocol: str
    methods: dict[str, Curves]  # label -> curves, each of which has all ``scores``; "ours" comes last
    scores: list[str]  # what any of the runs has, the target first; NaN in a run that lacks the score
    prompts: NDArray[np.int64]  # (images,), each image's prompt as an index 0, 1, ...

    @property
    def title(self) -> str:
        """The name and how much was compared, for the heading of a table."""
        images, prompts = len(self.prompts), len(np.unique(self.prompts))
        return f"{self.name} ({images} images of {prompts} prompts)"

    @property
    def names(self) -> dict[str, Any]:
        """The first columns of every row in a CSV."""
        return {"comparison": self.name, "model": self.model, "target": self.target, "protocol": self.protocol}

    @property
    def others(self) -> dict[str, Curves]:
        """All methods but ours."""
        return {label: curves for label, curves in self.methods.items() if label != BASELINE}

    @property
    def scored_everywhere(self) -> list[str]:
        """The scores that every run has at all of its scored steps, the target first: none given afterwards."""
        every = self.methods.values()
        return [score for score in self.scores if all(np.isfinite(curves.scores[score]).all() for curves in every)]

    def first(self, score: str) -> Curves:
        """The first run that has ``score``."""
        return next(curves for curves in self.methods.values() if np.isfinite(curves.scores[score][:, 0]).all())


def task(run: Run) -> str:
    """Eight hex digits of the task. Runs that share model, prompts, protocol and what is climbed have the same."""
    config = run.config
    settings = {name: config["rewards"][name] for name in target(config)}
    return fingerprint([*(config[key] for key in ("model", "reward", "protocol", "prompts")), settings])


def task_name(run: Run) -> str:
    """``<model>-<target>-<protocol>``, which may be used as the name of a file."""
    return f"{run.config['names']['model']}-{target_label(run.config)}-{run.config['protocol']}".replace("*", "x")


def compare(name: str, group: Sequence[Curves]) -> Comparison:
    """The comparison called ``name`` of the runs ``group``, which must share their task and their images."""
    config = group[0].run.config
    _, prompts = np.unique([image.prompt for image in group[0].images], return_inverse=True)
    group = _told_apart(group)
    scores = list(dict.fromkeys(score for curves in group for score in curves.scores))
    group = [_with_scores(curves, scores) for curves in group]
    model, protocol = config["names"]["model"], config["protocol"]
    return Comparison(name, model, target_label(config), protocol, _labelled(group), scores, prompts)


def _with_scores(curves: Curves, scores: Sequence[str]) -> Curves:
    """The curves with all of ``scores`` in this order, NaN where the run lacks one."""
    absent = np.full(curves.climbed.shape, np.nan)
    return replace(curves, scores={score: curves.scores.get(score, absent) for score in scores})


def _told_apart(group: Sequence[Curves]) -> list[Curves]:
    """Runs whose scores with different settings have different names.

    Otherwise numbers that mean different things would stand in one column of a table.
    """
    settings = {
        name: [_leaves("", checkpoint(curves, name)["settings"]) for curves in group if name in curves.scores]
        for name in dict.fromkeys(name for curves in group for name in curves.scores)
    }
    return [
        replace(curves, **{part: _renamed(curves, part, settings) for part in ("scores", "official", "rescored")})
        for curves in group
    ]


def _renamed(curves: Curves, part: str, settings: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """``curves.<part>``, a dict by score, whose keys name the settings that not all runs share."""
    names = {}
    for name in getattr(curves, part):
        leaves = _leaves("", checkpoint(curves, name)["settings"])
        apart = [f"{key}={typed(value)}" for key, value in _apart(leaves, settings[name]).items()]
        names[name] = f"{name} ({', '.join(apart)})" if apart else name
    return {names[name]: value for name, value in getattr(curves, part).items()}


def checkpoint(curves: Curves, name: str) -> Mapping[str, Any]:
    """The weights and the settings of the score ``name``, or of the model where ``name`` is "model"."""
    config, reward = curves.run.config, name.partition(" (")[0]  # without what ``_told_apart`` added
    return curves.rescored.get(name) or {
        "weights": config["weights"].get(reward),
        "settings": config["rewards"].get(reward, {}),
    }


def _labelled(group: Sequence[Curves]) -> dict[str, Curves]:
    """Label -> run, in the order of the tables. A label is the method's name and the settings that only some have."""
    labels: dict[str, Curves] = {}
    for curves in group:
        method = curves.run.config["names"]["method"]
        like = [_settings(other) for other in group if other.run.config["names"]["method"] == method]
        settings = [f"{key}={typed(value)}" for key, value in _apart(_settings(curves), like).items()]
        label = f"{method} ({', '.join(settings)})" if settings else method
        labels[label if label not in labels else f"{label} [{fingerprint(curves.run.config)}]"] = curves
    return {label: labels[label] for label in sorted(labels, key=_place)}


def _place(label: str) -> tuple[bool, bool, list[str | float]]:
    """Where a label stands: what ours is compared with, then the other forms of ours, then ours."""
    return label.startswith(BASELINE), label.partition(" ")[0] == BASELINE, _natural(label)


def _settings(curves: Curves) -> dict[str, Any]:
    """What the method and the loop were told, as dotted key -> value."""
    config = curves.run.config
    return _leaves("", config["method"]) | {key: config[key] for key in LOOP if key in config}


def _apart(settings: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Those of ``settings`` (dotted key -> value) that at least one of ``others`` lacks, or has with another value."""
    absent = object()
    return {key: value for key, value in settings.items() if any(other.get(key, absent) != value for other in others)}


def _leaves(key: str, value: Any) -> dict[str, Any]:
    """Nested settings as dotted key -> value."""
    if not isinstance(value, Mapping):
        return {key: value}
    leaves: dict[str, Any] = {}
    for name, item in value.items():
        leaves |= _leaves(f"{key}.{name}" if key else name, item)
    return leaves


def _natural(label: str) -> list[str | float]:
    """A key to sort labels by that puts block=16 before block=128."""
    parts = re.split(r"(\d+(?:\.\d+)?)", label)
    return [float(part) if index % 2 else part for index, part in enumerate(parts)]
