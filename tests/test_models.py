"""The published models against diffusers' own pipelines and central differences, on tiny random weights."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Gradproj
from diffusers import AutoencoderKL, DiffusionPipeline, FluxPipeline, SanaSprintPipeline
from tiny import models as tiny
from torch import Tensor

from gradproj.errors import UserError

LONG = "a red ring and a blue square " * 30  # beyond every text encoder's limit
PROMPTS = ["", LONG, "赤い輪 → Ünïcödé 🟥"]
DIFFERENCES = {  # model -> (h, tolerance): where parts of it compute in float32 whatever the dtype, no finer than that
    "sd_turbo": (1e-6, 1e-5),
    "sdxl_turbo": (1e-6, 1e-5),
    "flux": (1e-3, 1e-4),
    "sana_sprint": (1e-5, 1e-2),  # and with the kinks of its ReLUs
}
FLATTENINGS = ["packed", "unpacked"]
TEXT_LENGTH = 64  # FLUX's: 256 and 512 would be as good, and slower


def settings(case: str, **more: Any) -> dict[str, Any]:
    return ({"text_length": TEXT_LENGTH} if tiny.CASES[case] == "flux" else {}) | more


def each_flattening(cases: list[str]) -> list[Any]:
    """(case, settings) for every case; FLUX's in both orders of its latent."""
    several = [
        [(case, {"flattening": one}) for one in FLATTENINGS] if "flux" in case else [(case, {})] for case in cases
    ]
    return [pytest.param(*one, id="-".join([one[0], *one[1].values()])) for each in several for one in each]


@cache
def published(case: str) -> Any:
    """The pipeline that diffusers finds in the folder."""
    return DiffusionPipeline.from_pretrained(tiny.folder(case))


def reference(pipeline: Any, prompts: list[str], latent: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """What a pipeline answers to its own call, with one step and without guidance (SANA's is built in)."""
    told: dict[str, Any] = {"guidance_scale": 0.0}
    kind = type(pipeline.to(latent.device))
    pipeline.set_progress_bar_config(disable=True)
    if kind is FluxPipeline:
        told["max_sequence_length"] = TEXT_LENGTH
        if latent.ndim == 4:
            latent = pipeline._pack_latents(latent, *latent.shape)
    if kind is SanaSprintPipeline:
        told = {"use_resolution_binning": False, "intermediate_timesteps": None}
    told |= {"num_inference_steps": 1, "height": size, "width": size, "latents": latent.to(dtype)}
    return pipeline(prompts, output_type="pt", **told).images.float()


# The picture


@pytest.mark.parametrize(("case", "flattening"), each_flattening(list(tiny.CASES)))
def test_the_picture_is_that_of_the_pipelines_own_call(case: str, flattening: dict[str, str]):
    for side, prompts in zip(tiny.SIZES[tiny.CASES[case]], (PROMPTS, ["a red ring"]), strict=True):
        model = tiny.model(case, **settings(case, resolution=side, **flattening))
        latent = tiny.random_latent(model, len(prompts), seed=side)
        image = model.generate(latent, model.encode(prompts))
        assert image.shape == (len(prompts), 3, side, side)
        expected = reference(published(case), prompts, latent, side, torch.float32)
        torch.testing.assert_close(image, expected, rtol=0, atol=1e-5)
        assert 0.01 < float(image.min()) < float(image.max()) < 0.99, "clamped: it would hide differences"


@pytest.mark.parametrize("case", tiny.CASES)
def test_prompt_and_latent_change_the_picture_far_beyond_that_tolerance(case: str):
    model = tiny.model(case, **settings(case))
    latent = tiny.random_latent(model, 3)
    by_prompt = model.generate(latent[:1].expand_as(latent), model.encode(PROMPTS))
    by_latent = model.generate(latent, model.encode(PROMPTS[:1] * 3))
    for images in (by_prompt, by_latent):
        assert all(float((one - other).abs().max()) > 1e-3 for one, other in pairwise([*images, images[0]]))


def test_sdxl_takes_its_vae_from_another_repo():
    case, folder = "sdxl_turbo-short", tiny.folder("sdxl_turbo-deep") / "vae"
    model = tiny.build(case, vae_repo=folder, resolution=32)
    latent = tiny.random_latent(model, 3)
    vae = AutoencoderKL.from_pretrained(folder)
    expected = reference(
        DiffusionPipeline.from_pretrained(tiny.folder(case), vae=vae), PROMPTS, latent, 32, torch.float32
    )
    torch.testing.assert_close(model.generate(latent, model.encode(PROMPTS)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", ["sdxl_turbo-upcast", "sdxl_turbo-plain"])
def test_sdxl_in_float16_decodes_in_float32_where_its_vae_asks_for_it(case: str):
    model = tiny.model(case, dtype="float16")
    latent = tiny.random_latent(model, 3)
    image = model.generate(latent, model.encode(PROMPTS))
    pipeline: Any = DiffusionPipeline.from_pretrained(tiny.folder(case), torch_dtype=torch.float16)
    expected = reference(pipeline, PROMPTS, latent, 16, torch.float16)
    torch.testing.assert_close(image, expected, rtol=0, atol=5e-3)  # some roundings of 2^-11
    decoded = image * 2 - 1
    finer = float((decoded.half().float() - decoded).abs().max()) > 1e-5
    assert finer == (case == "sdxl_turbo-upcast"), "than float16"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("case", tiny.PLAIN)
def test_half_precision_gives_float32_pictures_and_gradients_near_those_of_float32(case: str, dtype: str):
    if tiny.CASES[case] in ("flux", "sana_sprint") and dtype == "float16":
        pytest.skip("FLUX and SANA-Sprint have no float16")
    half, single = (tiny.model(case, **settings(case, dtype=one)) for one in (dtype, "float32"))
    latent = tiny.random_latent(single, 3)
    image, gradient = image_and_gradient(half, latent)
    expected, expected_gradient = image_and_gradient(single, latent)
    assert image.dtype == gradient.dtype == torch.float32
    assert 0 <= float(image.min()) <= float(image.max()) <= 1
    torch.testing.assert_close(image, expected, rtol=0, atol=0.05)
    scaled = [image_and_gradient(half, latent, scale)[1] / scale for scale in (1e-12, 1e6)]  # a reward's can be so
    least = {"bfloat16": 0.7, "float16": 0.97}[dtype]  # tiny random networks bend within a rounding of bfloat16
    for one in (gradient, *scaled):
        assert torch.cosine_similarity(one.flatten(1), expected_gradient.flatten(1)).min() > least
        torch.testing.assert_close(one.norm(), expected_gradient.norm(), rtol=0.3, atol=0)


# The gradient


def weighting(image: Tensor) -> Tensor:
    """Fixed random weights, one per value of a picture, so that no value's gradient cancels another's."""
    generator = torch.Generator().manual_seed(7)
    return torch.randn(image.shape[1:], generator=generator, dtype=torch.float64).to(image)


def image_and_gradient(model: Any, latent: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    leaf = latent.clone().requires_grad_()
    image = model.generate(leaf, model.encode(PROMPTS[: len(latent)]))
    (gradient,) = torch.autograd.grad((image * (scale * weighting(image))).sum(), leaf)
    return image.detach(), gradient


@pytest.mark.parametrize(("case", "flattening"), each_flattening([*tiny.PLAIN, "sdxl_turbo-upcast"]))
def test_the_gradient_is_that_of_central_differences(case: str, flattening: dict[str, str]):
    """Along random directions and the gradient itself; the error is a part of |gradient| |direction|."""
    h, tolerance = DIFFERENCES[tiny.CASES[case]]
    model = tiny.model(case, **settings(case, dtype="float64", **flattening))
    latent = tiny.random_latent(model, 2).double()
    condition = model.encode(PROMPTS[:2])
    image, gradient = image_and_gradient(model, latent)
    assert image.dtype == gradient.dtype == torch.float64

    @torch.no_grad()
    def value(at: Tensor) -> float:
        image = model.generate(at, condition)
        return float((image * weighting(image)).sum())

    directions = [tiny.random_latent(model, 2, seed=100 + seed).double() for seed in range(3)]
    for direction in (*directions, gradient / gradient.norm() * latent.norm()):
        difference = (value(latent + h * direction) - value(latent - h * direction)) / (2 * h)
        error = abs(float((gradient * direction).sum()) - difference)
        assert error < tolerance * float(gradient.norm() * direction.norm())


# Beside the promises of every model, which test_contracts.py looks at


@pytest.mark.parametrize("case", tiny.PLAIN)
def test_another_batch_in_between_leaves_no_trace(case: str):
    model = tiny.model(case, **settings(case))
    latent, condition = tiny.random_latent(model, 3), model.encode(PROMPTS)
    conditions = {name: one.clone() for name, one in condition.items()}
    first = model.generate(latent, condition)
    model.generate(-latent[:1], model.encode(PROMPTS[:1]))
    assert torch.equal(model.generate(latent, condition), first)
    assert all(torch.equal(condition[name], conditions[name]) for name in conditions)


@pytest.mark.parametrize(("case", "flattening"), each_flattening(list(tiny.CASES)))
def test_the_latent_is_laid_out_as_published(case: str, flattening: dict[str, str]):
    pipeline = published(case)
    side = tiny.SIZES[tiny.CASES[case]][0] // pipeline.vae_scale_factor
    channels = pipeline.vae.config.latent_channels
    packed = flattening == {"flattening": "packed"}
    expected = ((side // 2) ** 2, 4 * channels) if packed else (channels, side, side)
    assert tiny.model(case, **settings(case, **flattening)).latent_shape == expected


# What is refused


def broken(case: str, to: Path, spoil: Callable[[Path], Any]) -> Path:
    """A copy of the pipeline, spoilt."""
    shutil.copytree(tiny.folder(case), to / "copy")
    spoil(to / "copy")
    return to / "copy"


def to_bin(folder: Path) -> None:
    for path in folder.rglob("*.safetensors"):
        torch.save({}, path.with_suffix(".bin"))
        path.unlink()


def cut(folder: Path) -> None:
    for path in folder.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1000])


def no_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


def no_vae(folder: Path) -> None:
    shutil.rmtree(folder / "vae")


def another_config(folder: Path) -> None:
    path = next(folder.glob("unet/config.json"), folder / "transformer" / "config.json")
    config = json.loads(path.read_text())
    config["in_channels"] = 4 * config["in_channels"]
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (to_bin, "safetensors"),
        (cut, "is cut or not safetensors"),
        (no_index, "model_index.json"),
        (no_vae, "vae"),
        (another_config, "safetensors has another shape of .*: type model.source.repo="),
    ],
)
@pytest.mark.parametrize("case", tiny.PLAIN)
def test_a_spoilt_folder_is_refused_with_its_name(
    case: str, spoil: Callable[[Path], Any], expected: str, tmp_path: Path
):
    repo = broken(case, tmp_path, spoil)
    with pytest.raises(UserError, match=expected) as said:
        model = tiny.build(case, repo=repo, cache=tmp_path / "prompts")
        model.encode(["a red ring"])
        _ = model.pipeline
    assert str(repo) in str(said.value)


@pytest.mark.parametrize("case", tiny.PLAIN)
def test_another_pipelines_folder_is_refused(case: str):
    other = next(one for one in tiny.PLAIN if one != case)
    with pytest.raises(UserError, match=f"{type(published(other)).__name__}.*{type(published(case)).__name__}"):
        tiny.build(case, repo=tiny.folder(other))


@pytest.mark.parametrize("case", tiny.PLAIN)
def test_of_files_in_two_precisions_the_variant_is_read(case: str, tmp_path: Path):
    def only_the_variant_is_whole(folder: Path) -> None:
        for path in folder.rglob("*.safetensors"):
            path.rename(path.with_suffix(".fp16.safetensors"))
            path.write_bytes(b"cut")

    repo, cache = broken(case, tmp_path, only_the_variant_is_whole), tmp_path / "prompts"
    model = tiny.build(case, **settings(case, repo=repo, cache=cache, variant="fp16"))
    latent, expected = tiny.random_latent(model, 3), tiny.model(case, **settings(case))
    assert torch.equal(
        model.generate(latent, model.encode(PROMPTS)), expected.generate(latent, expected.encode(PROMPTS))
    )
    assert len([name for name in model.weights if name.endswith(".safetensors")]) == len(list(repo.glob("*/*.fp16.*")))
    with pytest.raises(UserError, match="is cut or not safetensors"):
        _ = tiny.build(case, repo=repo, variant=None).pipeline


# What names a run


@pytest.mark.parametrize("case", tiny.PLAIN)
def test_weights_follow_the_content_of_every_file_and_not_its_folder(case: str, tmp_path: Path):
    here = dict(tiny.model(case, **settings(case)).weights)
    copy = broken(case, tmp_path, lambda folder: None)
    assert tiny.build(case, **settings(case, repo=copy)).weights == here
    seen = [here]
    for path in sorted(copy.rglob("*.safetensors")):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        seen.append(dict(tiny.build(case, **settings(case, repo=copy)).weights))
    assert len(seen) > 3
    assert len({json.dumps(one, sort_keys=True) for one in seen}) == len(seen)


def test_weights_follow_the_content_of_another_repos_vae_and_not_its_folder(tmp_path: Path):
    vae = tiny.folder("sdxl_turbo-deep") / "vae"
    shutil.copytree(vae, tmp_path / "moved")
    with_own = tiny.build("sdxl_turbo-plain").weights
    there, moved = (tiny.build("sdxl_turbo-plain", vae_repo=one).weights for one in (vae, tmp_path / "moved"))
    assert there == moved != with_own


# From the command line


def test_runs_are_recorded_once_whatever_their_memory_policy_and_folder(tmp_path: Path, gradproj: Gradproj):
    """All four models in one sweep; the same again; and again from a copy of the weights, saving memory."""

    def arguments(folder: Path, *more: str) -> list[str]:
        told = {"source.repo": f"{folder}/${{hydra:runtime.choices.model}}-plain", "dtype": "float32"}
        told |= {"resolution": 32, "source.cache": tmp_path / "prompts"}
        settings = [f"++model.{key}={value}" for key, value in told.items()]
        run = ["reward=shapes_aesthetic", 'prompts=["a red ring"]', "steps=3", f"results={tmp_path}/results"]
        run += ["device=cpu"]
        return ["run", "-m", f"model={','.join(tiny.BUILDERS)}", *settings, *run, *more]

    here, moved = Path(tiny.home().name), tmp_path / "moved"
    for case in tiny.PLAIN:
        shutil.copytree(tiny.folder(case), moved / case)
    first = gradproj(*arguments(here))
    assert first.code == 0, first.err
    runs = {path.name.split("-")[0]: path for path in (tmp_path / "results" / "runs").iterdir()}
    assert runs.keys() == tiny.BUILDERS.keys()
    for run in runs.values():
        assert f"{run}: 0 of 1 images recorded, 1 to do" in first.out
        table = [line for line in (run / "images" / "0000-0.csv").read_text().splitlines() if line[0] != "#"]
        assert len(table) == 1 + 4  # the columns' names and steps 0 to 3
        assert (run / "images" / "0000-0.png").stat().st_size > 0
    saving = ["checkpointing=full", "decoder_checkpointing=blocks", "text_encoder_device=cpu"]
    for again in (arguments(here), arguments(moved, *(f"++model.memory.{one}" for one in saving))):
        said = gradproj(*again)
        assert said.code == 0, said.err
        for run in runs.values():
            assert f"{run}: 1 of 1 images recorded, 0 to do" in said.out
