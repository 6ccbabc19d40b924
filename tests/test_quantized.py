"""Weights of 8 and 4 bits: what is stored, a product and its gradient, how a FLUX with them is run and named."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Compose, Gradproj
from omegaconf import OmegaConf
from test_models import TEXT_LENGTH
from tiny import models as tiny
from tiny.rewards import changed
from torch import nn
from transformers import T5EncoderModel

from gradproj.errors import UserError
from gradproj.execution.settings import keys
from gradproj.execution.settings.parts import make
from gradproj.pretrained import layout, quantized
from gradproj.runs.naming import named_settings

CPU = torch.device("cpu")
NF4 = [-1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0]
NF4 += [0.0795803, 0.1609302, 0.24611230, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0]  # QLoRA, appendix E


def stored_by_hand(weight: torch.Tensor, kind: str) -> torch.Tensor:
    """The nearest weight that the format has."""
    if kind == "int8":
        scale = weight.abs().amax(dim=1, keepdim=True) / 127
        return (weight / scale).round() * scale
    blocks = weight.reshape(-1, quantized.BLOCK)
    scale = blocks.abs().amax(dim=1, keepdim=True)
    codes = torch.tensor(NF4, dtype=weight.dtype)
    nearest = (blocks[:, :, None] / scale[:, :, None] - codes).abs().argmin(dim=2)
    return (codes[nearest] * scale).view_as(weight)


@pytest.mark.parametrize("kind", ["int8", "nf4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_product_and_gradient_are_those_of_the_nearest_weights(kind: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(128, 48).to(dtype)
    linear.weight.data = linear.weight.half().to(dtype)  # bitsandbytes makes int8 of float16
    layer = quantized.QuantizedLinear(linear, kind, CPU)
    nearest = stored_by_hand(linear.weight.detach().float(), kind)
    assert layer.weight.dtype is dtype
    torch.testing.assert_close(layer.weight.float(), nearest, rtol=2e-2 if dtype is torch.bfloat16 else 1e-3, atol=1e-5)
    given = torch.randn(2, 5, 128, dtype=dtype, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(given).sum(), given)
    plain = given.detach().clone().requires_grad_()
    expected = nn.functional.linear(plain, layer.weight, linear.bias)
    assert torch.equal(layer(given), expected)
    torch.testing.assert_close(slope, torch.autograd.grad(expected.sum(), plain)[0])
    assert not any(one.requires_grad for one in layer.parameters())


def test_nothing_of_the_weight_is_kept_for_the_backward_pass() -> None:
    linear = nn.Linear(512, 512)
    layer = quantized.QuantizedLinear(linear, "nf4", CPU)
    kept = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        layer(torch.randn(1, 512, requires_grad=True))
    assert sum(kept) == 0


def settings(**more: Any) -> dict[str, Any]:
    return {"text_length": TEXT_LENGTH} | more


def networks(kind: str) -> dict[str, Any]:
    """The two large parts of a FLUX, as a run loads them."""
    made = tiny.build("flux-plain", **settings(quantization=kind))
    text = made.source.load(made.text, made.dtype, CPU)
    return {"transformer": made.network, "text_encoder_2": text.text_encoder_2, "text_encoder": text.text_encoder}


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_the_linear_layers_of_the_blocks_are_stored_so_and_counted_from_the_files(kind: Any) -> None:
    before, after = networks("none"), networks(kind)
    assert isinstance(after["text_encoder_2"], T5EncoderModel)
    for part in ("transformer", "text_encoder_2"):
        names = {name for name, _ in quantized.linear_layers(before[part])}
        shrunk = {name for name, one in after[part].named_modules() if isinstance(one, quantized.QuantizedLinear)}
        assert names == shrunk and len(names) > 5
        held = [*after[part].parameters(), *after[part].buffers()]
        unused = sum(one.numel() * one.element_size() for one in before[part].buffers())
        bytes_held = sum(one.numel() * one.element_size() for one in held) - unused
        shapes = [(name, one.shape) for name, one in before[part].named_parameters()]
        assert bytes_held == quantized.stored_bytes(shapes, kind, 4)
        files = (tiny.folder("flux-plain") / part).glob("*.safetensors")
        assert quantized.stored_bytes(layout.shapes(files), kind, 4) == bytes_held
        assert bytes_held < sum(one.numel() * one.element_size() for one in before[part].parameters())
    assert not any(isinstance(one, quantized.QuantizedLinear) for one in after["text_encoder"].modules())


def test_the_picture_is_near_and_the_nearer_the_more_bits() -> None:
    exact = tiny.build("flux-plain", **settings())
    latent = tiny.random_latent(exact, 2)
    image = exact.generate(latent, exact.encode(["a red ring", "a dog"]))
    far = {}
    for kind in ("int8", "nf4"):
        made = tiny.build("flux-plain", **settings(quantization=kind))
        condition = made.encode(["a red ring", "a dog"])
        assert not torch.equal(
            condition["encoder_hidden_states"], exact.encode(["a red ring", "a dog"])["encoder_hidden_states"]
        )
        far[kind] = float((made.generate(latent, condition) - image).abs().max())
    assert 0 < far["int8"] < far["nf4"] < 0.5


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_the_gradient_is_the_slope_of_the_quantized_picture(kind: str) -> None:
    made = tiny.build("flux-plain", **settings(quantization=kind))
    latent, condition = tiny.random_latent(made, 1), made.encode(["a red ring"])
    weights = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def reward(at: torch.Tensor) -> torch.Tensor:
        return (made.generate(at, condition).double() * weights).sum()

    leaf = latent.clone().requires_grad_()
    (slope,) = torch.autograd.grad(reward(leaf), leaf)
    direction = slope / slope.norm()
    with torch.no_grad():
        found = (reward(latent + 0.02 * direction) - reward(latent - 0.02 * direction)) / 0.04
    assert float(found) == pytest.approx(float(slope.norm()), rel=1e-2)


# --- its name, and what cannot be


def test_a_run_without_it_is_called_as_before_and_one_with_it_is_another(compose: Compose) -> None:
    plain, nf4 = (keys.check(compose("model=flux", *typed))["model"] for typed in ([], ["model.quantization=nf4"]))
    assert "quantization" not in named_settings(plain) and named_settings(nf4)["quantization"] == "nf4"
    assert named_settings(plain) == {key: value for key, value in named_settings(nf4).items() if key != "quantization"}
    theirs = {"_target_": "mine.Model", "quantization": "none"}
    assert named_settings(theirs) == theirs, "of a part of your own all settings count"


def test_the_config_of_an_older_run_makes_one_without() -> None:
    node: Any = OmegaConf.to_container(tiny.composed("flux"), resolve=True)
    assert node.pop("quantization") == "none"
    told = {"repo": str(tiny.folder("flux-plain")), "resolution": 16}
    assert make(changed(node, told), "model").quantization == "none"


def test_what_cannot_be_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"needs model.dtype=bfloat16 or float32, got float64"):
        tiny.build("flux-plain", **settings(quantization="nf4", dtype="float64"))
    with pytest.raises(UserError, match="quantization"):
        tiny.build("flux-plain", **settings(quantization="int4"))
    monkeypatch.setattr(quantized, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"type pip install 'gradproj\[quantized\]'"):
        tiny.build("flux-plain", **settings(quantization="int8"))
    assert tiny.build("flux-plain", **settings()).quantization == "none"


def test_a_run_with_it_is_made_continued_and_replayed(gradproj: Gradproj, tmp_path: Path) -> None:
    where = [f"model.source.repo={tiny.folder('flux-plain')}", f"model.source.cache={tmp_path}/prompts", "device=cpu"]
    words = ["model=flux", "model.resolution=16", "model.dtype=bfloat16", "model.quantization=nf4", *where]
    words += ["reward=shapes_aesthetic", "rewards=[shapes_aesthetic]", "prompts=[a red ring]", "steps=2"]
    first = gradproj("run", *words, folder=tmp_path)
    assert first.code == 0, first.err
    (run,) = (tmp_path / "results" / "runs").iterdir()
    assert "quantization: nf4" in (run / "config.yaml").read_text()
    assert "0 to do" in gradproj("run", *words, folder=tmp_path).out
    again = gradproj("replay", run, "0000-0", *where, folder=tmp_path)
    assert again.code == 0 and "the same numbers" in again.out, again.err
    other = gradproj("plan", *[word for word in words if "quantization" not in word], folder=tmp_path)
    assert run.name not in other.out
