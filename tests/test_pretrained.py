"""Half precision's range, room on the GPU, and what is said when it lacks: without weights, without a GPU."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import models as tiny
from torch import Tensor

from gradproj.errors import UserError
from gradproj.optimize import optimize
from gradproj.pretrained import layout, source
from gradproj.pretrained.precision import HALVINGS, GradientRange
from gradproj.types import Method


@pytest.fixture(scope="module")
def sd_turbo() -> Path:
    return tiny.folder("sd_turbo-plain")


def gradient(network: Callable[[Tensor], Tensor], incoming: Tensor, dtype: torch.dtype) -> tuple[Tensor, list[int]]:
    """Of (``network`` * ``incoming``).sum() at ones, through the range of ``dtype``, and how often each was halved."""
    gradient_range, latent = GradientRange(dtype), torch.ones_like(incoming, requires_grad=True)
    (answer,) = torch.autograd.grad(gradient_range.through(network, latent), latent, incoming)
    return answer, gradient_range.halvings.tolist()


def test_the_rescaling_is_exact_per_sample_and_harmless_where_there_is_nothing_to_scale():
    seen: list[Tensor] = []

    def network(latent: Tensor) -> Tensor:
        inside = latent * 1.0
        inside.register_hook(seen.append)
        return inside * 1.0

    incoming = torch.tensor([[3e-30, 1e-30, 0], [5e20, -1.0, 2.0], [0, 0, 0], [torch.nan, 1.0, torch.inf]])
    answer, halvings = gradient(network, incoming, torch.float16)
    assert torch.equal(answer[:3], incoming[:3]) and halvings == [0, 0, 0, 0]
    assert not answer[3].isfinite().all()
    assert 1 <= float(seen[0][0].abs().max()) < 2
    assert 1 <= float(seen[0][1].abs().max()) < 2


class Steep(torch.autograd.Function):
    """The identity, whose gradient is multiplied by 2 to ``powers`` of each sample in float16, and then divided."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor, powers: Tensor) -> Tensor:
        ctx.powers = powers
        return latent.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        powers = ctx.powers.view(-1, *[1] * (gradients[0].ndim - 1))
        return torch.ldexp(torch.ldexp(gradients[0], powers).half().float(), -powers), None


def test_a_gradient_that_leaves_the_range_is_tried_again_at_half_the_scale_of_its_own_sample():
    """float16 ends below 2^16: a gradient in [1, 2) that grows by 2^15 stays in it, by 2^19 at 2^-4 of its scale."""
    incoming = torch.tensor([[1.25, 0.5], [-3e-7, 1e-7], [1.0, 1.0], [1e9, 1e8]])
    powers = torch.tensor([15, 19, 16 + HALVINGS - 1, 0])
    calls: list[int] = []

    def network(latent: Tensor) -> Tensor:
        calls.append(1)
        return Steep.apply(latent, powers[: len(latent)])  # type: ignore[return-value]

    answer, halvings = gradient(network, incoming, torch.float16)
    assert halvings == [0, 4, HALVINGS, 0] and len(calls) == 1 + HALVINGS
    torch.testing.assert_close(answer, incoming, rtol=2**-10, atol=0)
    alone, none = gradient(network, incoming[:1], torch.float16)
    assert torch.equal(alone, answer[:1]) and none == [0]


def test_the_attempts_end_and_what_no_scale_mends_is_not_tried_again():
    calls: list[int] = []

    def network(latent: Tensor, powers: Tensor, factor: float) -> Tensor:
        calls.append(1)
        return Steep.apply(latent, powers) * factor  # type: ignore[operator]

    beyond = torch.tensor([16 + HALVINGS])
    answer, halvings = gradient(lambda at: network(at, beyond, 1.0), torch.ones(1, 2), torch.float16)
    assert halvings == [HALVINGS] and len(calls) == 1 + HALVINGS and not answer.isfinite().any()
    calls.clear()
    for factor, incoming in ((torch.nan, 1.0), (1.0, torch.nan), (1.0, torch.inf)):
        _, halvings = gradient(lambda at, f=factor: network(at, beyond, f), torch.full((1, 2), incoming), torch.float16)
        assert halvings == [0]
    assert len(calls) == 3


def test_wider_types_are_left_alone_and_so_is_a_picture_without_gradient():
    latent = torch.ones(1, 2, requires_grad=True)
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        assert GradientRange(dtype).through(lambda at: at, latent) is latent
    with torch.no_grad():
        assert GradientRange(torch.float16).through(lambda at: at, latent) is latent
    assert GradientRange(torch.float16).through(lambda at: at, latent.detach()).requires_grad is False


def test_a_step_of_a_model_is_mended_and_counted():
    """SD-Turbo in float16, and the same with a latent whose gradient leaves float16's range on its last way."""
    model, steep = (tiny.build("sd_turbo-plain", dtype="float16") for _ in range(2))
    powers, denoise = torch.tensor([0, 22]), steep.denoise
    steep.denoise = lambda latent, condition: denoise(Steep.apply(latent, powers), condition)
    told: dict[str, Any] = {"text": None, "latent": tiny.random_latent(model, 2), "steps": 2, "rng": []}
    told |= {"reward": lambda image, _: image.square().mean((1, 2, 3)), "condition": model.encode(["a ring", "a cat"])}
    told |= {"method": Method(partial(torch.optim.Adam, lr=0.05)), "rng": [torch.Generator(), torch.Generator()]}
    expected, mended = (list(optimize(one, **told)) for one in (model, steep))
    for plain, step in zip(expected, mended, strict=True):
        assert not step.skipped.any() and plain.halvings.tolist() == [0, 0]
        torch.testing.assert_close(step.gradient_norm, plain.gradient_norm, rtol=0.02, atol=0, equal_nan=True)
    assert [step.halvings[0].item() for step in mended] == [0, 0, 0]
    assert all(step.halvings[1] > 0 for step in mended[:2]) and mended[2].halvings[1] == 0


def test_parameters_are_counted_from_the_headers(sd_turbo: Path):
    from diffusers import UNet2DConditionModel

    network = UNet2DConditionModel.from_pretrained(sd_turbo / "unet")
    (file,) = (sd_turbo / "unet").glob("*.safetensors")
    assert layout.count_parameters([file]) == sum(one.numel() for one in network.parameters())


def test_a_gpu_too_small_is_refused_before_anything_is_loaded(monkeypatch, sd_turbo: Path):
    from diffusers import StableDiffusionPipeline

    found = source.fetch(str(sd_turbo), "main", None, StableDiffusionPipeline, ["unet", "vae", "scheduler"])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10_000, 20_000))
    monkeypatch.setattr(StableDiffusionPipeline, "from_pretrained", lambda *a, **k: pytest.fail("loaded"))
    with pytest.raises(UserError, match=r"unet and vae need .* GiB in torch\.float16.*docs/models\.md"):
        found.with_weights().load(["unet", "vae"], torch.float16, torch.device("cuda"))


@pytest.mark.parametrize("repo", ["/no/such/folder", "./no_such", "a/b/c", "nothing"])
def test_a_path_without_a_folder_is_not_taken_for_a_hub_id(repo: str):
    with pytest.raises(UserError, match="no such folder, and not a hub id"):
        layout.local_folder(repo)


def test_a_missing_shard_is_named(sd_turbo: Path, tmp_path: Path):
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    pipeline = StableDiffusionPipeline.from_pretrained(sd_turbo)
    folder = tmp_path / "sharded"
    pipeline.save_pretrained(folder)
    network = UNet2DConditionModel.from_pretrained(folder / "unet")
    next((folder / "unet").glob("*.safetensors")).unlink()
    network.save_pretrained(folder / "unet", max_shard_size="60KB")
    shards = sorted((folder / "unet").glob("*.safetensors"))
    assert len(shards) > 2
    parts = ["unet", "vae", "scheduler"]
    found = source.fetch(str(folder), "main", None, StableDiffusionPipeline, parts)
    found.with_weights().load(parts, torch.float32, torch.device("cpu"))
    shards[1].unlink()
    with pytest.raises(UserError, match=f"unet lacks {shards[1].name}"):
        found.with_weights()


def test_a_variant_is_taken_where_the_folder_has_it(sd_turbo: Path, tmp_path: Path):
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(sd_turbo)
    pipeline.save_pretrained(tmp_path, variant="fp16")
    parts = ["unet", "vae", "scheduler"]
    with pytest.raises(UserError, match=r"unet has no \*model\.safetensors.*type model\.source\.variant=fp16"):
        source.fetch(str(tmp_path), "main", None, StableDiffusionPipeline, parts).with_weights()
    found = source.fetch(str(tmp_path), "main", "fp16", StableDiffusionPipeline, parts).with_weights()
    assert found.variant == "fp16"
    assert all(".fp16." in name for name in found.weights if name.endswith(".safetensors"))
    found.load(parts, torch.float32, torch.device("cpu"))
    plain = source.fetch(str(sd_turbo), "main", "fp16", StableDiffusionPipeline, parts).with_weights()
    assert plain.variant is None
