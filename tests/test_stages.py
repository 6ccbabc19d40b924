"""What is in memory in each stage of a run: the weights that are alive, counted while it goes on, on tiny networks."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Compose
from tiny import models as tiny
from tiny.rewards import stand_in
from torch import nn

from gradproj.execution import prepared, rehearsal, worker
from gradproj.execution.settings import keys
from gradproj.models.flux import Flux
from gradproj.pretrained.source import Source
from gradproj.runs.naming import ImageId

PAPER = ("aesthetic", "pickscore", "hpsv2", "imagereward")
Alive = Callable[[], int]


@pytest.fixture
def alive() -> Iterator[Alive]:
    """Bytes of the parameters of all modules that were made since and are still there."""

    def count() -> int:
        gc.collect()
        modules = [one for one in gc.get_objects() if issubclass(type(one), nn.Module)]
        weights = {id(one): one for module in modules for one in module.parameters(recurse=False) if not one.is_meta}
        return sum(one.numel() * one.element_size() for one in weights.values())

    gc.collect()
    gc.freeze()
    yield count
    gc.unfreeze()


def settings(compose: Compose, folder: Path, *more: str) -> dict[str, Any]:
    told = [f"model.source.repo={tiny.folder('flux-plain')}", f"model.source.cache={folder}/prompts"]
    told += ["model.resolution=16", "model.dtype=float32", "reward=aesthetic", "prompts=[a red ring,a blue ring]"]
    told += [one for name in PAPER for one in stand_in(name)]
    return keys.check(compose("model=flux", "rewards=paper", *told, "steps=1", f"results={folder}", *more))


def made(compose: Compose, folder: Path, *more: str) -> tuple[Any, list[str]]:
    plain = settings(compose, folder, *more)
    return prepared.made(plain, plain["prompts"]), plain["prompts"]


def size(network: Any) -> int:
    return sum(one.numel() * one.element_size() for one in network.parameters())


def test_text_encoders_are_alone_and_gone_when_the_rest_comes(
    compose: Compose, tmp_path: Path, alive: Alive, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, _ = made(compose, tmp_path, "device=cpu")
    assert alive() == 0, "nothing is loaded before it is used"
    seen: dict[str, int] = {}
    load = Source.load

    def loaded(self: Source, parts: Any, *arguments: Any, **named: Any) -> Any:
        before, pipeline = alive(), load(self, parts, *arguments, **named)
        seen[parts[0]] = before
        if "text_encoder" in parts:
            seen["text"] = alive() - size(pipeline.text_encoder) - size(pipeline.text_encoder_2)
        return pipeline

    halves: list[tuple[int, int]] = []
    for owner in (experiment.rewards["pickscore"].tower, experiment.rewards["hpsv2"]):
        half = owner.text_half

        def noted(half: Any = half) -> Any:
            before, network = alive(), half()
            halves.append((before, alive() - size(network)))
            return network

        monkeypatch.setattr(owner, "text_half", noted)
    monkeypatch.setattr(Source, "load", loaded)
    rehearsal.rehearse(experiment, 1)
    assert seen.pop("text") == 0 and seen[Flux.text[0]] == 0, "the text encoders are alone"
    assert halves == [(0, 0), (0, 0)], "and so is what reads prompts of each reward"
    rewards = sum(size(experiment.rewards[name].network) for name in PAPER)
    assert seen[Flux.denoiser] == rewards, "the generator comes to the rewards' picture halves"
    model = size(experiment.model.network) + size(experiment.model.decoder)
    assert alive() == model + rewards, "and nothing else stays"
    for _ in experiment.iterate([ImageId(0, 0), ImageId(1, 0)], 1):
        assert alive() == model + rewards, "in the climb, too"


@pytest.mark.parametrize("compiled", [False, True])
def test_after_the_climb_the_generator_is_gone_and_the_rewards_come_alone(
    compose: Compose, tmp_path: Path, alive: Alive, monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    real = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **told: real(self, **told, backend="aot_eager"))
    seen: dict[str, list[int]] = {}
    score = worker.rescore

    def noted(run: Any, name: str, reward: Any, *arguments: Any) -> int:
        seen[name] = [alive()]
        answer = score(run, name, reward, *arguments)
        seen[name] += [alive(), size(reward.network), answer]
        return answer

    monkeypatch.setattr(worker, "rescore", noted)
    plain = settings(compose, tmp_path, "device=cpu", "held_out=after", f"compile={compiled}")
    outcome = worker.complete(plain, plain["prompts"], "flux", "ours")
    assert outcome.recorded == 2 and ("compiled" in outcome.run.label(ImageId(0, 0))) == compiled
    assert seen.keys() == {"pickscore", "hpsv2", "imagereward"}
    for name, (before, after, alone, images) in seen.items():
        assert (before, after, images) == (0, alone, 2), name


def test_a_network_is_read_straight_to_its_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The libraries are told the device, but for the VAE, which loses its encoder first."""
    from gradproj.pretrained import network

    model, told = tiny.build("flux-plain", cache=tmp_path), {}
    load = network.load_network

    def noted(kind: Any, folder: Path, *arguments: Any) -> Any:
        told[folder.name] = arguments[-1]
        return load(kind, folder, *arguments)

    monkeypatch.setattr("gradproj.pretrained.source.load_network", noted)
    model.device = torch.device("cpu", 0)
    _ = model.pipeline
    assert told == {"transformer": torch.device("cpu", 0), "vae": torch.device("cpu")}
