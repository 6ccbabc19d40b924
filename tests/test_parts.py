"""A run's stored config.yaml makes its parts again: same weights, same settings, weights from elsewhere if told so."""

from pathlib import Path
from typing import Any

import pytest
import test_command_line as line
import torch
from tiny.rewards import changed

from gradproj.errors import UserError
from gradproj.execution.settings import keys
from gradproj.execution.settings.compose import compose_stored
from gradproj.execution.settings.parts import parts
from gradproj.noise import generator, initial_latent
from gradproj.runs.folder import Run
from gradproj.runs.naming import AS_BEFORE, named_settings, with_sources

inside = line.inside


def test_the_parts_of_a_stored_run_make_its_pictures_again(tmp_path: Path, inside: Any) -> None:
    assert inside(tmp_path, *line.SETTINGS)[0] == 0
    run = line.only_run(tmp_path)
    made = parts(compose_stored(Run.open(run.folder).config))
    weights = {"model": dict(made["model"].weights)}
    weights |= {name: dict(one.weights) for name, one in made["rewards"].items()}
    assert weights == run.config["weights"]
    latent, prompt = initial_latent(made["model"].latent_shape, [(1, 0)]), [line.PROMPTS[1]]
    assert made["method"].direction(latent, latent, [generator("method", 1, 0)]).shape == latent.shape
    with torch.no_grad():
        image = made["model"].generate(latent, made["model"].encode(prompt))
    start = (image[0].permute(1, 2, 0) * 255).round().int().numpy()
    assert abs(start - line.pixels(run.images / "0001-0-start.png")).max() <= 1


@pytest.mark.parametrize("model", ["flux", "sd_turbo", "sdxl_turbo", "sana_sprint"])
def test_what_the_name_leaves_out_comes_back_from_the_yaml_or_the_command_line(compose: Any, model: str) -> None:
    plain = keys.check(compose(f"model={model}", "reward=aesthetic", "model.dtype=float32"))
    stored = {"names": {"model": model}} | {key: named_settings(plain[key]) for key in ("model", "method", "rewards")}
    assert not stored["model"].keys() & {"source", "memory"}
    again = compose_stored(stored)
    known = {**plain["model"]}
    for key, value in AS_BEFORE.items():  # left out where it is as before there was a choice
        assert known.pop(key, value) == value
    assert (again["model"], again["method"], again["rewards"]) == (known, plain["method"], plain["rewards"])
    other = compose_stored(stored, ["model.source.repo=/mine", "rewards.aesthetic.source.repo=/other"])
    assert other["model"] == changed(known, {"repo": "/mine"})
    assert other["rewards"]["aesthetic"] == changed(plain["rewards"]["aesthetic"], {"repo": "/other"})
    with pytest.raises(UserError, match=r"model\.dtype=bfloat16 would make another image"):
        compose_stored(stored, ["model.dtype=bfloat16"])


def test_a_third_partys_part_is_all_there() -> None:
    stored = {"_target_": "mine.Reward", "source": "kept", "inner": {"_target_": "gradproj.x", "size": 1}}
    assert named_settings(stored) == stored
    today = {"_target_": "mine.Reward", "memory": "no", "inner": {"_target_": "gradproj.x", "size": 2, "memory": "yes"}}
    assert with_sources(stored, today) == stored | {"inner": {"_target_": "gradproj.x", "size": 1, "memory": "yes"}}
    assert with_sources(stored, {"_target_": "another.One", "memory": "no"}) == stored
