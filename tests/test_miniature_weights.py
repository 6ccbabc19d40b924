"""The miniature's weight files against their sums and safetensors headers; a training that was killed and goes on."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gradproj.errors import UserError
from gradproj.miniature import weights
from gradproj.miniature.generator import Generator
from gradproj.miniature.networks import Classifier, CrossMatcher, DualEncoder, Regressor
from gradproj.miniature.training import adam, fit, muon

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "generator": Generator,
    "aesthetic": Regressor,
    "matcher": DualEncoder,
    "heldout": CrossMatcher,
    "classifier": Classifier,
}


def test_all_weights_together_stay_below_twenty_megabytes_and_match_their_sums() -> None:
    files = sorted(weights.FOLDER.iterdir())
    assert sum(path.stat().st_size for path in files) <= 20_000_000
    sums = dict(line.split()[::-1] for line in (weights.FOLDER / "SHA256SUMS").read_text().splitlines())
    assert sums == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files if p.suffix == ".safetensors"}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_holds_exactly_the_parameters_of_its_network(name: str) -> None:
    network = NETWORKS[name]()
    content = (weights.FOLDER / f"{name}.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    stored = {key: tuple(entry["shape"]) for key, entry in header.items() if key != "__metadata__"}
    assert stored == {key: tuple(value.shape) for key, value in network.state_dict().items()}
    loaded = weights.load_network(lambda: network, name, torch.device("cpu"))
    assert weights.name_weights(name) == {f"{name}.safetensors": hashlib.sha256(content).hexdigest()}
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())
    assert all(parameter.isfinite().all() for parameter in loaded.parameters())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights folder of our own, with one small network's file in it."""
    save_file(nn.Linear(3, 2).state_dict(), tmp_path / "small.safetensors")
    seal(tmp_path)
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    return tmp_path


def seal(folder: Path) -> None:
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in folder.glob("*.safetensors")]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")


def load_refusal(network: nn.Module) -> str:
    with pytest.raises(UserError) as error:
        weights.load_network(lambda: network, "small", torch.device("cpu"))
    return str(error.value)


def test_weights_that_are_whole_load(folder: Path) -> None:
    network = nn.Linear(3, 2)
    before = network.weight.clone()
    weights.load_network(lambda: network, "small", torch.device("cpu"))
    assert not torch.equal(network.weight, before)


@pytest.mark.parametrize("sums", [None, "", "abc\n", "0  other.safetensors\n", "no file"])
def test_weights_without_a_file_or_a_sum_are_refused(folder: Path, sums: str | None) -> None:
    if sums is None or sums == "no file":
        (folder / ("small.safetensors" if sums else "SHA256SUMS")).unlink()
    else:
        (folder / "SHA256SUMS").write_text(sums)
    message = load_refusal(nn.Linear(3, 2))
    assert str(folder / "small.safetensors") in message
    assert "install gradproj again" in message or sums not in (None, "no file")


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:20], lambda b: b"", lambda b: b[:-1] + b"\x7f"])
def test_cut_or_changed_weights_are_refused_with_both_sums(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    file = folder / "small.safetensors"
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    message = load_refusal(nn.Linear(3, 2))
    sums = [hashlib.sha256(content).hexdigest() for content in (whole, file.read_bytes())]
    assert all(text in message for text in (*sums, str(file), "restore it"))


@pytest.mark.parametrize("network", [nn.Linear(2, 2), nn.Conv1d(3, 2, 1), nn.Sequential(nn.Linear(3, 2)), None])
def test_weights_of_another_network_or_kind_are_refused_even_with_a_right_sum(
    folder: Path, network: nn.Module | None
) -> None:
    if network is None:
        (folder / "small.safetensors").write_bytes(b"not tensors at all")
        seal(folder)
    message = load_refusal(network or nn.Linear(3, 2))
    assert str(folder / "small.safetensors") in message and "does not fit" in message


@pytest.mark.parametrize("optimizers", [adam, muon])
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path, optimizers: Any) -> None:
    def network() -> nn.Linear:
        torch.manual_seed(0)
        return nn.Linear(3, 1)

    def steps(net: nn.Module, checkpoint: Path) -> Any:
        def loss(generator: torch.Generator) -> torch.Tensor:
            x = torch.randn(8, 3, generator=generator)
            return (net(x) - x.sum(1, keepdim=True)).square().mean()

        return fit(net, loss, 300, 1e-2, torch.Generator().manual_seed(1), checkpoint, optimizers)

    whole, killed, resumed = network(), network(), network()
    assert [step for step, _ in steps(whole, tmp_path / "whole")] == list(range(300))
    for step, _ in steps(killed, tmp_path / "cut"):
        if step == 270:
            break
    assert [step for step, _ in steps(resumed, tmp_path / "cut")] == list(range(250, 300))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert not torch.equal(whole.weight, network().weight)
