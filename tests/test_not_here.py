"""What a command lacks is told in one go: every file of the model and of every reward, weights included."""

import pytest
from conftest import Compose
from huggingface_hub import _tree_cache, constants
from omegaconf import OmegaConf

from gradproj.errors import NotHere
from gradproj.execution.settings.parts import parts

PAPER = ["black-forest-labs/FLUX.1-schnell", "openai/clip-vit-large-patch14", "yuvalkirstain/PickScore_v1"]
PAPER += ["laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "xswu/HPSv2", "zai-org/ImageReward", "google-bert/bert-base-uncased"]


def test_offline_one_message_has_a_command_for_every_repository(compose: Compose, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(_tree_cache, "_IN_MEMORY_TREE_CACHE", {})
    (tmp_path / "head.pth").write_bytes(b"a head")
    head = [f"rewards.aesthetic.source.predictor={tmp_path}/head.pth", "rewards.aesthetic.source.predictor_sha256=null"]
    settings = OmegaConf.to_container(compose("model=flux", "rewards=paper", "reward=aesthetic", *head), resolve=True)
    with pytest.raises(NotHere) as told:
        parts(settings)  # type: ignore[arg-type]
    assert [command.split()[:3] for command in told.value.commands] == [["hf", "download", repo] for repo in PAPER]
    flux, clip = told.value.commands[:2]
    assert "transformer/*model.safetensors" in flux and "text_encoder_2/*.json" in flux
    assert "--include config.json --include model.safetensors" in clip
    assert all(f"    {command}" in str(told.value).splitlines() for command in told.value.commands)
