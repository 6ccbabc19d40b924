"""What the tests of scores given afterwards share: runs written by nobody's optimisation, and a reward that counts."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CONFIGS, Gradproj
from hydra import compose, initialize_config_dir
from made_up import SCORES, SEEDS, STEPS, config, trajectory
from PIL import Image as Pillow
from PIL.Image import Image as Picture

from gradproj.cli import run
from gradproj.errors import UserError
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXAMPLE = DOCS / "example_reward"
MINIATURE = ('prompts=["a red ring","a blue square and a white circle"]', "seeds=2", "steps=5", "score_every=2")
MINIATURE += ("method.optimizer.lr=2",)  # far too large: the best step is not the last
LATER = ("shapes_heldout", "shapes_matcher")
TARGET, ALL = "rewards=[shapes_aesthetic]", f"rewards=[shapes_aesthetic,{','.join(LATER)}]"
PROMPTS = 3  # of the runs that are only written here


def launch(results: Path, *overrides: str) -> Run:
    """``gradproj run`` within this process."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose("config", [*MINIATURE, f"results={results}", *overrides])
    return run.run_once(composed, "shapes", "ours").run


def rows(run: Run, image: ImageId) -> list[dict[str, str]]:
    """A record, read without the library."""
    lines = (run.images / f"{image}.csv").read_text().splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def recorded(run: Run, reward: str) -> dict[ImageId, tuple[float, float]]:
    """Image -> the official score of its first and its kept picture, as the records have them."""
    found = {}
    for image in run.recorded():
        steps = rows(run, image)
        last = max(steps, key=lambda step: float(step["reward"])) if run.config["keep"] == "best" else steps[-1]
        found[image] = float(steps[0][reward]), float(last[reward])
    return found


Pairs = Mapping[ImageId, tuple[float, float]]


def same(one: Pairs, other: Pairs, tolerance: float = 1e-5) -> None:
    """The same images and, to six digits where nothing else is said, numbers."""
    assert sorted(one) == sorted(other)
    for image in one:
        assert one[image] == pytest.approx(other[image], rel=tolerance)


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """When every file was written, and its bytes; but for the sheet, which is drawn at every call."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "before_after.png"]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def refusal(function: Callable[..., object], *arguments: Any) -> str:
    with pytest.raises(UserError) as error:
        function(*arguments)
    return str(error.value)


class Brightness:
    """A reward that counts what it is shown; after ``most`` calls the process is killed."""

    def __init__(self, weights: str = "one", most: int = 10**9) -> None:
        self.weights = {"brightness.safetensors": weights}
        self.calls: list[int] = []
        self.most = most

    def score(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> torch.Tensor:
        if len(self.calls) == self.most:
            raise KeyboardInterrupt
        self.calls.append(len(pictures))
        pairs = zip(pictures, prompts, strict=True)
        return torch.tensor(
            [float(np.asarray(picture).mean()) + 1000 * int(prompt.split()[-1]) for picture, prompt in pairs]
        )


def level(image: int, kept: bool) -> int:
    return 10 * image + 5 * kept


def write(results: Path, method: str = "ours", seeds: int = SEEDS, /, **changes: Any) -> Run:
    """A run with records and tiny grey pictures, ``seeds`` per prompt; written by nobody's optimisation."""
    prompts = [f"shape {index}" for index in range(PROMPTS)]
    run = Run.create(results, config(method, **{"prompts": prompts} | changes), {"command": ["gradproj-run"]})
    for image in range(PROMPTS * SEEDS):
        if image % SEEDS < seeds:
            grey = [Pillow.new("RGB", (2, 2), (level(image, kept),) * 3) for kept in (False, True)]
            lines = trajectory(method, image, STEPS, 2.0)
            for line in lines:
                if int(line["step"] or 0) % 10:
                    line |= dict.fromkeys(SCORES)
            run.write(ImageId(image // SEEDS, image % SEEDS), lines, {"start": grey[0], "kept": grey[1]})
    return run


def expected(seeds: int = SEEDS) -> dict[ImageId, tuple[float, float]]:
    """What ``Brightness`` gives the pictures of ``write``."""
    images = [image for image in range(PROMPTS * SEEDS) if image % SEEDS < seeds]
    return {
        ImageId(image // SEEDS, image % SEEDS): (
            1000.0 * (image // SEEDS) + level(image, False),
            1000.0 * (image // SEEDS) + level(image, True),
        )
        for image in images
    }


@pytest.fixture
def script(gradproj: Gradproj) -> Callable[..., tuple[Any, str, str]]:
    """``gradproj score`` within this process -> exit code, stdout, stderr."""
    return lambda *arguments: gradproj("score", *arguments)
