"""Time ``report.build`` on 20,000 records of 60 steps: ``python scripts/bench_report.py``.

20 runs (4 methods x 5 targets) of 1,000 images (250 prompts x 4 seeds), five scores, scored every 10th step. A run's
first 50 records come from the writer, the others are copies of them under their own names.
"""

import platform
import tempfile
import time
from pathlib import Path

import numpy as np

from gradproj.files import sealed, unsealed
from gradproj.report import build
from gradproj.report.load import load
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

METHODS = ("ours", "mpgr", "prno", "reno")
SCORES = ("aesthetic", "pickscore", "hps", "image_reward", "clip")
PROMPTS, SEEDS, STEPS, WRITTEN = 250, 4, 60, 50


def make(results: Path, method: str, target: str) -> None:
    """Write one run."""
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
    start = np.random.default_rng(0).normal(size=(WRITTEN, len(SCORES)))
    generator = np.random.default_rng(1 + METHODS.index(method))
    names = [(prompt, seed) for prompt in range(PROMPTS) for seed in range(SEEDS)]
    for index, (prompt, seed) in enumerate(names[:WRITTEN]):
        climb = np.cumsum(generator.uniform(0, 0.1, (STEPS + 1, len(SCORES))), axis=0)
        values = start[index] + climb - climb[0]
        rows = []
        for step in range(STEPS + 1):
            numbers = dict(zip(("gradient_norm", "latent_rms", "cosine"), generator.uniform(size=3), strict=True))
            scores = dict(zip(SCORES, values[step], strict=True)) if step % 10 == 0 else {}
            rows.append(
                {"step": step, "seconds": 1.16 * step, "reward": values[step, 0], "skipped": 0} | numbers | scores
            )
        run.write(ImageId(prompt, seed), rows, {})
    for index, (prompt, seed) in enumerate(names[WRITTEN:]):
        source = run.record(ImageId(*names[index % WRITTEN]))
        text = (unsealed(source.read_bytes()) or b"").replace(b"\n0,0,", f"\n0,{index}e-9,".encode(), 1)  # no two alike
        run.record(ImageId(prompt, seed)).write_bytes(sealed(text))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        for target in SCORES:
            for method in METHODS:
                make(results, method, target)
        begin = time.perf_counter()
        runs, _ = load(results)
        loaded = time.perf_counter() - begin
        begin = time.perf_counter()
        build(results)
        total = time.perf_counter() - begin
        images = sum(len(run.images) for run in runs)
    print(
        f"{images} records of {STEPS} steps in {len(runs)} runs: build {total:.2f} s, of which loading {loaded:.2f} s"
    )
    print(f"{platform.machine()}, {platform.processor() or 'processor unknown'}, python {platform.python_version()}")


if __name__ == "__main__":
    main()
