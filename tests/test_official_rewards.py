"""The paper's rewards beside the published code's numbers (scripts/parity.py makes them), and their gradients."""

import gc
import hashlib
import weakref
from typing import Any

import official
import pytest
import torch
from official import GAP, NAMES, PROMPTED, REFERENCE, SIZES, build, count, gradient, images
from PIL import Image as Pillow
from tiny import inputs, layouts
from torchvision import transforms
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from gradproj.pretrained import preprocess, weights_file

keys, official = official.keys, official.official


def test_the_reference_was_made_of_the_same_weights_and_pictures():
    pixels = b"".join(picture.tobytes() for picture in inputs.pictures())
    assert REFERENCE["pictures"] == hashlib.sha256(pixels).hexdigest()
    assert REFERENCE["weights"] == layouts.digest(), "numpy draws other numbers: run scripts/parity.py --write"
    assert REFERENCE["seed"] == inputs.SEED


@pytest.mark.parametrize("name", NAMES)
def test_score_is_the_published_number(name: str, official):
    reward, expected = official(name), torch.tensor(REFERENCE["tiny"][name]["scores"])
    scores = torch.stack(
        [reward.score([picture] * len(inputs.PROMPTS), inputs.PROMPTS) for picture in inputs.pictures()]
    )
    assert expected.std() > 0
    assert float((scores - expected).abs().max()) < 1e-4 * float(expected.std())


@pytest.mark.parametrize("name", NAMES)
def test_pictures_of_many_sizes_in_one_call_score_as_alone(name: str, official):
    expected = torch.tensor(REFERENCE["tiny"][name]["scores"])
    pictures, columns = inputs.pictures(), [index % len(inputs.PROMPTS) for index in range(len(inputs.pictures()))]
    scores = official(name).score(pictures, [inputs.PROMPTS[column] for column in columns])
    assert (scores.dtype, scores.device.type, scores.requires_grad) == (torch.float32, "cpu", False)
    wanted = torch.stack([expected[row, column] for row, column in enumerate(columns)])
    assert float((scores - wanted).abs().max()) < 1e-4 * float(expected.std())


@pytest.mark.parametrize("name", PROMPTED)
def test_prompts_become_the_published_tokens(name: str, official):
    reward = official(name)
    if name == "imagereward":
        tokens = reward.encode(inputs.PROMPTS)[:, 0].cpu()
    else:
        tokens = reward.tokenizer(inputs.PROMPTS) if name == "hpsv2" else reward.prompts.tokens(inputs.PROMPTS)
    expected = REFERENCE["tiny"][name]["tokens"]
    assert tokens.shape == (len(inputs.PROMPTS), 35 if name == "imagereward" else 77)
    assert [row[: len(wanted)].tolist() for row, wanted in zip(tokens, expected, strict=True)] == expected
    assert not any(row[len(wanted) :].any() for row, wanted in zip(tokens, expected, strict=True))
    assert max(map(len, expected)) == tokens.shape[1], "no prompt was long enough to be cut"


@pytest.mark.parametrize("name", NAMES)
def test_call_follows_score_up_to_the_rounding_of_8_bits(name: str, official):
    reward, spread = official(name), torch.tensor(REFERENCE["tiny"][name]["scores"]).std()
    text = reward.encode(inputs.PROMPTS)
    for picture in inputs.pictures():
        score = reward.score([picture] * len(inputs.PROMPTS), inputs.PROMPTS)
        image = preprocess.to_tensor(picture).expand(len(inputs.PROMPTS), -1, -1, -1)
        gap = float((reward(image.to(reward.device), text).detach().cpu() - score).abs().max() / spread)
        assert gap < (1e-5 if picture.size == (224, 224) else GAP[name])


@pytest.mark.parametrize("size", [*inputs.SIZES, (300, 225), (1023, 401), (225, 224)], ids=str)
def test_pixels_are_those_of_torchvision_and_transformers(size: tuple[int, int]):
    (picture,) = inputs.pictures([size])
    bicubic = transforms.InterpolationMode.BICUBIC
    published = transforms.Compose(
        [
            transforms.Resize(224, bicubic),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(preprocess.MEAN, preprocess.STD),
        ]
    )
    torch.testing.assert_close(
        preprocess.fit_pictures([picture], 224, preprocess.centre_torchvision)[0], published(picture), rtol=0, atol=1e-6
    )
    processor = CLIPImageProcessorPil(size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224})
    expected = processor(picture, return_tensors="pt")["pixel_values"]
    found = preprocess.fit_pictures([picture], 224, preprocess.centre_transformers)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_that_of_central_differences(name: str, keys):
    reward = build(name, keys(name) | {"dtype": "float64"})
    text = reward.encode(inputs.PROMPTS[2:4])
    for size in SIZES:
        image = images(*size, count=2).double().to(reward.device)
        direction = torch.randn(image.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        direction = direction.to(reward.device)
        slope = float((gradient(reward, image, text)[1] * direction).sum())
        with torch.no_grad():
            ends = [float(reward(image + h * direction, text).sum()) for h in (1e-5, -1e-5)]
        assert slope != 0
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_finite_on_flat_and_saturated_pictures_and_weights_have_none(name: str, keys):
    reward = build(name, keys(name))
    flat = torch.tensor([0.0, 1.0, 0.5]).view(3, 1, 1, 1).expand(3, 3, 40, 50).to(reward.device)
    values, slope = gradient(reward, flat, reward.encode(inputs.PROMPTS[:3]))
    assert bool(values.isfinite().all())
    assert bool(slope.isfinite().all())
    assert not any(weight.requires_grad or weight.grad is not None for weight in reward.network.parameters())
    assert not any(module.training for module in reward.network.modules())


@pytest.mark.parametrize("name", PROMPTED)
def test_the_prompt_matters(name: str, keys):
    reward = build(name, keys(name))
    image = images(32, 32, count=1).expand(2, -1, -1, -1).to(reward.device)
    first, second = reward(image, reward.encode(inputs.PROMPTS[2:4])).tolist()
    assert abs(first - second) > 1e-3


def blocks(name: str, reward: Any) -> list[Any]:
    """The attention layers of the picture's transformer."""
    network = reward.network
    if name == "hpsv2":
        return [one.attn for one in network.visual.transformer.resblocks]
    if name == "imagereward":
        return [one.self_attn for one in network.vision.encoder.layers]
    tower = network["tower"] if name == "aesthetic" else network
    return [one.self_attn for one in tower.vision_model.encoder.layers]


@pytest.mark.parametrize("name", NAMES)
def test_checkpointing_runs_every_block_again_for_the_same_gradient(name: str, keys):
    image, results = images(32, 32, count=2), {}
    for policy, times in (("none", 1), ("blocks", 2)):
        reward = build(name, keys(name) | {"checkpointing": policy})
        text = reward.encode(inputs.PROMPTS[:2])
        vision = blocks(name, reward)
        runs = count(vision)
        results[policy] = gradient(reward, image.to(reward.device), text)
        assert sum(runs) == times * len(vision)
    assert torch.equal(results["none"][0], results["blocks"][0])
    assert torch.equal(results["none"][1], results["blocks"][1])


@pytest.mark.parametrize("name", ["pickscore", "hpsv2", "clip"])
def test_what_reads_prompts_is_there_for_new_ones_alone(name: str, keys, monkeypatch: pytest.MonkeyPatch):
    """The halves have the file's weights between them, the picture's half comes with the first picture."""
    reward, halves = build(name, keys(name)), []
    owner = reward if name == "hpsv2" else reward.tower
    load = owner.text_half

    def noted() -> Any:
        half = load()
        halves.append((weakref.ref(half), {key: one.numel() for key, one in half.named_parameters()}))
        return half

    monkeypatch.setattr(owner, "text_half", noted)
    text = reward.encode(inputs.PROMPTS[:2])
    assert "network" not in {**vars(reward), **vars(owner)}
    for _ in range(3):
        gradient(reward, images(32, 32, count=2).to(reward.device), text)
        reward.score([Pillow.new("RGB", (40, 40))] * 2, inputs.PROMPTS[:2])
    ((alive, read),) = halves
    assert alive() is None
    seen = {key: one.numel() for key, one in reward.network.named_parameters()}
    assert read.keys() & seen.keys() == {"logit_scale"}
    files = reward.files if name == "hpsv2" else owner.files
    (path,) = (files.folder / file for file in files.large)
    whole = {key: one.numel() for key, one in weights_file.read(path).items() if not key.endswith("position_ids")}
    assert read | seen == whole
    reward.encode(inputs.PROMPTS[:3])
    assert len(halves) == 2, "a new prompt"


def test_the_same_tower_is_loaded_once_and_only_while_it_is_used(keys):
    first, second = build("clip", keys("clip")), build("clip", keys("clip"))
    assert first.network is second.network
    assert build("clip", keys("clip") | {"dtype": "float64"}).network is not first.network
    assert build("clip", keys("clip") | {"checkpointing": "blocks"}).network is not first.network
    other = build("pickscore", keys("clip") | {"tokenizer": keys("clip")["repo"]})  # PickScore's class, CLIP's weights
    assert other.network is first.network
    alive = weakref.ref(first.network)
    del first, second, other
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_float32_whatever_the_dtype_and_near(name: str, keys):
    exact, half = (build(name, keys(name) | {"dtype": dtype}) for dtype in ("float64", "bfloat16"))
    image = images(32, 32).to(exact.device)
    values, slope = gradient(half, image, half.encode(inputs.PROMPTS[:3]))
    expected, wanted = gradient(exact, image, exact.encode(inputs.PROMPTS[:3]))
    assert {values.dtype, slope.dtype, expected.dtype, wanted.dtype} == {torch.float32}
    assert half.score([Pillow.new("RGB", (40, 40))], ["a red ring"]).dtype == torch.float32
    assert float((values - expected).abs().max()) < 0.1 * max(1.0, float(expected.abs().max()))
    assert float(torch.cosine_similarity(slope.flatten(), wanted.flatten(), dim=0)) > 0.9
