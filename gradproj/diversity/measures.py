"""Inception score and Vendi score of arrays, computed by torch-fidelity's and vendi-score's own functions.

The libraries (torch-fidelity 0.4.0, torchmetrics 1.9.0, vendi-score 0.0.3) have faults that are worked around here:

- torch-fidelity's ``isc_features_to_metric`` returns NaN for more splits than rows, because a split is then empty, and
  for a class whose probability underflows to 0 in every row of a split, because it multiplies 0 by infinity. The first
  is refused here, and log-probabilities have a lower bound.
- torchmetrics' ``InceptionScore`` permutes with torch's global generator, works in float32, divides by n - 1 in the
  standard deviation, and splits by ``chunk``, which makes six splits of 12 rows where ten are asked for. It is unused.
- vendi-score's ``score_X`` ignores its ``q``, and its ``embedding_vendi_score`` fails unless it is given a network, as
  its default asks torchvision for contradictory arguments. ``score_K`` and ``score_dual`` are used instead.
- vendi-score's ``score_K`` takes the six largest eigenvalues of a sparse matrix for all of them, so it is given dense
  ones. It also asks for ``scipy.sparse.csr``, which warns today and is gone in SciPy 2; the warning is silenced.
- vendi-score computes in the type of its input, so float32 features are made float64 first.
"""

import math
import warnings
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from gradproj.runs.diversity import Measures

SEED = 2020  # torch-fidelity's default
LEAST = -700.0  # lower bound of a log-probability, whose exponential is still a normal float64


def measure(
    logits: Float[np.ndarray, "n classes"],
    features: Float[np.ndarray, "n d"],
    prompts: Int[np.ndarray, " n"],
    seed: int = SEED,
) -> Measures:
    """All numbers of one set of pictures: row i of each array is of picture i, and ``prompts`` has its prompt's id.

    The score of ten splits is NaN for fewer than ten pictures. Raises ``ValueError`` where the arrays have different
    lengths, and as the functions below.
    """
    if not len(logits) == len(features) == len(prompts):
        raise ValueError(
            f"{len(logits)} rows of logits, {len(features)} of features and {len(prompts)} prompts: expected as many"
        )
    ten = inception_score(logits, 10, seed) if len(logits) >= 10 else (math.nan, math.nan)
    return Measures(
        len(logits),
        len(np.unique(prompts)),
        inception_score(logits, 1, seed)[0],
        *ten,
        vendi(features),
        vendi_per_prompt(features, prompts),
    )


def inception_score(logits: Float[np.ndarray, "n classes"], splits: int = 10, seed: int = SEED) -> tuple[float, float]:
    """Mean over the splits of exp(mean KL(p(y|x) || p(y))), and its standard deviation (divisor n, not n - 1).

    ``logits`` may be unnormalised or log-probabilities, finite or -inf. The rows are permuted by ``seed`` and then cut
    into ``splits`` nearly equal parts, so that with more than one split the score depends a little on their order.
    Salimans et al. 2016 (arXiv 1606.03498), computed by torch-fidelity in float64. Its command line gives the same with
    ``rng_seed=seed``, for rows in the order of the sorted file names. Raises ``ValueError`` for NaN and +inf, for a row
    of nothing but -inf, and for fewer rows than splits.
    """
    import torch
    from scipy.special import log_softmax
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

    if logits.ndim != 2 or not 1 <= splits <= len(logits):
        raise ValueError(f"{splits} splits of logits of shape {logits.shape}: expected (n, classes), 1 to n splits")
    log_p = np.asarray(log_softmax(logits.astype(np.float64), axis=1))
    if np.isnan(log_p).any():
        row = int(np.flatnonzero(np.isnan(log_p).any(axis=1))[0])
        raise ValueError(f"row {row} of the logits is no distribution: it holds NaN, inf or nothing but -inf")
    np.maximum(log_p, LEAST, out=log_p)
    found = isc_features_to_metric(torch.from_numpy(log_p), splits, shuffle=True, rng_seed=seed)
    return found[KEY_METRIC_ISC_MEAN], found[KEY_METRIC_ISC_STD]


def vendi(features: Float[np.ndarray, "n d"], q: float = 1.0) -> float:
    """The Vendi score of order ``q`` under the cosine kernel: exp of the entropy of K / n's eigenvalues, from 1 to n.

    Friedman and Dieng 2023 (arXiv 2210.02410); ``q`` is above 0 and may be infinity (arXiv 2310.12952). Rows are scaled
    to length 1, in float64. For n above d the eigenvalues are taken from the (d, d) covariance, which has the same ones
    but for zeros, so that 100,000 rows of 2,048 never make an (n, n) matrix. Below q = 1 eigenvalues that are zero but
    for rounding count, as they do in vendi-score. Raises ``ValueError`` for a row that is zero or not finite.
    """
    from sklearn.preprocessing import normalize
    from vendi_score import vendi as library

    rows = np.array(features, dtype=np.float64)
    if rows.ndim != 2 or not len(rows) or not q > 0:
        raise ValueError(f"features of shape {rows.shape}, q = {q}: expected (n, d) with n > 0, and q > 0")
    wrong = np.flatnonzero(~(np.isfinite(rows).all(axis=1) & rows.any(axis=1)))
    if len(wrong):
        raise ValueError(f"row {wrong[0]} of the features is zero or not finite: it has no direction")
    rows = np.asarray(normalize(rows, copy=False))
    order: Any = "inf" if math.isinf(q) else q
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if len(rows) > rows.shape[1]:
            return float(library.score_dual(rows, q=order, normalize=False))
        return float(library.score_K(rows @ rows.T, q=order))


def vendi_per_prompt(features: Float[np.ndarray, "n d"], prompts: Int[np.ndarray, " n"], q: float = 1.0) -> float:
    """The mean over ``prompts`` of the Vendi score of each prompt's rows, from 1 to the most rows that one has."""
    return float(np.mean([vendi(features[prompts == prompt], q) for prompt in np.unique(prompts)]))
