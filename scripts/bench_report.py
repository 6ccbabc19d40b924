"""Time ``report.build.build`` on 20,000 records of 60 steps: ``python scripts/bench_report.py``.

There are 20 runs (4 methods x 5 targets) of 1,000 images (250 prompts x 4 seeds) with five scores at every 10th step.
The numbers of 50 images are repeated, and the files are written without waiting for the disk, to be ready sooner.
"""

import platform
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from gradproj.report.build import build
from gradproj.report.choose import find
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

METHODS = ("ours", "mpgr", "prno", "reno")
SCORES = ("aesthetic", "pickscore", "hps", "image_reward", "clip")
PROMPTS, SEEDS, STEPS, DRAWN = 250, 4, 60, 50


def make(results: Path, method: str, target: str) -> None:
    """Write the records of one run."""
    config = {
        "names": {"model": "bench", "method": method, "reward": target},
        "protocol": "common",
        "steps": STEPS,
        "keep": "last",
        "score_every": 10,
        "model": {"size": 64},
        "method": {"name": method},
        "reward": target,
        "rewards": {name: {"name": name} for name in SCORES},
        "prompts": [f"a picture of thing number {index}, digital art" for index in range(PROMPTS)],
        "weights": {name: {"file": name} for name in ("model", *SCORES)},
    }
    run = Run.create(results, config, {})
    start = np.random.default_rng(0).normal(size=(DRAWN, len(SCORES)))
    generator = np.random.default_rng(1 + METHODS.index(method))
    images = [ImageId(prompt, seed) for prompt in range(PROMPTS) for seed in range(SEEDS)]
    made = [_rows(start[index], generator) for index in range(DRAWN)]
    for index, image in enumerate(images):
        first, *others = made[index % DRAWN]
        run.write(image, [first | {"seconds": index * 1e-9}, *others], {})  # so that no two records are equal


def _rows(start: NDArray[np.float64], generator: np.random.Generator) -> list[dict[str, float]]:
    """The rows of one image, whose scores all climb from ``start`` (scores,)."""
    climb = np.cumsum(generator.uniform(0, 0.1, (STEPS + 1, len(SCORES))), axis=0)
    values = start + climb - climb[0]
    rows = []
    for step in range(STEPS + 1):
        numbers = dict(zip(("gradient_norm", "latent_rms", "cosine"), generator.uniform(size=3), strict=True))
        scores = dict(zip(SCORES, values[step], strict=True)) if step % 10 == 0 else {}
        rows.append({"step": step, "seconds": 1.16 * step, "reward": values[step, 0], "skipped": 0} | numbers | scores)
    return rows


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        with mock.patch("os.fsync"):
            for target in SCORES:
                for method in METHODS:
                    make(results, method, target)
        begin = time.perf_counter()
        comparisons = find(results).comparisons
        loaded = time.perf_counter() - begin
        begin = time.perf_counter()
        build(results)
        total = time.perf_counter() - begin
        runs = [curves for comparison in comparisons for curves in comparison.methods.values()]
        images = sum(len(curves.images) for curves in runs)
    print(
        f"{images} records of {STEPS} steps in {len(runs)} runs: build {total:.2f} s, of which loading {loaded:.2f} s"
    )
    print(f"{platform.machine()}, {platform.processor() or 'processor unknown'}, python {platform.python_version()}")


if __name__ == "__main__":
    main()
