"""``profile=true``: every second goes to the phase that took it, and nothing else of a run changes."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Gradproj
from fakes import IMAGES, SHAPE, Red, complete, experiment, numbers, saved
from tiny import models
from torch import Tensor, nn

from gradproj.execution import profile as measured
from gradproj.execution.profile import PHASES, REST, Profile
from gradproj.types import Method

CPU = torch.device("cpu")
ITERATION = [
    *("generator", "decoder", REST, "reward", REST),
    *("backward of reward", "backward of decoder", "backward of generator", REST),
    *("direction", REST, "optimiser", REST, "retraction", REST),
]


class Clock:
    """Stands still, but for what ``Takes`` and the parts below let pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Takes(torch.autograd.Function):
    """The identity, which takes so long forward and so long backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, clock: Clock, forward: float, backward: float) -> Tensor:
        ctx.clock, ctx.backward_time = clock, backward
        clock.now += forward
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        ctx.clock.now += ctx.backward_time
        return gradients[0], None, None, None


class Decoder(nn.Module):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def forward(self, clean: Tensor) -> Tensor:
        return Takes.apply(clean, self.clock, 2, 20).sigmoid()  # type: ignore[union-attr]


class Model:
    latent_shape, device, weights = SHAPE, CPU, {}

    def __init__(self, clock: Clock) -> None:
        self.clock, self.decoder = clock, Decoder(clock)

    def encode(self, prompts: Any) -> None:
        self.clock.now += 0.25

    def generate(self, latent: Tensor, condition: None) -> Tensor:
        return self.decoder(Takes.apply(latent, self.clock, 1, 10))


class Slow(Red):
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def __call__(self, image: Tensor, text: None) -> Tensor:
        return Takes.apply(super().__call__(image, text), self.clock, 4, 40)  # type: ignore[return-value]

    def score(self, pictures: Any, prompts: Any) -> Tensor:
        self.clock.now += 1000
        return super().score(pictures, prompts)


class Stepper(torch.optim.SGD):
    def __init__(self, samples: Any, clock: Clock) -> None:
        super().__init__(samples, lr=1.0)
        self.clock = clock

    def step(self, *given: Any) -> None:  # type: ignore[override]
        self.clock.now += 0.125
        super().step(*given)


def method(clock: Clock) -> Method:
    def direction(latent: Tensor, gradient: Tensor, rng: Any) -> Tensor:
        clock.now += 200
        return gradient

    def retract(latent: Tensor) -> Tensor:
        clock.now += 500
        return latent

    return Method(lambda samples: Stepper(samples, clock), direction, retract)


def test_every_second_goes_to_the_phase_that_took_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(measured, "time", clock)
    found = Profile(CPU)
    parts: dict[str, Any] = {"model": Model(clock), "rewards": {"red": Slow(clock)}, "method": method(clock)}
    run, failed = complete(tmp_path, **parts, steps=7, score_every=3, profile=found)
    assert not failed and len(run.recorded()) == len(IMAGES)
    taken = {"text": 0.25, "generator": 8 * 1, "decoder": 8 * 2, "reward": 8 * 4, "scoring": 4 * 1000}  # of 7 steps
    taken |= {"backward of reward": 7 * 40, "backward of decoder": 7 * 20, "backward of generator": 7 * 10}
    taken |= {"direction": 7 * 200, "optimiser": 7 * 0.125, "retraction": 7 * 500}
    assert {phase: seconds for phase, seconds in found.seconds.items() if seconds} == taken
    calls = {phase: count for phase, count in found.calls.items() if phase != REST and count}
    assert calls == {
        **dict.fromkeys(("generator", "decoder", "reward"), 8),
        **{phase: 7 for phase in taken if phase.startswith("backward") or phase in ("direction", "optimiser")},
        **{
            "retraction": 7,
            "text": 1,
            "scoring": 5,
            "saving": 2,
        },  # the best step is looked at, what is written awaited
    }
    rows = list(csv.DictReader(io.StringIO(_written(found, tmp_path))))
    assert {row["phase"]: float(row["seconds"]) for row in rows if float(row["seconds"])} == taken
    assert [row["phase"] for row in rows] == [phase for phase in PHASES if phase in taken | {"saving": 0, REST: 0}]
    shares = [float(line.split()[-1].rstrip("%")) for line in found.table().splitlines()[1:]]
    assert sum(shares) == pytest.approx(100, abs=0.5)


def _written(found: Profile, folder: Path) -> str:
    found.write(folder / "profile.csv")
    return (folder / "profile.csv").read_text()


@pytest.mark.parametrize(
    ("case", "dtype"), [("sd_turbo-plain", "float32"), ("sd_turbo-plain", "float16"), ("sana_sprint-plain", "bfloat16")]
)
def test_a_published_model_is_told_apart_from_its_decoder(
    case: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.build(case, dtype=dtype)
    found, order = Profile(CPU), list[str]()
    begin = found.begin
    monkeypatch.setattr(found, "begin", lambda phase: begin(order.append(phase) or phase))
    made = experiment(model=model, rewards={"red": Red()}, profile=found, prompts=["a dog"])
    for _ in made.iterate(IMAGES[:1], 1):
        pass
    assert order == ["text", REST, *ITERATION, "generator", "decoder", REST, "reward", REST]


def test_a_profiled_run_has_the_records_of_a_plain_one(tmp_path: Path) -> None:
    model = models.model("sd_turbo-plain")
    pairs = [
        complete(tmp_path / str(bool(found)), model=model, prompts=["a dog", "a cat"], profile=found)[0]
        for found in (None, Profile(CPU))
    ]
    for image in range(2):
        plain, other = (numbers(run, image) for run in pairs)
        np.testing.assert_array_equal(plain, other)
        assert (saved(pairs[0].kept(IMAGES[image])) == saved(pairs[1].kept(IMAGES[image]))).all()


def test_a_plain_run_has_no_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hook(*_: Any, **__: Any) -> None:
        raise AssertionError("a hook")

    for owner, name in (
        (Tensor, "register_hook"),
        (nn.Module, "register_forward_pre_hook"),
        (torch.optim.Optimizer, "register_step_pre_hook"),
        (torch.optim.Optimizer, "register_step_post_hook"),
    ):
        monkeypatch.setattr(owner, name, hook)
    model = models.model("sd_turbo-plain")
    assert not complete(tmp_path / "plain", model=model, prompts=["a dog"])[1]
    with pytest.raises(AssertionError, match="a hook"):
        complete(tmp_path / "profiled", model=model, prompts=["a dog"], profile=Profile(CPU))


class Event:
    """Stands for ``torch.cuda.Event``: it has passed once the device was waited for."""

    waits = 0

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self, stream: Any) -> None:
        self.wait, self.at = Event.waits, next(self.moments)

    moments: Iterator[float] = iter(())

    def query(self) -> bool:
        return Event.waits > self.wait

    def elapsed_time(self, other: "Event") -> float:
        assert self.query() and other.query()
        return other.at - self.at


def test_on_a_gpu_nothing_waits_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA events are read when they have passed; here the plain loop's own waiting is after the second phase."""
    waited = []

    def synchronize(device: torch.device) -> None:
        waited.append(device)
        Event.waits += 1

    monkeypatch.setattr(Event, "moments", iter([0.0, 5.0, 11.0, 31.0, 131.0]))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    found = Profile(torch.device("cuda:1"))
    found.begin("generator")
    found.begin("reward")
    assert not waited and not any(found.seconds.values())
    Event.waits += 1
    found.begin("direction")
    assert not waited
    assert {phase: time for phase, time in found.seconds.items() if time} == {REST: 0.005, "generator": 0.006}
    table = found.table()
    assert waited == [torch.device("cuda:1")]
    assert [line.split()[-2] for line in table.splitlines()[1:]] == ["0.006", "0.020", "0.100", "0.005"]


def test_the_command_writes_and_prints_it_and_the_run_is_the_same(tmp_path: Path, gradproj: Gradproj) -> None:
    words = ["run", "steps=2", "prompts=['a red ring','a blue cross']", "score_every=2"]
    for more in ([], ["profile=true", "shard=1", "shards=2"]):
        said = gradproj(*words, *more, *(["results=profiled"] if more else []), folder=tmp_path)
        assert said.code == 0, said.err
        assert ("backward of generator" in said.out) == bool(more)
    (plain,), (profiled,) = ((tmp_path / name / "runs").iterdir() for name in ("results", "profiled"))
    assert plain.name == profiled.name
    assert not list(plain.glob("profile*"))
    assert [path.name for path in profiled.glob("profile*")] == ["profile-1of2.csv"]
    with (profiled / "profile-1of2.csv").open(newline="") as file:
        found = {row["phase"]: row for row in csv.DictReader(file)}
    assert found["generator"]["calls"] == "3" and found["backward of generator"]["calls"] == "2"
    again = gradproj(*words, "profile=true", folder=tmp_path)  # nothing is left to do, and nothing is measured
    assert again.code == 0 and "backward" not in again.out and not list(plain.glob("profile*"))
