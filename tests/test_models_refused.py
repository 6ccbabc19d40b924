"""The published models on fine-tunes, folders and a hub: what is another step or not whole is refused, and early."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Compose, names_of
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from fake_hub import REPOSITORY, FakeHub
from hub_client import point
from test_models import broken, no_vae, reference
from tiny import models as tiny

from gradproj.cli import run
from gradproj.errors import UserError
from gradproj.models.sdxl_turbo import FIXED_VAE, PUBLISHED
from gradproj.pretrained import hub, source
from gradproj.pretrained.layout import count_parameters
from gradproj.runs import environment
from gradproj.runs.folder import Run

RING, GPU, CUT, REMOVED = ["a red ring"], torch.device("cuda"), "cut", "removed"
Values = dict[str, Any]
INDEX, SCHEDULER, DENOISER = "model_index.json", "scheduler/scheduler_config.json", "transformer/config.json"


def edited(case: str, to: Path, changes: Values) -> Path:
    """A copy of the pipeline; ``changes``: file -> values in its JSON, or CUT, or REMOVED."""
    repo = broken(case, to, lambda folder: None)
    for path, change in ((repo / name, change) for name, change in changes.items()):
        content = path.read_text()
        path.unlink()
        if change != REMOVED:
            path.write_text(content[:-5] if change == CUT else json.dumps(json.loads(content) | change))
    return repo


def scheduler(kind: str, **settings: Any) -> Values:
    return {INDEX: {"scheduler": ["diffusers", kind]}, SCHEDULER: {"_class_name": kind} | settings}


def equals_the_pipeline(repo: Path, model: Any) -> None:
    pipeline = DiffusionPipeline.from_pretrained(repo)
    for prompts in (RING, [*RING, "a blue square"]):
        latent = tiny.random_latent(model, len(prompts))
        image = model.generate(latent, model.encode(prompts))
        expected = reference(pipeline, prompts, latent, model.resolution, torch.float32)
        torch.testing.assert_close(image, expected, rtol=0, atol=1e-5)


STEP, EULER, HEUN = "step goes from 1 to 0, got ", "EulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"
EARLY: list[tuple[str, Values, Values, str]] = [  # model, changes of its files, settings, what is said
    ("sd_turbo", {INDEX: {"_class_name": "FluxPipeline"}}, {}, "is a FluxPipeline, not the StableDiffusionPipeline"),
    ("flux", {DENOISER: {"guidance_embeds": True}}, {}, "guidance scale.*FLUX.1-schnell"),
    ("sdxl_turbo", {}, {"resolution": 35}, "model.resolution must be .*, got 35: type model.resolution=34$"),
]
REFUSED = [
    *EARLY,
    ("flux", {SCHEDULER: {"num_train_timesteps": 500}}, {}, STEP + ".*500"),
    ("flux", {SCHEDULER: {"invert_sigmas": True}}, {}, STEP + ".*'invert_sigmas': True"),
    ("flux", {SCHEDULER: {"shift_terminal": 0.1}}, {}, STEP + ".*'shift_terminal': 0.1"),
    *(("flux", scheduler(kind), {}, STEP + kind) for kind in (EULER, "UniPCMultistepScheduler", HEUN)),
    ("flux", {DENOISER: REMOVED}, {}, "copy/transformer/config.json cannot be read"),
    *(("flux", {SCHEDULER: how}, {}, "copy.*scheduler.*scheduler_config.json") for how in (CUT, REMOVED)),
    ("flux", {INDEX: CUT}, {}, "copy/model_index.json cannot be read"),
    ("sana_sprint", {SCHEDULER: {"prediction_type": "epsilon"}}, {}, "trigflow, got SCMScheduler.*epsilon"),
    ("sana_sprint", scheduler("DPMSolverMultistepScheduler"), {}, "trigflow, got DPMSolver"),
    ("sana_sprint", {}, {"resolution": 513}, "model.resolution must be a multiple of 4, got 513: type .*=512$"),
    ("flux", {}, {"text_encoder_device": "nowhere"}, "model.memory.text_encoder_device must be null .*'nowhere': type"),
    ("sdxl_turbo", {}, {"vae_repo": "/no/such/vae"}, "/no/such/vae: no such folder"),
    ("sdxl_turbo", {}, {"vae_repo": str(Path(__file__).parent)}, "has no config.json and no diffusion_pytorch_model"),
]
for turbo in ("sd_turbo", "sdxl_turbo"):
    REFUSED += [
        (turbo, {SCHEDULER: {"prediction_type": "v_prediction"}}, {}, "predicts the noise.*v_prediction"),
        (turbo, scheduler(EULER, final_sigmas_type="sigma_min"), {}, "ends without any.*sigma_min"),
        (turbo, scheduler(EULER, interpolation_type="log_linear"), {}, "expected an Euler.*log_linear"),
        *((turbo, scheduler(f"{kind}Scheduler"), {}, f"an Euler.*got {kind}") for kind in ("LCM", "DDIM")),
        (turbo, {"unet/config.json": {"time_cond_proj_dim": 8}}, {}, "guidance scale.*time_cond_proj_dim"),
    ]
for model in tiny.BUILDERS:
    REFUSED += [(model, {"vae/config.json": how}, {}, "copy/vae/config.json cannot be read") for how in (CUT, REMOVED)]
    for part in ("tokenizer", "tokenizer_2")[: 2 if model in ("flux", "sdxl_turbo") else 1]:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            REFUSED += [(model, {f"{part}/{name}": REMOVED}, {}, f"copy/{part} is not whole")]

SAME_STEP = [("flux", {"use_dynamic_shifting": True, "shift": 3}), ("flux", {"shift": 3})]
SAME_STEP += [("sd_turbo", {"timestep_spacing": spacing}) for spacing in ("leading", "linspace")]
FIRST = [(PUBLISHED, "auto", FIXED_VAE), (PUBLISHED, None, PUBLISHED)]  # repo, vae_repo, what is looked for first
FIRST += [("a/b", "auto", "a/b"), ("a/b", None, "a/b"), ("a/b", "a/vae", "a/vae")]


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: f"{row[0]} {row[3]}")
def test_refused_before_weights_are_asked_for(row: tuple[str, Values, Values, str], tmp_path: Path, monkeypatch):
    name, changes, settings, expected = row
    monkeypatch.setattr(source.Source, "with_weights", lambda self: pytest.fail("weights were asked for"))
    with pytest.raises(UserError, match=expected):
        tiny.build(f"{name}-plain", **{"repo": edited(f"{name}-plain", tmp_path, changes)} | settings)


@pytest.mark.parametrize(("name", "settings"), SAME_STEP, ids=str)
def test_another_schedule_with_the_pipelines_one_step_gives_its_picture(name: str, settings: Values, tmp_path: Path):
    repo = edited(f"{name}-plain", tmp_path, {SCHEDULER: settings})
    equals_the_pipeline(repo, tiny.build(f"{name}-plain", repo=repo, **({"text_length": 64} if name == "flux" else {})))


def test_the_cache_moves_with_xdg_cache_home(compose: Compose, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for expected in ("~/.cache", "/some where/else=1"):
        assert {compose(f"model={one}").model.source.cache for one in tiny.BUILDERS} == {f"{expected}/gradproj/prompts"}
        monkeypatch.setenv("XDG_CACHE_HOME", "/some where/else=1")


def test_the_driver_is_what_nvidia_smi_says(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment._driver() is None
    for script, expected in (("echo ' 999.1 '; echo 999.2", "999.1"), ("exit 9", None), ("", None)):
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        assert environment._driver() == expected


@pytest.mark.parametrize("vae_repo", ["auto", None, "a folder"])
def test_sdxl_decodes_as_its_vae_says_whose_latents_have_a_mean_and_a_deviation(vae_repo: str | None, tmp_path: Path):
    values = {"latents_mean": [0.1, -0.2, 0.3, -0.4], "latents_std": [0.5, 1.5, 0.8, 1.2]}
    repo = edited("sdxl_turbo-plain", tmp_path, {"vae/config.json": values})
    told = {"vae_repo": repo / "vae"} if vae_repo == "a folder" else {"vae_repo": vae_repo, "repo": repo}
    equals_the_pipeline(repo, tiny.build("sdxl_turbo-plain", **told))


@pytest.mark.parametrize(("repo", "vae_repo", "expected"), FIRST)
def test_the_fixed_vae_is_for_the_published_repository_alone(repo: str, vae_repo: Any, expected: str, monkeypatch):
    monkeypatch.setattr(
        hub, "snapshot", lambda repo, revision, patterns, later=(): pytest.fail(f"{repo} at {revision} first")
    )
    revision = tiny.composed("sdxl_turbo").source["revision" if expected == repo else "vae_revision"]
    with pytest.raises(pytest.fail.Exception, match=f"^{expected} at {revision} first"):
        tiny.build("sdxl_turbo-plain", repo=repo, vae_repo=vae_repo)


def test_with_a_vae_of_another_depth_the_resolution_holds_and_the_own_one_is_not_needed(tmp_path: Path):
    vae, without = tiny.folder("sdxl_turbo-deep") / "vae", broken("sdxl_turbo-plain", tmp_path, no_vae)
    for repo in (tiny.folder("sdxl_turbo-plain"), without):
        model = tiny.build("sdxl_turbo-plain", repo=repo, vae_repo=vae, resolution=36)
        assert model.generate(tiny.random_latent(model, 1), model.encode(RING)).shape == (1, 3, 36, 36)
        assert {name.split("/")[0] for name in model.weights} & {"vae", "AutoencoderKL"} == {"AutoencoderKL"}


@pytest.mark.parametrize("case", tiny.PLAIN)
def test_of_a_vae_only_what_decodes_stays(case: str):
    kept = {name.split(".")[0] for name, _ in tiny.build(case).decoder.named_parameters()}
    assert {"decoder"} <= kept <= {"decoder", "post_quant_conv"}


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """Files without a variant and, with other weights, as fp16."""
    for variant, seed in ((None, 5), ("fp16", 6)):
        pipeline: Any = StableDiffusionPipeline.from_pretrained(tiny.BUILDERS["sd_turbo"](tmp_path / f"{seed}", seed))
        pipeline.save_pretrained(tmp_path / "both", variant=variant)
    return tmp_path / "both"


def test_two_precisions_and_two_versions_share_no_embedding(both: Path, tmp_path: Path, monkeypatch):
    def encoded(variant: str | None) -> torch.Tensor:
        model = tiny.build("sd_turbo-plain", repo=both, variant=variant, cache=tmp_path / "prompts")
        return model.encode(RING)["encoder_hidden_states"]

    plain = encoded(None)
    assert float((plain - encoded("fp16")).abs().max()) > 0.1
    for library in ("diffusers", "transformers"):
        assert torch.equal(encoded(None), plain)
        monkeypatch.setattr(f"{library}.__version__", "99.0")
    assert torch.equal(encoded(None), plain)
    assert len(list((tmp_path / "prompts").iterdir())) == 4


def test_a_folder_in_the_place_of_an_embedding_is_told(tmp_path: Path):
    model = tiny.build("sd_turbo-plain", cache=tmp_path)
    model.embeddings._path(RING[0]).mkdir()
    with pytest.raises(UserError, match=rf"written to {tmp_path}: .*model\.source\.cache=PATH"):
        model.encode(RING)


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_room_is_asked_for_one_precision_alone(variant: str | None, both: Path, monkeypatch):
    files = [both / f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae")]
    needed = free = 4 * count_parameters(files)
    monkeypatch.setattr(StableDiffusionPipeline, "from_pretrained", lambda *_, **__: SimpleNamespace(components={}))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, needed))
    monkeypatch.setattr(source.Source, "_network", lambda *_: torch.nn.Linear(1, 1))  # no GPU to read it to
    found = source.fetch(str(both), "main", variant, StableDiffusionPipeline, ["unet", "vae"]).with_weights()
    found.load(found.parts, torch.float32, GPU)
    free -= 1
    with pytest.raises(UserError, match="unet and vae need"):
        found.load(found.parts, torch.float32, GPU)


def recorded(compose: Compose, to: Path, repo: object, variant: str) -> Run:
    told = {"repo": repo, "variant": variant, "revision": "main", "cache": to / "prompts"}
    settings = ["model.resolution=32", "model.dtype=float32"]
    settings += [f"model.source.{key}={value}" for key, value in told.items()]
    more = ["model=sd_turbo", "reward=shapes_aesthetic", "rewards=shapes", "prompts=[a red ring]", "steps=1"]
    more += ["device=cpu"]
    run.run_once(compose(*more, f"results={to / variant}", *settings), "sd_turbo", "ours")
    return Run.open(next((to / variant / "runs").iterdir()))


def test_the_variant_names_no_run_of_a_folder_without_one(compose: Compose, tmp_path: Path):
    first, second = (recorded(compose, tmp_path, tiny.folder("sd_turbo-plain"), one) for one in ("null", "fp16"))
    assert first.folder.name == second.folder.name


def serve(folder: Path, to: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """A hub with the folder's files, and an empty cache for it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    server = FakeHub({path.relative_to(folder).as_posix(): path.read_bytes() for path in files})
    point(server, to, monkeypatch)
    return server


@pytest.mark.parametrize("row", EARLY, ids=lambda row: f"{row[0]} {row[3]}")
def test_a_hub_sends_no_weights_of_what_is_refused(row: tuple[str, Values, Values, str], tmp_path: Path, monkeypatch):
    name, changes, settings, expected = row
    with serve(edited(f"{name}-plain", tmp_path, changes), tmp_path, monkeypatch) as server:
        with pytest.raises(UserError, match=expected):
            tiny.build(f"{name}-plain", repo=REPOSITORY, revision="main", **settings)
        assert server.sent[INDEX] > 0
        assert not [name for name in server.sent if name.endswith(".safetensors")]


def test_a_run_from_a_hub_carries_commit_and_variant(compose: Compose, both: Path, tmp_path: Path, monkeypatch):
    with serve(both, tmp_path, monkeypatch) as server:
        half = recorded(compose, tmp_path, REPOSITORY, "fp16")
        assert not [name for name in server.sent if name.endswith(".safetensors") and ".fp16." not in name]
        plain = recorded(compose, tmp_path, REPOSITORY, "null")
    assert names_of(half) == names_of(plain) == {"0000-0"}
    assert half.config["weights"]["model"] == {f"{REPOSITORY} (fp16)": server.main}
    assert plain.config["weights"]["model"] == {REPOSITORY: server.main}
    assert plain.folder.name != half.folder.name
