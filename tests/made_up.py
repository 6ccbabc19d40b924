"""Runs of made-up numbers, written as the runner writes them: what the report's tests read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from gradproj.runs.folder import Run
from gradproj.runs.naming import ImageId

SCORES = ("aesthetic", "matcher", "dual")
PROMPTS, SEEDS, STEPS = 9, 3, 80
GEOMETRIC = (0, 1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 56, 60)  # what ``score_every: geometric`` scores below step 80


def config(method: str, /, **changes: Any) -> dict[str, Any]:
    """A run's config; ``changes`` replace top-level keys."""
    target = changes.get("reward", "aesthetic")
    name = target if isinstance(target, str) else "+".join(target)
    return {
        "names": {"model": "shapes", "method": method, "reward": name},
        "protocol": "common",
        "steps": STEPS,
        "keep": "last",
        "score_every": 10,
        "model": {"size": 32},
        "method": {"kind": method, "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.02}},
        "reward": target,
        "rewards": {score: {"size": 32} for score in SCORES},
        "prompts": [f"shape {index}" for index in range(PROMPTS)],
        "weights": {name: {"weights.safetensors": f"{name} 1"} for name in ("model", *SCORES)},
    } | changes


def trajectory(method: str, image: int, steps: int, gain: float, start: float = 0.0) -> list[dict[str, float | None]]:
    """Rows of one image: one start for all methods, then ``gain`` in the target, half of it lost in the second."""
    begin = np.random.default_rng([7, image]).normal(5.0, 1.0, len(SCORES)) + start
    generator = np.random.default_rng([len(method), image])
    slopes = np.array([gain, -gain / 2, gain / 4]) * generator.normal(1.0, 0.3)
    rows: list[dict[str, float | None]] = []
    for step in range(steps + 1):
        values = begin + slopes * np.sqrt(step / steps) + (step > 0) * generator.normal(0, 0.05, len(SCORES))
        rows.append({"step": float(step), "seconds": 0.5 * step + 0.01 * image, "reward": values[0]})
        rows[-1] |= {"gradient_norm": 1.0, "latent_rms": 1.0, "cosine": 1 - step / 1000, "skipped": 0.0}
        rows[-1] |= {"flatness": 0.9 - step / 1e4, "distance": 0.146 + step / 1e4}
        rows[-1] |= zip(SCORES, values, strict=True)
    return rows


def make(results: Path, method: str = "ours", gain: float = 2.0, start: float = 0.0, /, **changes: Any) -> Run:
    """Write a run as the runner does: only every tenth step (or GEOMETRIC), the last and the best carry scores."""
    run = Run.create(results, config(method, **changes), {"command": ["gradproj-run", f"method={method}", "steps=20"]})
    last, every = run.config["steps"], run.config["score_every"]
    scored = GEOMETRIC if every == "geometric" else range(0, last + 1, every)
    for image in range(PROMPTS * SEEDS):
        rows = trajectory(method, image, last, gain, start)
        best = int(np.argmax([row["reward"] or 0.0 for row in rows]))
        for row in rows:
            if int(row["step"] or 0) not in {*scored, last, best}:
                row |= dict.fromkeys(SCORES)
        run.write(ImageId(image // SEEDS, image % SEEDS), rows, {})
    return run


def frame(run: Run) -> Any:
    """All rows of a run, read one file at a time by pandas."""
    frames = []
    for path in sorted(run.images.glob("*.csv")):
        prompt, seed = map(int, path.stem.split("-"))
        frames.append(pd.read_csv(path, comment="#").assign(image=path.stem, prompt=prompt, seed=seed))
    return pd.concat(frames, ignore_index=True)


def rewrite(run: Run, image: ImageId, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the rows of a record in place and write it again, as a writer with other numbers would."""
    rows: Any = pd.read_csv(run.record(image), comment="#").astype(float).replace({np.nan: None}).to_dict("records")
    change(rows)
    run.record(image).unlink()  # a record that is there is never replaced
    run.write(image, rows, {})


def table(results: Path, name: str = "main") -> Any:
    return pd.read_csv(results / "tables" / f"{name}.csv")


def row(lines: Any, method: str, steps: int) -> Any:
    found = lines[(lines.method == method) & (lines.steps == steps)]
    assert len(found) == 1
    return found.iloc[0]


def prompt_interval(change: Any, score: str) -> tuple[float, float]:
    """scipy's percentile interval of the mean over prompts; every prompt has as many seeds."""
    means = change.groupby("prompt")[score].mean().to_numpy()
    settings: Any = {"n_resamples": 20_000, "method": "percentile", "random_state": 1}
    found = stats.bootstrap((means,), np.mean, **settings)
    return found.confidence_interval.low, found.confidence_interval.high
