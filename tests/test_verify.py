"""``gradproj verify`` on tiny weights in the published layout: all holds, and what is broken has its line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import published_hub
import pytest
import torch
from conftest import Gradproj
from fake_hub import FakeHub
from huggingface_hub import constants
from official import REFERENCE
from published_hub import FLUX, SHORT
from tiny import inputs, layouts
from tiny import models as tiny_models
from tiny import rewards as tiny

from gradproj.execution.verify import GRADIENT, PICTURE, image, page, shipped
from gradproj.execution.verify import reward as verified
from gradproj.pretrained import published_pipeline

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))  # scripts/ is no part of the package
import published_scores

made, hub = published_hub.made, published_hub.hub
Verify = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def verify(gradproj: Gradproj, tmp_path: Path) -> Verify:
    """``verify("flux", "model.dtype=bfloat16")``: the exit code, and the page; its lines by their names."""

    def one(model: str, *typed: str, rewards: str = "pickscore") -> tuple[int, dict[str, Any]]:
        words = [f"model={model}", f"rewards=[{rewards}]", f"reward={rewards.split(',')[0]}", "prompts=[a red ring]"]
        if model != "shapes":
            words += [f"model.source.repo={tiny_models.folder(f'{model}-plain')}", "model.dtype=float32"]
            words += [f"model.resolution={tiny_models.SIZES[model][0]}", f"model.source.cache={tmp_path}/prompts"]
        for name in rewards.split(","):
            words += tiny.stand_in(name) if name in tiny.BUILDERS else ()
        said = gradproj("verify", "--json", *words, "device=cpu", *typed, folder=tmp_path)
        assert said.code in (0, 1), said.err
        page = json.loads(said.out, parse_constant=pytest.fail)  # NaN is no JSON
        (path,) = (tmp_path / "results" / "verified").iterdir()
        assert json.loads(path.read_text(encoding="utf-8")) == page
        return said.code, page | {"lines": {check["name"]: check for check in page["checks"]}}

    return one


def states(page: dict[str, Any]) -> dict[str, str]:
    return {name: check["state"] for name, check in page["lines"].items()}


@pytest.mark.parametrize("typed", [*tiny_models.BUILDERS, "flux model.flattening=unpacked"])
def test_all_holds_on_each_model(typed: str, verify: Verify) -> None:
    code, page = verify(*typed.split(), rewards="clip")
    assert states(page) == dict.fromkeys(("gradient", "picture", "clip", "weights"), "OK"), page["checks"]
    assert code == 0 and page["well"]
    picture = page["lines"]["picture"]
    assert picture["difference"] < 1e-5 < PICTURE["float32"] == picture["tolerance"] < picture["control"]


def test_the_page_says_what_it_was_made_of(verify: Verify) -> None:
    _, page = verify("flux", rewards="pickscore,clip")
    assert page["packages"]["torch"] == torch.__version__.split("+")[0] and page["git"].keys() == {"commit", "dirty"}
    assert page["torch_device"] == "cpu" and page["settings"]["model"]["dtype"] == "float32"
    assert page["weights"].keys() == {"model", "pickscore", "clip"}
    assert len(page["weights"]["model"]["transformer/diffusion_pytorch_model.safetensors"]) == 64
    assert (page["image"], page["prompt"]) == ("0000-0", "a red ring")
    assert np.shape(page["lines"]["clip"]["scores"]) == (len(inputs.SIZES), len(inputs.PROMPTS))


@pytest.mark.parametrize(
    ("model", "typed", "line"),
    [
        ("flux", "model._target_=broken.OneWeight", "picture"),
        ("sd_turbo", "model._target_=broken.ShiftedStep", "picture"),
        ("flux", "model._target_=broken.HalfGradient", "gradient"),
        ("flux", "rewards.pickscore._target_=broken.OffByTwoPercent", "pickscore"),
        ("flux", "rewards.pickscore._target_=broken.ClimbsAnother", "pickscore"),
    ],
)
def test_what_is_broken_has_its_line_and_no_other(model: str, typed: str, line: str, verify: Verify) -> None:
    code, page = verify(model, typed)
    wrong = {name for name, state in states(page).items() if state != "OK"}
    assert wrong == {line} and code == 1 and not page["well"]
    assert not page["lines"][line]["difference"] <= page["lines"][line]["tolerance"] or "climbed" in page["lines"][line]
    assert "please report it" in page["lines"][line]["advice"]


def test_what_is_no_number_is_wrong_with_fewer_bits_too(verify: Verify, tmp_path: Path) -> None:
    broken = ["model._target_=broken.NotANumber", "rewards.pickscore._target_=broken.ScoresNotANumber"]
    code, page = verify("flux", *broken, "model.quantization=nf4")
    assert code == 1 and states(page) == dict.fromkeys(("gradient", "picture", "pickscore"), "wrong") | {
        "weights": "OK"
    }
    (path,) = (tmp_path / "results" / "verified").iterdir()
    assert path.name.startswith("flux-float32-nf4-"), "a page of its own"


def test_a_machine_too_small_for_the_whole_pipeline_is_told_and_the_other_lines_come(
    verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published_pipeline.os, "sysconf", lambda _: 100)  # pages of as many bytes
    code, page = verify("sd_turbo")
    assert code == 1 and states(page) == {"gradient": "OK", "picture": "wrong", "pickscore": "OK", "weights": "OK"}
    assert "the whole StableDiffusionPipeline takes 0.0 GiB of the machine's memory" in page["lines"]["picture"]["said"]


def test_a_place_for_pages_that_cannot_be_written_to_is_told_before_the_work(
    gradproj: Gradproj, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page.os, "access", lambda *_: False)  # by a double: whoever is root may write everywhere
    said = gradproj("verify", "device=cpu", folder=tmp_path)
    assert (said.code, said.out) == (2, "") and "cannot write results/verified: Permission denied" in said.err


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_holds_by_its_own_tolerances(dtype: str, verify: Verify) -> None:
    model = "flux" if dtype == "bfloat16" else "sd_turbo"
    code, page = verify(model, f"model.dtype={dtype}")
    assert code == 0, page["checks"]
    assert page["lines"]["picture"]["tolerance"] == PICTURE[dtype] > PICTURE["float32"]
    assert page["lines"]["gradient"]["tolerance"] == GRADIENT[dtype]


def test_the_miniature_has_nothing_published_to_compare_with_and_says_so(verify: Verify) -> None:
    code, page = verify("shapes", rewards="shapes_aesthetic,shapes_rendering")
    assert code == 0
    assert states(page) == {
        "gradient": "OK",
        "picture": "note",
        "shapes_aesthetic": "note",
        "shapes_rendering": "note",
        "weights": "OK",
    }
    assert "Shapes has no published pipeline" in page["lines"]["picture"]["said"]


def test_recorded_scores_are_found_by_the_weights_and_can_fail(
    verify: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scores of the published code that tests/data has, recorded as a person records them for real weights."""
    names = ["aesthetic", "hpsv2", "imagereward"]
    typed = []

    def published(name: str, folder: Path, pictures: Path, out: Path) -> dict[str, Any]:
        for path in (tmp_path / "files" / name).iterdir():
            if (folder / path.name).exists() and path.suffix != ".json":
                assert (folder / path.name).read_bytes() == path.read_bytes(), path
        assert json.loads((pictures / "prompts.json").read_text()) == inputs.PROMPTS
        return {"scores": REFERENCE["tiny"][name]["scores"], "versions": {}}

    monkeypatch.setattr(published_scores.parity, "official", published)
    monkeypatch.setattr(verified, "data_folder", lambda _: tmp_path)
    file = tmp_path / verified.RECORDED
    file.parent.mkdir()
    for name in names:
        keys = tiny.BUILDERS[name](tmp_path / "files" / name, layouts.TINY[name])
        typed += tiny.as_overrides(name, keys)
        published_scores.add(name, published_scores.record(name, tiny.as_overrides(name, keys)), file)
    told = ["rewards=[aesthetic,hpsv2,imagereward]", "reward=aesthetic", *typed]
    code, page = verify("shapes", *told, rewards="aesthetic")
    assert code == 0 and {page["lines"][name]["state"] for name in names} == {"OK"}, page["checks"]
    entries = json.loads(file.read_text())
    entries["hpsv2"][0]["scores"] = [[1.02 * score for score in row] for row in entries["hpsv2"][0]["scores"]]
    entries["aesthetic"][0]["weights"] = {"another": "file"}
    file.write_text(json.dumps(entries))
    code, page = verify("shapes", *told, rewards="aesthetic")
    assert code == 1
    assert [page["lines"][name]["state"] for name in names] == ["note", "wrong", "OK"]


def test_a_file_that_changed_on_the_disk_has_its_line(
    hub: FakeHub, made: Any, gradproj: Gradproj, tmp_path: Path
) -> None:
    typed = [*made[1], "rewards=[pickscore]", *SHORT[:1], "reward=pickscore", "device=cpu"]
    typed = [word for word in typed if not word.startswith("rewards.") or word.startswith("rewards.pickscore.")]
    first = gradproj("verify", *typed, folder=tmp_path)
    assert first.code == 0, (first.out, first.err)
    assert "sizes and hashes are right" in first.out and "the page: results/verified/flux-float32-" in first.out
    folder = Path(constants.HF_HUB_CACHE) / f"models--{FLUX.replace('/', '--')}" / "snapshots"
    (weights,) = folder.glob("*/transformer/*.safetensors")
    path = weights.resolve()
    content = path.read_bytes()
    path.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    again = gradproj("verify", *typed, folder=tmp_path)
    assert again.code == 1
    (wrong,) = [one for one in again.out.splitlines() if one.startswith("wrong")]
    assert wrong.split()[1] == "weights" and f"{weights.name} of {FLUX} should have the hash" in wrong


def test_the_differences_find_a_known_slope_and_tell_their_doubt() -> None:
    latent = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(0))
    direction = torch.zeros_like(latent)
    direction[0, 1, 2] = 1
    slope, doubt, _ = image.differences(lambda at: float(at[0, 1, 2].double() ** 3), latent, direction, 1e-2)
    assert slope == pytest.approx(3 * float(latent[0, 1, 2]) ** 2, rel=1e-2) and doubt < 1e-2
    start = float(latent[0, 1, 2])  # a slope of 3 that is 2 from a thousandth on, where longer differences agree best
    short = image.differences(
        lambda at: 2 * (x := float(at[0, 1, 2]) - start) + 1e-3 * np.tanh(x / 1e-3), latent, direction, 1e-2
    )
    assert short[0] == pytest.approx(3, rel=2e-2) and short[1] < 1e-2
    rough = image.differences(lambda at: float((at[0, 1, 2] * 4).round() / 4), latent, direction, 1e-2)
    assert rough[1] > 0.05
    for value in (float("nan"), 1.0):
        assert image.differences(lambda _, value=value: value, latent, direction, 1e-2)[1] == float("inf")


def test_the_pictures_that_ship_are_those_of_the_published_scores() -> None:
    assert shipped.digest() == REFERENCE["pictures"]
