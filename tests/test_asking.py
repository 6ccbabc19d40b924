"""A message about a repository names the setting that asked for it: the reward's own, not the model's."""

from pathlib import Path

import pytest
from conftest import Compose
from fake_hub import REPOSITORY, FakeHub
from hub_client import point
from omegaconf import OmegaConf
from tiny import models as tiny

from gradproj.errors import UserError
from gradproj.execution.settings.parts import make
from gradproj.execution.weights import needed
from gradproj.pretrained import asking, outlook
from gradproj.pretrained.nodes import FileSource
from gradproj.rewards.pickscore import PickScoreSource

FILES = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"{}"}


def refusal(compose: Compose, reward: str, *settings: str) -> str:
    node = OmegaConf.to_container(compose(f"rewards=[{reward}]", f"reward={reward}", *settings).rewards[reward])
    with pytest.raises(UserError) as told:
        make(node, f"rewards.{reward}")  # type: ignore[arg-type]
    return str(told.value)


def test_a_revision_that_is_not_there_is_told_by_the_key_that_names_it(compose: Compose, tmp_path: Path, monkeypatch):
    with FakeHub(FILES) as hub:
        point(hub, tmp_path, monkeypatch)
        for reward, name in (("clip", "revision"), ("pickscore", "revision"), ("pickscore", "tokenizer_revision")):
            where = [
                f"rewards.{reward}.source.{key}={REPOSITORY}" for key in ("repo", "tokenizer")[: 1 + (reward != "clip")]
            ]
            where += [f"rewards.{reward}.source.revision=main"] * (name != "revision")
            said = refusal(compose, reward, *where, f"rewards.{reward}.source.{name}=v9")
            assert said == f"{REPOSITORY} has no revision v9: type one that it has: rewards.{reward}.source.{name}=main"
        with pytest.raises(UserError, match=r"type one that it has: model\.source\.revision=main$"):
            tiny.build("flux-plain", repo=REPOSITORY, revision="v9")


def test_a_survey_of_a_run_names_it_too(compose: Compose, tmp_path: Path, monkeypatch):
    with FakeHub(FILES) as hub:
        point(hub, tmp_path, monkeypatch)
        told = ["rewards=[shapes,hpsv2]", "reward=hpsv2", f"rewards.hpsv2.source.repo={REPOSITORY}"]
        settings = OmegaConf.to_container(compose(*told, "rewards.hpsv2.source.revision=v9"), resolve=True)
        (seen,) = outlook.look(needed([settings])[0]).repositories  # type: ignore[list-item]
    assert seen.refused.endswith("has no revision v9: type one that it has: rewards.hpsv2.source.revision=main")


@pytest.mark.parametrize("key", ["repo", "tokenizer"])
def test_a_folder_that_is_not_there_is_told_by_its_key(compose: Compose, key: str, tmp_path: Path):
    where = {"repo": str(tmp_path), "tokenizer": str(tmp_path)} | {key: "/no/such"}
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    given = [f"rewards.pickscore.source.{name}={value}" for name, value in where.items()]
    said = refusal(compose, "pickscore", *given, "rewards.pickscore.source.sha256=null")
    assert said.startswith(f"rewards.pickscore.source.{key}=/no/such: no such folder, and not a hub id")


def test_two_settings_of_one_value_are_told_apart_by_their_repository():
    source = PickScoreSource("a/model", "v1", None, "a/words", "v1")
    with asking.part("rewards.mine", source):
        asking.remember("a/words", "v1")
        asking.remember("a/model", "v1")
        assert asking.place_key("a/words") == "rewards.mine.source.tokenizer" and asking.place_key("x/y") == "repo"
    assert asking.revision_key("a/words", "v1") == "rewards.mine.source.tokenizer_revision"
    assert asking.revision_key("a/model", "v1") == "rewards.mine.source.revision"
    with asking.part("rewards.other", FileSource("a/model", "v1", None)):
        asking.remember("a/model", "v1")
    assert asking.revision_key("a/model", "v1") == "rewards.other.source.revision"
    assert asking.revision_key("never/asked", "v1") == "PART.source.revision"
