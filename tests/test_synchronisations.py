"""How often the host waits for the device in an iteration: counted exactly, so that none is added unnoticed.

On a GPU the host waits when it reads a number, and when it copies numbers there. On a processor nothing waits, but the
same calls are made, and counted: reads of any tensor, tensors that are made of numbers on a named device, and indices
that are lists or masks.
"""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import Red, experiment
from official import build
from tiny import models, rewards
from torch import Tensor
from torch.overrides import TorchFunctionMode

import gradproj
from gradproj import optimize as loop
from gradproj.execution.display import Display
from gradproj.execution.profile import Profile
from gradproj.methods import ours
from gradproj.runs.naming import ImageId

READS = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__", "__array__")
READS += ("nonzero", "argwhere", "masked_select", "unique", "equal", "allclose", "is_nonzero")  # they look at numbers
MADE = ("tensor", "as_tensor")
INDEXED = ("__getitem__", "__setitem__")
OWN = Path(gradproj.__file__).parent
AT_ONCE = [ImageId(0, 0), ImageId(0, 1)]
ON_A_PROCESSOR = Counter({"spectrum.py numpy": 99})  # where numpy is quicker; a GPU has kernels of its own for it
ITERATION = {
    "optimize.py tolist": 2,  # which gradients are usable; how long the directions are
    "spectrum.py __bool__": 2,  # whether there is something to project: of the gradient, of the latent
    "execution/display.py item": 1,
    "execution/trajectory.py tolist": 1,
}


class Waits(TorchFunctionMode):
    """Counts, by the file of whoever calls. What an optimiser counts is on the processor, wherever its latents are."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name, told = getattr(func, "__name__", ""), kwargs or {}
        waits = name in READS or name == "new_tensor"
        waits |= name in MADE and told.get("device") is not None and not isinstance(args[0], Tensor)
        waits |= name in INDEXED and any(map(_is_listed, args[1] if isinstance(args[1], tuple) else args[1:2]))
        caller = Path(sys._getframe(1).f_code.co_filename)
        if waits and "optim" not in caller.parts:
            where = caller.relative_to(OWN) if caller.is_relative_to(OWN) else caller.name
            self.found[f"{where} {name}"] += 1
        return func(*args, **told)


def _is_listed(index: Any) -> bool:
    return isinstance(index, list) or (isinstance(index, Tensor) and index.dtype is torch.bool)


def waits(steps: int, **parts: Any) -> Counter[str]:
    """Of a batch of two pictures, scored at the first and the last step alone, with what a terminal is shown."""
    made = experiment(**parts, prompts=["a dog"], steps=steps, score_every=10**6)
    with Display(2, steps, "red") as display, Waits() as found:
        made.follow(AT_ONCE, display.watch(made.iterate(AT_ONCE, steps), "", 2))
    return found.found


def of_one(**parts: Any) -> dict[str, int]:
    """What a third step adds."""
    waits(1, **parts)  # what is kept for later is made
    return dict(waits(4, **parts) - waits(3, **parts) - ON_A_PROCESSOR)


def ours_of(block: int) -> Any:
    return ours.method(lambda latents: torch.optim.Adam(latents, lr=0.01), 0.03, block, True, True)


@pytest.mark.parametrize("case", models.PLAIN)
def test_an_iteration_waits_for_what_the_loop_must_know_and_for_nothing_else(case: str) -> None:
    name = "hpsv2" if case.startswith("sana") else "pickscore"
    parts = {"model": models.model(case), "rewards": {name: build(name, rewards.files(name))}, "target": {name: 1.0}}
    assert of_one(**parts, method=ours_of(8)) == ITERATION


def test_a_profile_waits_for_nothing_more() -> None:
    parts: dict[str, Any] = {"method": ours_of(15)}  # twice 15 divides the latent's 90 numbers
    assert of_one(**parts, profile=Profile(torch.device("cpu"))) == of_one(**parts)


def test_a_scored_step_waits_for_the_pictures_and_once_for_each_reward() -> None:
    parts: dict[str, Any] = {"model": models.model("sd_turbo-plain"), "rewards": {"red": Red()}, "method": ours_of(16)}
    made = experiment(**parts, prompts=["a dog"], steps=2, score_every=1)
    plain = waits(2, **parts)
    with Waits() as found:
        made.follow(AT_ONCE, made.iterate(AT_ONCE, 2))
    assert dict(found.found - plain - ON_A_PROCESSOR) == {  # of the step between the first and the last
        "execution/trajectory.py tolist": 2,  # the scores of the one reward, and whether the pictures are finite
        "execution/trajectory.py cpu": 1,
        "execution/trajectory.py numpy": 1,
        "spectrum.py __bool__": 1,  # the distance to the set
    }


def test_the_clock_waits_three_times_an_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its start, because whoever looks at the steps may have left work; at the reward; and at the end."""
    waited: list[Any] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)

    class OnGpu(loop._Clock):
        def __init__(self, device: torch.device) -> None:
            super().__init__(torch.device("cuda"))

    monkeypatch.setattr(loop, "_Clock", OnGpu)
    for _ in experiment().iterate(AT_ONCE, 6):
        pass
    assert len(waited) == 3 * 7
