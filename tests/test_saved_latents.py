"""The kept latent as a file: what the record says, what diffusers' own pipeline draws of it, in no run's name."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Gradproj
from PIL import Image as Pillow
from safetensors import safe_open
from test_readme import ROOT
from tiny import models as tiny

from gradproj import improve
from gradproj.errors import UserError
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

FIRST = ImageId(0, 0)
SIZE = 32


def snippet() -> dict[str, Any]:
    """The Python of docs/models.md, run."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "models.md").read_text(), re.DOTALL)
    made: dict[str, Any] = {}
    exec(code, made)
    return made


def only_run(results: Path) -> Run:
    (folder,) = (results / "runs").iterdir()
    return Run.open(folder)


def levels(picture: Any) -> Any:
    return np.asarray(picture.convert("RGB")).astype(int)


def saved(run: Run) -> tuple[torch.Tensor, dict[str, str]]:
    with safe_open(run.latent(FIRST), framework="pt") as file:
        return file.get_tensor("latent"), json.loads(file.metadata()["label"])


@pytest.mark.parametrize("model", tiny.BUILDERS)
def test_the_pages_python_draws_the_kept_picture_and_goes_on_from_it(model: str, gradproj: Gradproj, tmp_path: Path):
    repo = tiny.folder(f"{model}-plain")
    told = {"source.repo": repo, "source.cache": tmp_path / "prompts", "resolution": SIZE, "dtype": "float32"}
    typed = [f"model={model}", *(f"model.{key}={value}" for key, value in told.items()), "reward=shapes_aesthetic"]
    typed += ["rewards=shapes", "prompts=[a red ring]", "steps=3", "device=cpu", "save=[picture,latent]"]
    said = gradproj("run", *typed, folder=tmp_path)
    assert said.code == 0, said.err
    run = only_run(tmp_path / "results")
    given: dict[str, Any] = {"model": model, "repo": repo, "file": run.latent(FIRST), "prompt": "a red ring"}
    given |= {"size": SIZE, "device": "cpu", "dtype": torch.float32}
    draw = snippet()["draw"]
    with Pillow.open(run.kept(FIRST)) as kept, Pillow.open(run.start(FIRST)) as start:
        apart = np.abs(levels(draw(**given)) - levels(kept)).max()
        moved = np.abs(levels(start) - levels(kept)).max()
        assert apart <= 1 < moved, "the kept picture, not the start"
        further = levels(draw(**given, steps=4))
        assert further.shape == levels(kept).shape and np.abs(further - levels(kept)).max() > 1


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_latent_is_the_kept_pictures_and_says_whose_it_is(keep: str, gradproj: Gradproj, tmp_path: Path):
    typed = ["prompts=[a red ring]", "steps=4", f"keep={keep}", "method=none", "method.optimizer.lr=1"]
    typed += ["reward=shapes_matcher"]
    assert gradproj("run", *typed, "save=[picture,latent]", folder=tmp_path).code == 0
    run = only_run(tmp_path / "results")
    latent, label = saved(run)
    assert latent.dtype == torch.float32 and latent.shape == (3, 32, 32)
    assert label == {"run": run.folder.name, "image": "0000-0", "prompt": "a red ring"}
    table = run.table(FIRST)
    step = int(table["reward"].argmax()) if keep == "best" else 4
    assert keep == "last" or step < 4, "or the two are the same"
    np.testing.assert_allclose(latent.square().mean().sqrt(), table["latent_rms"][step], rtol=1e-5)


def test_a_latent_that_is_cut_or_another_images_is_not_handed_on(tmp_path: Path):
    told: dict[str, Any] = {"steps": 1, "results": tmp_path, "seeds": 2, "overrides": ["save=[picture,latent]"]}
    improve("a red ring", **told)
    run = only_run(tmp_path)
    content, other = (run.latent(ImageId(0, seed)).read_bytes() for seed in (0, 1))
    for wrong, says in ((content[:-1], "cannot be read"), (b"", "cannot be read"), (other, "does not belong there")):
        run.latent(FIRST).write_bytes(wrong)
        with pytest.raises(UserError, match=f"0000-0.safetensors {says}.*gradproj replay .* 0000-0 --latent"):
            improve("a red ring", **told)


def test_saving_it_names_no_run_and_a_replay_brings_it_later(gradproj: Gradproj, tmp_path: Path):
    typed = ["prompts=[a red ring]", "steps=2"]
    for results, more in (("with", ["save=[picture,latent]"]), ("without", [])):
        assert gradproj("run", *typed, *more, f"results={results}", folder=tmp_path).code == 0
    one, other = only_run(tmp_path / "with"), only_run(tmp_path / "without")
    assert one.folder.name == other.folder.name
    assert not other.latent(FIRST).exists()
    before = other.record(FIRST).read_bytes()
    said = gradproj("replay", other.folder, "0000-0", "--latent", folder=tmp_path)
    assert said.code == 0 and str(other.latent(FIRST)) in said.out
    assert other.latent(FIRST).read_bytes() == one.latent(FIRST).read_bytes()
    assert other.record(FIRST).read_bytes() == before
    assert gradproj("status", "without", folder=tmp_path).code == gradproj("status", "with", folder=tmp_path).code == 0
