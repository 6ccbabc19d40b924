"""Runs with pictures for the page's tests: every picture of one colour, prompts that are nearly markup."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from made_up import SCORES, config
from PIL import Image as Pillow

from gradproj.report.page import build_page
from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

SEEDS = 2
PROMPTS = (
    "a red ring",
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'> \"and\" <b>bold</b> &amp; 'quotes'",
    "猫 🐈 Ünïcode \u2028 <!-- <script> -->",
    "{{script}} {{data}} ${window.hacked = 1} `tick` \\u003c",
    "A Blue RING of a length that no card can show in two lines, " * 4,
)


def colour(method: str, image: Any, kind: str) -> tuple[int, int, int]:
    """Of its own for every picture; the start is the same for all methods."""
    values = np.random.default_rng([image, *(kind if kind == "start" else method).encode()]).integers(0, 256, 3)
    return int(values[0]), int(values[1]), int(values[2])


def make(results: Path, method: str, prompts: tuple[str, ...] = PROMPTS, /, side: int = 32, **changes: Any) -> Run:
    """A run with two seeds of every prompt, its start shared with the other methods; ``side`` 0: no pictures."""
    run = Run.create(
        results,
        config(method, **{"prompts": list(prompts)} | changes),
        {"command": ["gradproj-run", f"method={method}"]},
    )
    steps = run.config["steps"]
    for image in range(len(prompts) * SEEDS):
        begin = np.random.default_rng([7, image]).normal(5.0, 1.0, len(SCORES))
        generator = np.random.default_rng([image, *method.encode()])
        slopes = np.array([2.0, -1.0, 0.5]) * generator.normal(1.0, 0.5, len(SCORES))
        rows: list[dict[str, float | None]] = []
        for step in range(steps + 1):
            values = begin + slopes * np.sqrt(step / steps)
            row: dict[str, float | None] = {"step": float(step), "seconds": 0.5 * step, "reward": values[0] + 0.25}
            row |= {"gradient_norm": 1.0, "latent_rms": 1.0, "cosine": 1.0, "skipped": 0.0}
            rows.append(row | (dict(zip(SCORES, values, strict=True)) if step % 10 == 0 else dict.fromkeys(SCORES)))
        pictures = {
            kind: Pillow.new("RGB", (side, side), colour(method, image, kind)) for kind in ("start", "kept") if side
        }
        run.write(ImageId(image // SEEDS, image % SEEDS), rows, pictures)
    return run


def ends(run: Run) -> Any:
    """Image -> its first and last scores, and its gap by the definition, read by pandas."""
    tables = {path.stem: pd.read_csv(path, comment="#") for path in sorted(run.images.glob("*.csv"))}
    start = pd.DataFrame({name: table[list(SCORES)].iloc[0] for name, table in tables.items()}).T
    kept = pd.DataFrame({name: table[list(SCORES)].iloc[-1] for name, table in tables.items()}).T
    gains: Any = (kept - start) / start.std(ddof=0)
    target, *others = [run.config["reward"], *(score for score in SCORES if score != run.config["reward"])]
    scores = kept.join(start.add_prefix("start "))
    return scores.assign(gap=gains[target] - gains[others].mean(axis=1), target=kept[target])


def several(results: Path) -> dict[str, Run]:
    """A comparison of three methods, another of one, and their page."""
    made = {method: make(results, method) for method in ("none", "reno", "ours")}
    made["matcher"] = make(results, "none", reward="matcher")
    build_page(results)
    return made
