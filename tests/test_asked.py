"""What ``gradproj.improve`` is given becomes words that the command takes, where objects are among it, too."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from conftest import Gradproj
from fakes import Red
from huggingface_hub import constants

from gradproj import improve
from gradproj.errors import UserError


@pytest.mark.parametrize("rewards", [["clip", Red()], [Red()]], ids=["a name beside it", "alone"])
def test_what_fetches_the_weights_knows_nothing_of_objects(
    rewards: list[Any], gradproj: Gradproj, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(UserError, match="not whole in") as told:
        improve("a red ring", model="flux", reward=rewards[-1], rewards=rewards)
    _, command = str(told.value).splitlines()
    _, program, verb, *words = shlex.split(command.partition("type: ")[2])
    assert (program, verb) == ("gradproj", "fetch") and "model=flux" in words
    said = gradproj(verb, *words, folder=tmp_path)
    assert said.code == 2 and "FLUX.1-schnell" in said.err and "not whole in" in said.err
    assert ("CLIP-ViT-H-14" in said.err) == (len(rewards) > 1) and "vit-large" not in said.err
