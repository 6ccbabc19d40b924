"""The paper's published numbers (arXiv 2602.08646, section 5), to stand beside the same rows of our tables."""

from collections.abc import Sequence
from typing import Any

from gradproj.report.compare import START, Comparison

SECONDS = "seconds_per_image"
MAIN: dict[tuple[str, str, str], dict[tuple[str, int], dict[str, float]]] = {
    # (model, target, protocol) -> (method, steps) -> means, the seconds on one A6000
    ("flux", "aesthetic", "common"): {
        (START, 0): {"aesthetic": 5.99, "pickscore": 0.219},
        ("reno", 200): {"aesthetic": 7.06, "pickscore": 0.219, SECONDS: 232.0},
        ("prno", 200): {"aesthetic": 7.02, "pickscore": 0.218, SECONDS: 255.4},
        ("mpgr", 200): {"aesthetic": 7.13, "pickscore": 0.220, SECONDS: 235.5},
        ("ours", 60): {"aesthetic": 7.12, "pickscore": 0.220, SECONDS: 69.7},
        ("ours", 200): {"aesthetic": 8.91, "pickscore": 0.220, SECONDS: 232.2},
    }
}
TIME: dict[tuple[str, str, str], dict[tuple[str, int], dict[str, float]]] = {
    # The paper compares ours at step 60 (aesthetic 7.12) with the end of MPGR's 200 steps (7.13).
    ("flux", "aesthetic", "common"): {("mpgr", 200): {"ours_step_paper": 60.0, "seconds_share_paper": 69.7 / 235.5}}
}
DIVERSITY: dict[tuple[str, str, str], dict[tuple[str, int], tuple[str, str]]] = {
    # (method, steps) -> Inception and Vendi score of 1,125 images of 45 prompts, with unpublished settings
    ("flux", "aesthetic", "common"): {(START, 0): ("21.57-22.33", "6.42-6.61"), ("ours", 200): ("21.10", "6.97")}
}
NOTE = (
    "Paper: arXiv 2602.08646, seconds on one A6000; minus paper: ours here less the paper's number. How the paper "
    "tuned its baselines is not published, and it drives the gaps between them."
)


def beside(comparison: Comparison, line: dict[str, Any]) -> dict[str, float]:
    """``S_paper`` and ``S_minus_paper`` for every number S of this line of the main table that the paper has, too."""
    table = MAIN.get((comparison.model, comparison.target, comparison.protocol), {})
    published = {key: value for key, value in table.get((line["method"], line["steps"]), {}).items() if key in line}
    numbers = {f"{key}_paper": value for key, value in published.items()}
    return numbers | {f"{key}_minus_paper": line[key] - value for key, value in published.items()}


def time(comparison: Comparison, against: str, steps: int) -> dict[str, float]:
    """The paper's time to target of ours compared with ``against`` after ``steps``; empty where it has none."""
    return TIME.get((comparison.model, comparison.target, comparison.protocol), {}).get((against, steps), {})


def diversity(comparison: Comparison, method: str, steps: int, pictures: str) -> dict[str, str]:
    """The paper's Inception and Vendi scores of a run's ``pictures``, "start" or "kept"; blank where it has none."""
    table = DIVERSITY.get((comparison.model, comparison.target, comparison.protocol), {})
    score, vendi = table.get((START, 0) if pictures == "start" else (method, steps), ("", ""))
    return {"paper_inception_score": score, "paper_vendi": vendi}


def columns(lines: Sequence[dict[str, Any]]) -> list[str]:
    """The numbers S for which some line has the paper's, in the order in which they first come."""
    return list(dict.fromkeys(key.removesuffix("_paper") for line in lines for key in line
                              if key.endswith("_paper") and not key.endswith("_minus_paper")))  # fmt: skip
