"""Ours against every other method, paired: exact sign test and Wilcoxon's signed-rank test, with Holm's correction."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from gradproj.report.bootstrap import RESAMPLES, Bootstrap, difference, per_prompt
from gradproj.report.compare import BASELINE, Comparison
from gradproj.report.load import Array
from gradproj.report.table import Column, Row, Table

TITLE = "Paired tests"
NOTE = (
    "Ours minus each other method at their last steps, on the same prompts and seeds. In brackets the 95 % interval of "
    f"the mean ({RESAMPLES} resamples of the prompts). The tests take one difference per prompt, the mean over its "
    "seeds: won counts prompts where ours is higher; p of the exact two-sided sign test and of Wilcoxon's signed-rank "
    "test (two-sided, differences of zero dropped, exact to 50 prompts without ties, else scipy's normal "
    "approximation). Corrected after Holm over the methods that ours is set against, score by score."
)


def table(comparison: Comparison) -> Table:
    """A row for every score and every method but ours; no rows where there is no ours, or nothing beside it."""
    columns = [
        Column("score"),
        Column("against"),
        Column("ours_minus", "ours minus it", "+.{digits}f", "ours_minus", per="score"),
        Column("won"),
        Column("prompts", "of prompts"),
        Column("sign_p", "sign p", ".2g"),
        Column("sign_p_holm", "sign p, Holm", ".2g"),
        Column("wilcoxon_p", "Wilcoxon p", ".2g"),
        Column("wilcoxon_p_holm", "Wilcoxon p, Holm", ".2g"),
        Column("n"),
    ]
    return Table(comparison.title, columns, rows(comparison), NOTE)


def rows(comparison: Comparison) -> list[Row]:
    """The lines of significance.csv: the paired difference and both tests for every score and method but ours.

    A single prompt has no p.
    """
    ours = comparison.methods.get(BASELINE)
    if ours is None:
        return []
    bootstrap = Bootstrap(comparison.prompts)
    lines = []
    for score in comparison.scores:
        family = []  # the tests that are corrected together
        for label, curves in comparison.others.items():
            apart = ours.scores[score][:, -1] - curves.scores[score][:, -1]
            line = {"comparison": comparison.name, "score": score, "against": label, "run": curves.run.folder.name}
            line |= {"n": len(apart)} | difference("ours_minus", apart, bootstrap)
            if np.isnan(apart).any():  # one of the two has no such score
                continue
            scale = np.abs(ours.scores[score][:, -1]).max() or 1.0
            settled = np.round(per_prompt(apart / scale, comparison.prompts), 9)  # records have six digits: a tie is 0
            family.append(line | paired(settled))
        for test in ("sign_p", "wilcoxon_p"):
            for line, corrected in zip(family, holm([line[test] for line in family]), strict=True):
                line[f"{test}_holm"] = corrected
        lines += family
    return lines


def paired(apart: Array) -> dict[str, Any]:
    """Both tests on the differences ``apart`` (prompts,). p is 1 where all are zero, and NaN for a single prompt."""
    won, lost = int((apart > 0).sum()), int((apart < 0).sum())
    counts = {"prompts": len(apart), "won": won, "lost": lost}
    if len(apart) < 2:
        return counts | {"sign_p": np.nan, "wilcoxon_p": np.nan}
    if not won + lost:
        return counts | {"sign_p": 1.0, "wilcoxon_p": 1.0}
    signed_rank: Any = stats.wilcoxon(apart[apart != 0])
    return counts | {"sign_p": stats.binomtest(won, won + lost).pvalue, "wilcoxon_p": float(signed_rank.pvalue)}


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979) of a family of p values. A NaN stays NaN and does not count as a test."""
    corrected = np.full(len(p), np.nan)
    order = [int(index) for index in np.argsort(p) if not np.isnan(p[index])]
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p[index]))
        corrected[index] = highest
    return corrected.tolist()
