"""Half precision's range, room on the GPU, and what is said when it lacks: without weights, without a GPU."""

from pathlib import Path

import pytest
import torch
from tiny import models as tiny

from gradproj.errors import UserError
from gradproj.pretrained import layout, source
from gradproj.pretrained.precision import GradientRange


@pytest.fixture(scope="module")
def sd_turbo() -> Path:
    return tiny.folder("sd_turbo-plain")


def test_the_rescaling_is_exact_per_sample_and_harmless_where_there_is_nothing_to_scale():
    gradient_range = GradientRange(torch.float16)
    latent = torch.ones(4, 3, requires_grad=True)
    seen: list[torch.Tensor] = []
    inside = gradient_range.enter(latent) * 1.0
    inside.register_hook(seen.append)
    image = gradient_range.leave(inside)
    incoming = torch.tensor([[3e-30, 1e-30, 0], [5e20, -1.0, 2.0], [0, 0, 0], [torch.nan, 1.0, torch.inf]])
    (answer,) = torch.autograd.grad(image, latent, incoming)
    assert torch.equal(answer[:3], incoming[:3])
    assert not answer[3].isfinite().all()
    assert 1 <= float(seen[0][0].abs().max()) < 2
    assert 1 <= float(seen[0][1].abs().max()) < 2


def test_wider_types_are_left_alone():
    latent = torch.ones(1, requires_grad=True)
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        assert GradientRange(dtype).leave(GradientRange(dtype).enter(latent)) is latent


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
