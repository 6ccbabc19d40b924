"""Whether the parts of a run compute what the published code computes, on the weights that they have here.

A line for each comparison, with its difference and its tolerance. Each can fail: a weight that was changed after it was
read, another step of the scheduler, a reward of another scale.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradproj.execution.doctor import Check, guarded
from gradproj.runs.naming import ImageId, Share

PICTURE = {"float64": 1e-4, "float32": 1e-4, "float16": 4e-3, "bfloat16": 1.6e-2}  # rms over pixels in [0, 1]
GRADIENT = {"float64": 2e-2, "float32": 2e-2, "float16": 0.1, "bfloat16": 0.2}  # of its length
REWARD = {"float64": 5e-3, "float32": 5e-3, "bfloat16": 0.2}  # of the scores' standard deviation over pictures, prompts


@dataclass(frozen=True)
class Finding(Check):
    """A check with its ``numbers``, ready for JSON."""

    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """What is verified: the settings of one run, its prompts, the names of its parts' YAML files, what was typed."""

    settings: dict[str, Any]
    prompts: Sequence[str]
    model: str
    arguments: str

    @property
    def image(self) -> ImageId:
        """The run's first image, whatever shard is asked for."""
        return Share(len(self.prompts), self.settings["seeds"])[0]

    @property
    def prompt(self) -> str:
        """The first image's prompt."""
        return self.prompts[self.image.prompt]


def allowed(tolerances: Mapping[str, float], *nodes: Mapping[str, Any]) -> float:
    """The largest tolerance for the number types of some parts, whose settings are ``nodes``."""
    return max(tolerances.get(dtype_of(node), tolerances["float32"]) for node in nodes)


def dtype_of(node: Mapping[str, Any]) -> str:
    """The number type of a part's settings; a part that says none computes in float32."""
    return str(node.get("dtype", "float32"))


def checks(task: Task, made: Mapping[str, Any]) -> Iterator[Check]:
    """Every line, as it is made. ``made``: the parts of ``task.settings`` (``parts.parts``)."""
    from gradproj.execution.doctor import Command
    from gradproj.execution.doctor.files import Files
    from gradproj.execution.verify import image, reward

    yield guarded("gradient", lambda: image.gradient(task, made))
    yield guarded("picture", lambda: image.picture(task, made))
    for name in task.settings["rewards"]:
        yield guarded(name, lambda name=name: reward.reward(task, name))
    command = Command([task.settings], task.arguments, launched=False)
    yield guarded("weights", lambda: Files(command, quick=False).weights())
