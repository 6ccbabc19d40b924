"""The climb through an AutoencoderTiny: its picture, gradient and cost; what is scored is the full decoder's."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Compose, Gradproj
from diffusers import AutoencoderKL, AutoencoderTiny, DiffusionPipeline
from PIL import Image as Pillow
from test_full_size import SIZES
from test_models import DIFFERENCES, PROMPTS, image_and_gradient, reference, settings, weighting
from tiny import models as tiny
from tiny.shared import small_decoder
from torch.utils.flop_counter import FlopCounterMode

from gradproj.errors import UserError
from gradproj.execution.experiment import Experiment
from gradproj.execution.settings import keys
from gradproj.execution.settings.parts import make
from gradproj.execution.trajectory import to_pictures
from gradproj.execution.weights import needed
from gradproj.methods.none import method
from gradproj.optimize import Step
from gradproj.pretrained import tiny_decoder
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId, named_settings

LEVELS = {"sana_sprint": 3}  # of the tiny pipelines' VAEs; the others have two
CPU, META = torch.device("cpu"), torch.device("meta")


@cache
def decoder_folder(case: str) -> Path:
    return small_decoder(Path(tiny.home().name) / f"decoder-{case}", levels=LEVELS.get(tiny.CASES[case], 2))


def told(case: str, **more: Any) -> dict[str, Any]:
    return settings(case, decoder="tiny", tiny_repo=decoder_folder(case), **more)


@pytest.mark.parametrize("case", [*tiny.PLAIN, "sdxl_turbo-upcast"])
def test_the_climbs_picture_is_that_of_the_pipeline_with_this_vae_and_render_that_of_its_own(case: str) -> None:
    made, latent = tiny.build(case, **told(case)), tiny.random_latent(tiny.model(case, **settings(case)), 2)
    condition = made.encode(PROMPTS[:2])
    side = tiny.SIZES[tiny.CASES[case]][0]
    vae = AutoencoderTiny.from_pretrained(decoder_folder(case))
    pipeline = DiffusionPipeline.from_pretrained(tiny.folder(case), vae=vae)
    expected = reference(pipeline, PROMPTS[:2], latent, side, torch.float32)
    image = made.generate(latent, condition)
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-5)
    assert 0.01 < float(image.min()) < float(image.max()) < 0.99, "clamped: it would hide differences"
    full = tiny.model(case, **settings(case))
    assert torch.equal(made.render(latent, condition), full.generate(latent, condition))
    assert float((made.render(latent, condition) - image).abs().max()) > 0.05
    assert full.render is None


@pytest.mark.parametrize("case", tiny.PLAIN)
def test_the_gradient_is_that_of_central_differences(case: str) -> None:
    """As test_models.py has it, with a tolerance for the kinks of its ReLUs."""
    h = DIFFERENCES[tiny.CASES[case]][0]
    made = tiny.build(case, **told(case, dtype="float64"))
    latent, condition = tiny.random_latent(made, 2).double(), made.encode(PROMPTS[:2])
    _, gradient = image_and_gradient(made, latent)

    @torch.no_grad()
    def value(at: torch.Tensor) -> float:
        image = made.generate(at, condition)
        return float((image * weighting(image)).sum())

    directions = [tiny.random_latent(made, 2, seed=100 + seed).double() for seed in range(2)]
    for direction in (*directions, gradient / gradient.norm() * latent.norm()):
        difference = (value(latent + h * direction) - value(latent - h * direction)) / (2 * h)
        error = abs(float((gradient * direction).sum()) - difference)
        assert error < 1e-2 * float(gradient.norm() * direction.norm())


@pytest.mark.parametrize("policy", ["blocks", "full"])
def test_memory_policies_change_no_gradient_and_the_next_one_is_taken_on_the_small_decoder(policy: str) -> None:
    plain = tiny.build("sd_turbo-plain", **told("sd_turbo-plain"))
    other = tiny.build("sd_turbo-plain", **told("sd_turbo-plain", decoder_checkpointing=policy))
    latent = tiny.random_latent(plain, 2)
    gradients = [image_and_gradient(one, latent)[1] for one in (plain, other)]
    assert plain.save_memory() == "decoder_checkpointing=blocks"
    assert plain.tiny_vae.decoder.gradient_checkpointing and not plain.pipeline.vae.decoder.gradient_checkpointing
    for one in (gradients[1], image_and_gradient(plain, latent)[1]):
        torch.testing.assert_close(one, gradients[0], rtol=1e-5, atol=1e-7)


# What it costs, by torch's counter


def counted(decode: Callable[[torch.Tensor], torch.Tensor], latent: torch.Tensor) -> int:
    leaf = latent.clone().requires_grad_()
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(decode(1 * leaf).sum(), leaf)
    return counter.get_total_flops()


@pytest.mark.parametrize(("name", "channels"), [("sd_turbo", 4), ("sdxl_turbo", 4), ("flux", 16)])
def test_at_the_published_size_it_is_a_small_part_of_the_full_decoders_work(name: str, channels: int) -> None:
    with META:
        full: Any = AutoencoderKL.from_config(dict(SIZES[name].parts["vae"]))
        small: Any = AutoencoderTiny(latent_channels=channels)
        latent = torch.randn(1, channels, 64, 64)
    for vae in (full, small):
        vae.requires_grad_(False)
    flop, less = (counted(lambda at, vae=vae: vae.decode(at, return_dict=False)[0], latent) for vae in (full, small))
    assert flop == pytest.approx(5.06e12, rel=0.01)
    assert less == pytest.approx(0.28e12, rel=0.03)


@pytest.mark.parametrize("case", tiny.PLAIN)
def test_an_iteration_has_the_full_decoders_work_no_more(case: str) -> None:
    """Exactly: the generator's is the same, and the decoders' differ by what each is by itself."""
    full, made = tiny.model(case, **settings(case)), tiny.build(case, **told(case))
    latent, condition = tiny.random_latent(full, 1), full.encode(["a dog"])
    whole, less = (counted(lambda at, one=one: one.generate(at, condition), latent) for one in (full, made))
    clean = full.denoise(latent, condition).detach()
    apart = counted(lambda at: full.decode(at, full.decoder), clean) - counted(
        lambda at: made.decode(at, made.decoder), clean
    )
    assert whole - less == apart > 0


# What is scored, kept and recorded


class Brightness:
    weights: dict[str, str] = {}  # noqa: RUF012

    def encode(self, prompts: Any) -> None:
        return None

    def __call__(self, image: torch.Tensor, text: None) -> torch.Tensor:
        return image.mean(dim=(1, 2, 3))

    def score(self, pictures: Any, prompts: Any) -> torch.Tensor:
        return torch.tensor([sum(one.convert("RGB").tobytes()) for one in pictures]) / (255.0 * 3 * 16 * 16)


def experiment(model: Any, keep: str) -> Experiment:
    plain = method(optimizer=lambda samples: torch.optim.SGD(samples, lr=300.0), clip=float("inf"))
    parts = {"model": model, "method": plain, "rewards": {"brightness": Brightness()}, "target": {"brightness": 1.0}}
    return Experiment(**parts, prompts=["a dog", "a cat"], steps=5, keep=keep, score_every=2, max_skips=3)


@pytest.mark.parametrize("keep", ["last", "best"])
def test_scores_and_pictures_are_the_full_decoders_and_the_climbed_reward_the_small_ones(keep: str) -> None:
    case = "sd_turbo-plain"
    made, full = tiny.build(case, **told(case)), tiny.model(case)
    work, images = experiment(made, keep), [ImageId(0, 0), ImageId(1, 3)]
    condition, latents, shown = full.encode(["a dog", "a cat"]), [], []

    def see(step: Step, rows: Any) -> None:
        latents.append(step.latent.clone())
        shown.append(step.image)

    trajectory = work.follow(images, work.iterate(images, 5), see)
    fulls = [full.generate(latent, condition).detach() for latent in latents]
    for index, (drawn, latent) in enumerate(zip(fulls, latents, strict=True)):
        official = Brightness().score(to_pictures(drawn), [])
        climbed = made.generate(latent, condition).detach()
        for image, score, reward in zip(trajectory.images, official, climbed.mean(dim=(1, 2, 3)), strict=True):
            row = image.rows[index]
            assert row["reward"] == pytest.approx(float(reward), rel=1e-6)
            scored = index in (0, 2, 4, 5) or index == image.best_step
            assert ("brightness" in row) == scored
            assert not scored or row["brightness"] == pytest.approx(float(score), abs=1e-4)
            assert abs(float(reward - score)) > 1e-3, "else the two could not be told apart"
        torch.testing.assert_close(shown[index], drawn if index in (0, 2, 4, 5) else climbed, rtol=0, atol=1e-6)
    for place, image in enumerate(trajectory.images):
        picture, latent = image.kept(keep)
        step = image.best_step if keep == "best" else 5
        torch.testing.assert_close(picture, fulls[step][place], rtol=0, atol=1e-6)
        assert torch.equal(latent, latents[step][place])
        torch.testing.assert_close(image.start, fulls[0][place], rtol=0, atol=1e-6)


def test_a_best_step_between_the_scored_ones_has_the_full_decoders_picture_too() -> None:
    made = tiny.build("sd_turbo-plain", **told("sd_turbo-plain"))
    work, images = experiment(made, "best"), [ImageId(0, 0), ImageId(1, 3)]
    steps = list(work.iterate(images, 5))
    steps[3].reward[1] += 1  # as if the climb had been highest there
    trajectory = work.follow(images, steps)
    image = trajectory.images[1]
    expected = made.render(steps[3].latent, made.encode(["a dog", "a cat"]))[1]
    assert image.best_step == 3 and "brightness" in image.rows[3]
    torch.testing.assert_close(image.best, expected, rtol=0, atol=1e-6)


def test_a_run_has_a_name_of_its_own_and_is_replayed_to_the_same_pictures(tmp_path: Path, gradproj: Gradproj) -> None:
    case = "sd_turbo-plain"
    weights = [f"++model.source.repo={tiny.folder(case)}", f"++model.source.tiny_repo={decoder_folder(case)}"]
    typed = ["model=sd_turbo", *weights, "model.dtype=float32", "model.resolution=32", "reward=shapes_aesthetic"]
    typed += [f"model.source.cache={tmp_path}/prompts", 'prompts=["a red ring"]', "steps=3", "device=cpu"]
    typed += [f"results={tmp_path}/results", "score_every=2"]
    for more in ([], ["model.decoder=tiny"], ["model.decoder=full"]):
        said = gradproj("run", *typed, *more)
        assert said.code == 0, said.err
    runs = [Run.open(folder) for folder in sorted((tmp_path / "results" / "runs").iterdir())]
    assert len(runs) == 2, "decoder=full is the run without"
    small, full = sorted(runs, key=lambda run: run.config["model"].get("decoder", "full"), reverse=True)
    assert "decoder" not in full.config["model"] and small.config["model"]["decoder"] == "tiny"
    extra = small.config["weights"]["model"].keys() - full.config["weights"]["model"].keys()
    assert extra == {"AutoencoderTiny/config.json", "AutoencoderTiny/diffusion_pytorch_model.safetensors"}
    image = ImageId(0, 0)
    starts = [Pillow.open(run.pictures(image)["start"]) for run in (small, full)]
    assert starts[0].tobytes() == starts[1].tobytes(), "the same latent, by the same decoder"
    tables = [run.table(image) for run in (small, full)]
    official, climbed = ([float(one[name].iloc[0]) for one in tables] for name in ("shapes_aesthetic", "reward"))
    assert official[0] == official[1] and climbed[0] != climbed[1]
    before = {kind: path.read_bytes() for kind, path in small.pictures(image).items()}
    for path in small.pictures(image).values():
        path.unlink()
    said = gradproj("replay", small.folder, image, *weights, f"model.source.cache={tmp_path}/prompts", "device=cpu")
    assert said.code == 0 and "the same numbers" in said.out, said.err + said.out
    for kind, path in small.pictures(image).items():
        assert Pillow.open(path).tobytes() == Pillow.open(_written(tmp_path, before[kind])).tobytes()


def _written(folder: Path, content: bytes) -> Path:
    (folder / "before.png").write_bytes(content)
    return folder / "before.png"


# Its name, its files, and what is refused


def test_a_run_without_it_is_called_as_before(compose: Compose) -> None:
    for name in tiny.BUILDERS:
        plain, small = (keys.check(compose(f"model={name}", *typed))["model"] for typed in ([], ["model.decoder=tiny"]))
        assert "decoder" not in named_settings(plain) and named_settings(small)["decoder"] == "tiny"
        assert named_settings(plain) == {k: v for k, v in named_settings(small).items() if k != "decoder"}
        older = {key: value for key, value in plain.items() if key != "decoder"}
        older["source"] = {key: value for key, value in older["source"].items() if not key.startswith("tiny")}
        older["source"] |= {"repo": str(tiny.folder(f"{name}-plain"))}
        older["resolution"] = 32
        assert make(older, "model").tiny is None


@pytest.mark.parametrize("name", ["flux", "sdxl_turbo", "sd_turbo"])
def test_its_files_are_asked_for_with_all_the_others_at_a_full_commit_and_only_when_it_is_chosen(
    name: str, compose: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for typed, expected in ([], 0), (["model.decoder=tiny"], 1):
        run = keys.check(compose(f"model={name}", "reward=shapes_aesthetic", "rewards=shapes", *typed))
        asked, _ = needed([run])
        small = [request for request in asked.requests.values() if request.repo.startswith("madebyollin/tae")]
        assert len(small) == expected
        for request in small:
            assert len(request.revision) == 40
            assert request.patterns == ["config.json", "diffusion_pytorch_model.safetensors"]


def wrong(to: Path, spoil: Callable[[Path], Any]) -> Path:
    shutil.copytree(decoder_folder("sd_turbo-plain"), to / "copy")
    spoil(to / "copy")
    return to / "copy"


REFUSED: list[tuple[str, Callable[[Path], Any], str]] = [
    ("sana_sprint", lambda to: None, "there is no published AutoencoderTiny for this model: type model.decoder=full"),
    ("sd_turbo", lambda to: "/no/such", "model.source.tiny_repo=/no/such|/no/such: no such folder"),
    ("sd_turbo", lambda to: small_decoder(to, latent_channels=5), "latents of 5 channels to 2 pixels.* have 4"),
    ("flux", lambda to: small_decoder(to, levels=4), "to 8 pixels a side.* want 2"),
    ("sd_turbo", lambda to: tiny.folder("sd_turbo-plain") / "vae", "is a AutoencoderKL, not an AutoencoderTiny"),
    ("sd_turbo", lambda to: tiny.folder("sd_turbo-plain"), "has no config.json"),
    ("sd_turbo", lambda to: wrong(to, lambda at: (at / "config.json").write_text("{")), "config.json cannot be read"),
    ("sd_turbo", lambda to: wrong(to, lambda at: (at / "config.json").write_text("{}")), "is a None"),
    (
        "sd_turbo",
        lambda to: wrong(to, lambda at: (at / "config.json").write_text('{"_class_name": "AutoencoderTiny"}')),
        "is not an AutoencoderTiny's .*latent_channels",
    ),
]


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row[2])
def test_what_does_not_fit_is_refused_in_a_line_before_anything_is_loaded(row: Any, tmp_path: Path) -> None:
    name, repo, expected = row
    with pytest.raises(UserError, match=expected):
        tiny.build(f"{name}-plain", **settings(f"{name}-plain", decoder="tiny", tiny_repo=repo(tmp_path)))


def test_a_cut_weight_file_is_told_with_the_setting_that_names_it(tmp_path: Path) -> None:
    file = "diffusion_pytorch_model.safetensors"
    repo = wrong(tmp_path, lambda at: (at / file).write_bytes((at / file).read_bytes()[:-100]))
    made = tiny.build("sd_turbo-plain", decoder="tiny", tiny_repo=repo)
    with pytest.raises(UserError, match=f"{repo} cannot be loaded as AutoencoderTiny"):
        made.generate(tiny.random_latent(made, 1), made.encode(["a dog"]))


def test_the_choices_are_the_two_of_the_settings() -> None:
    assert tiny_decoder.Decoder.__args__ == ("full", "tiny")
    with pytest.raises(UserError, match=r"model\.decoder must be"):
        tiny.build("sd_turbo-plain", decoder="small")
