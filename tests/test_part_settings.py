"""Every setting of every YAML part, with wrong values: a line with its key, before a file is looked for."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from typing import Any

import open_clip
import pytest
from conftest import CONFIGS, Gradproj
from hydra import compose, initialize_config_dir

from gradproj.errors import UserError
from gradproj.execution.settings import keys
from gradproj.execution.settings.parts import make
from gradproj.pretrained import hub, source, weights_file

GROUP, TEXT, SWITCH = (None, "text", 3), ("", 3, None, True), ("yes", 1, None)
WRONG: dict[str, tuple[Any, ...]] = {  # a setting's name -> what it cannot be
    "resolution": ("abc", 0, -8, 512.5, True, None),
    "dtype": ("float8", "", 16, None),
    "text_length": (0, 513, 1.5, "long", None),
    "flattening": ("flat", 1, None),
    "quantization": ("int4", 8, True, None),
    "decoder": ("small", 1, True, None),
    "guidance_scale": ("strong", True, None, float("nan")),
    "source": GROUP,
    "memory": GROUP,
    "checkpointing": ("maybe", True, None),
    "decoder_checkpointing": ("no", 1, None),
    "text_encoder_device": ("", 3, False),
    **dict.fromkeys(("repo", "revision", "cache", "vae_revision", "tiny_revision", "file", "architecture"), TEXT),
    **dict.fromkeys(("predictor", "tokenizer", "tokenizer_revision"), TEXT),
    **dict.fromkeys(("variant", "vae_repo", "tiny_repo"), ("", 16, False)),
    **dict.fromkeys(("sha256", "predictor_sha256", "tokenizer_sha256"), ("abc", "g" * 64, 12)),
    "block": (0, 1.5, "many", None),
    "tile": (1, 1.5, "many", None),
    "guard": ("none", -1, True, None, float("inf")),
    "clamp": ("tight", 0, True, float("inf")),
    "low_pass": ("soft", 0, True, float("inf")),
    "significance": ("high", 0, 1, None),
    **dict.fromkeys(("project_gradient", "project_latent"), SWITCH),
    **dict.fromkeys(("weight", "power_weight", "power_mean", "clip"), ("heavy", True, None, float("inf"))),
    **dict.fromkeys(("dimension", "permutations"), (0, 1.5, "many", True)),
    "optimizer": (None, "Adam", 3),
    "lr": ("fast", None, [1]),
}


@cache
def nodes() -> dict[str, dict[str, Any]]:
    """Key -> settings of every part that a YAML file describes."""
    found: dict[str, dict[str, Any]] = {}
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for path in sorted((CONFIGS / "model").glob("*.yaml")):
            found[f"model: {path.stem}"] = keys.check(compose("config", [f"model={path.stem}"]))["model"]
        for path in sorted((CONFIGS / "method").glob("*.yaml")):
            found[f"method: {path.stem}"] = keys.check(compose("config", [f"method={path.stem}"]))["method"]
        every = keys.check(compose("config", ["rewards=[shapes,paper,reno]", "reward=clip"]))["rewards"]
    return found | {f"rewards.{name}: {name}": node for name, node in every.items()}


def settings(node: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in node.items():
        if key not in ("_target_", "_partial_"):
            yield (*path, key)
            if isinstance(value, dict):
                yield from settings(value, (*path, key))


WITH_SETTINGS = [name for name, node in nodes().items() if list(settings(node))]


def inside(node: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """The group of ``node`` that has the setting ``path``."""
    for key in path[:-1]:
        node = node[key]
    return node


def refusal(name: str, node: dict[str, Any]) -> str:
    with pytest.raises(UserError) as told:
        make(node, name.split(":")[0])
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever looks for a file of a part fails the test."""
    for module in (source.layout, weights_file):
        monkeypatch.setattr(module, "local_folder", lambda *_: pytest.fail("a folder was looked for"))
    monkeypatch.setattr(open_clip, "get_model_config", lambda *_: pytest.fail("an architecture was looked for"))


@pytest.mark.usefixtures("no_files")
@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_a_wrong_value_is_refused_with_its_key_and_what_is_accepted(name: str) -> None:
    for path in settings(nodes()[name]):
        key = f"{name.split(':')[0]}.{'.'.join(path)}"
        for value in WRONG[path[-1]]:
            node = deepcopy(nodes()[name])
            inside(node, path)[path[-1]] = value
            said = refusal(name, node)
            assert said.startswith((f"{key} must be ", f"{key} does not fit: ")) and "got " in said, said


@pytest.mark.usefixtures("no_files")
@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_a_misspelt_key_is_refused_with_the_nearest(name: str) -> None:
    for path in settings(nodes()[name]):
        node = deepcopy(nodes()[name])
        group = inside(node, path)
        group[f"{path[-1]}x"] = group.pop(path[-1])
        key = f"{name.split(':')[0]}.{'.'.join(path)}x"
        assert refusal(name, node) == f"unknown key {key}: did you mean {path[-1]}?"


HELD_OUT = ("run", "model=sd_turbo", "reward=hpsv2", "held_out=after", "prompts=[a red ring]")


@pytest.mark.usefixtures("no_files")
def test_a_held_out_rewards_wrong_setting_is_told_before_any_file_is_missed(gradproj: Gradproj, tmp_path):
    said = gradproj(*HELD_OUT, "rewards.pickscore.memory.checkpointing=maybe", folder=tmp_path)
    assert said.code == 2
    assert "rewards.pickscore.memory.checkpointing must be none or blocks, got 'maybe'" in said.err


def test_what_is_missing_is_told_of_held_out_rewards_too(gradproj: Gradproj, tmp_path, monkeypatch):
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    said = gradproj(*HELD_OUT, folder=tmp_path)
    assert said.code == 2
    for repo in ("stabilityai/sd-turbo", "xswu/HPSv2", "yuvalkirstain/PickScore_v1", "zai-org/ImageReward"):
        assert said.err.count(repo) == 1, said.err
    assert (
        "linearMSE.pth" in said.err
        and "gradproj fetch model=sd_turbo" in said.err
        and not (tmp_path / "results").exists()
    )
