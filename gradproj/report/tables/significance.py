"""Ours against every other method, paired: exact sign test and Wilcoxon's signed-rank test, with Holm's correction."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from gradproj.report import render
from gradproj.report.bootstrap import RESAMPLES, Bootstrap, difference, per_prompt
from gradproj.report.compare import BASELINE, Comparison
from gradproj.report.load import Array

NOTE = (
    "Ours minus each other method at their last steps, on the same prompts and seeds. In brackets the 95 % interval of "
    f"the mean ({RESAMPLES} resamples of the prompts). The tests take one difference per prompt, the mean over its "
    "seeds: won counts prompts where ours is higher; p of the exact two-sided sign test and of Wilcoxon's signed-rank "
    "test (two-sided, differences of zero dropped, exact to 50 prompts without ties, else scipy's normal "
    "approximation). Corrected after Holm over the methods that ours is set against, "
    "score by score."
)


def files(comparisons: Sequence[Comparison]) -> dict[str, str]:
    """File name -> text; none where nothing is compared with ours."""
    sections = [(comparison, own) for comparison in comparisons if (own := rows(comparison))]
    if not sections:
        return {}
    return {
        "tests.csv": render.csv([row for _, own in sections for row in own]),
        "tests.md": render.markdown("Paired tests", NOTE, [_section(*section) for section in sections]),
    }


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """The lines of tests.csv: per score and method, the paired difference and both tests; blank p for one prompt."""
    ours = comparison.methods.get(BASELINE)
    others = {label: curves for label, curves in comparison.methods.items() if curves is not ours}
    if ours is None:
        return []
    bootstrap = Bootstrap(comparison.prompts)
    lines = []
    for score in comparison.scores:
        own = []
        for label, curves in others.items():
            apart = ours.scores[score][:, -1] - curves.scores[score][:, -1]
            line = {"comparison": comparison.name, "score": score, "against": label, "run": curves.run.folder.name}
            line |= {"n": len(apart)} | difference("ours_minus", apart, bootstrap)
            scale = np.abs(ours.scores[score][:, -1]).max() or 1.0
            settled = np.round(per_prompt(apart / scale, comparison.prompts), 9)  # records have six digits: a tie is 0
            own.append(line | paired(settled))
        for test in ("sign_p", "wilcoxon_p"):
            for line, corrected in zip(own, holm([line[test] for line in own]), strict=True):
                line[f"{test}_holm"] = corrected
        lines += own
    return lines


def paired(apart: Array) -> dict[str, Any]:
    """Both tests on differences (prompts,); p is 1 where all are zero, NaN for a single one."""
    won, lost = int((apart > 0).sum()), int((apart < 0).sum())
    counts = {"prompts": len(apart), "won": won, "lost": lost}
    if len(apart) < 2:
        return counts | {"sign_p": np.nan, "wilcoxon_p": np.nan}
    if not won + lost:
        return counts | {"sign_p": 1.0, "wilcoxon_p": 1.0}
    signed_rank: Any = stats.wilcoxon(apart[apart != 0])
    return counts | {"sign_p": stats.binomtest(won, won + lost).pvalue, "wilcoxon_p": float(signed_rank.pvalue)}


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979) of a family of p values; NaN stay NaN and are not counted."""
    corrected = np.full(len(p), np.nan)
    order = [int(place) for place in np.argsort(p) if not np.isnan(p[place])]
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p[place]))
        corrected[place] = highest
    return corrected.tolist()


def _section(comparison: Comparison, lines: Sequence[dict[str, Any]]) -> render.Section:
    digits = {score: render.digits([abs(one["ours_minus"]) for one in lines if one["score"] == score]) for score in
              comparison.scores}  # fmt: skip
    body = []
    for line in lines:
        form = f"+.{digits[line['score']]}f"
        gap = render.Cell(
            f"{line['ours_minus']:{form}}", render.interval(line["ours_minus_low"], line["ours_minus_high"], form)
        )
        won = f"{line['won']} of {line['prompts']}"
        tests = [_p(line[key]) for key in ("sign_p", "sign_p_holm", "wilcoxon_p", "wilcoxon_p_holm")]
        texts = [line["score"], line["against"]]
        body.append([*map(render.Cell, texts), gap, *map(render.Cell, [won, *tests, str(line["n"])])])
    header = ["score", "against", "ours minus it", "won", "sign p", "Holm", "Wilcoxon p", "Holm", "n"]
    return render.Section(comparison.title, header, body)


def _p(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2g}"
