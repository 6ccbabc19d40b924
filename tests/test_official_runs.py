"""The paper's rewards in whole runs, and how their pictures and prompts are treated there."""

import json
import os
from pathlib import Path

import numpy as np
import official
import pandas as pd
import processes
import pytest
import torch
from official import PAPER, build
from PIL import Image as Pillow
from tiny import models as tiny_models
from tiny import rewards as tiny
from torchvision import transforms

from gradproj.cli.run import run_once
from gradproj.execution.settings.keys import check
from gradproj.pretrained import preprocess

keys, own = official.keys, official.own


@pytest.mark.parametrize("target", [*PAPER, "{pickscore: 0.5, clip: 0.01}"])
def test_a_run_climbs_one_and_scores_all(target: str, compose, keys, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    names = PAPER if target in PAPER else [*PAPER, "clip"]
    overrides = [line for name in names for line in tiny.as_overrides(name, keys(name))]
    group = "rewards=paper" if target in PAPER else "rewards=[paper,clip]"
    settings = ["steps=2", "score_every=2", "batch=2", "prompts=[a red ring,a blue square]", f"results={tmp_path}"]
    folder = run_once(compose(group, f"reward={target}", *settings, *overrides), "shapes", "ours").run.folder
    records = sorted((folder / "images").glob("*.csv"))
    assert len(records) == 2
    for record in records:
        table = pd.read_csv(record, comment="#")
        assert set(names) <= set(table.columns)
        assert np.isfinite(table.iloc[[0, 2]][names].to_numpy()).all()
        assert len(set(table["reward"].tolist())) == 3
        assert set(table["skipped"].tolist()) == {0}


@pytest.mark.parametrize("mode", ["P", "1", "L", "LA", "RGBA", "CMYK"])
def test_pictures_of_other_modes_are_cut_as_openai_and_imagereward_cut_them(mode: str):
    """Their transforms resize and crop first and make it RGB last, which for palettes is another picture."""
    levels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    picture = Pillow.fromarray(levels).convert(mode)
    steps = [transforms.Resize(32, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(32)]
    published = transforms.Compose(
        [
            *steps,
            lambda one: one.convert("RGB"),
            transforms.ToTensor(),
            transforms.Normalize(preprocess.MEAN, preprocess.STD),
        ]
    )(picture)
    ours = preprocess.fit_pictures([picture], 32, preprocess.centre_torchvision, convert_first=False)
    torch.testing.assert_close(ours[0], published, rtol=0, atol=1e-5)


def test_one_reward_climbed_at_another_weight_keeps_it(compose):
    for weight in (-1, 5):
        plain = check(compose(f"reward={{shapes_matcher: {weight}}}"))
        assert plain["reward"] == {"shapes_matcher": weight}
    assert check(compose("reward={shapes_matcher: 1}"))["reward"] == "shapes_matcher"


def test_the_formula_of_hpsv2s_architecture_is_part_of_its_weights(own):
    keys = own("hpsv2")
    file = Path(keys["architecture"])
    before = build("hpsv2", keys).weights["architecture"]
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quick_gelu": True}))
    assert build("hpsv2", keys).weights["architecture"] != before


def test_a_flux_with_all_four_rewards_from_the_command_line(tmp_path: Path):
    """During the run and after it: the same numbers for the start and the kept picture, on tiny random weights."""
    stand_ins = [one for name in ("aesthetic", "pickscore", "hpsv2", "imagereward") for one in tiny.stand_in(name)]
    command = ["run", "model=flux", f"model.source.repo={tiny_models.folder('flux-plain')}"]
    command += ["model.resolution=32", "model.dtype=float32", f"model.source.cache={tmp_path}"]
    command += ["steps=2", "prompts=[cat,dog]", "device=cpu"]
    command += [one for one in stand_ins if not one.startswith("rewards=")]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    for when in ("during", "after"):
        arguments = [*command, f"results={tmp_path / when}", f"held_out={when}"]
        processes.command(tmp_path, *arguments, environment=environment).check_returncode()
    (during,), (after,) = (list((tmp_path / when / "runs").iterdir()) for when in ("during", "after"))
    for image in ("0000-0", "0001-0"):
        recorded = pd.read_csv(during / "images" / f"{image}.csv", comment="#")
        assert recorded[["aesthetic", "pickscore", "hpsv2", "imagereward"]].iloc[[0, -1]].notna().all(axis=None)
        for reward in ("pickscore", "hpsv2", "imagereward"):
            given = pd.read_csv(after / "scores" / f"{reward}.csv", comment="#", index_col="image").loc[image]
            np.testing.assert_allclose(given[["start", "kept"]], recorded[reward].iloc[[0, -1]], rtol=1e-5)
