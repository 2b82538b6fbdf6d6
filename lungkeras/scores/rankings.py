"""AUROC and average precision of weighted scans, and of every draw of patients.

A scan whose label is NaN (unknown) is left out of that class.
"""

from collections.abc import Sequence

import numpy as np

from lungkeras.scores.intervals import DRAWS, SEED, patient_draws, patient_places

MOST_TURNED = 60  # scans of each side whose labels are flipped in some draw
AT_ONCE = 4_000_000  # weights held at a time while curves are drawn


def ranking(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision of one class, with scans weighted by `weights`.

    labels (scans,) 0 or 1, scores (scans,), weights (draws, scans). Returns two arrays (draws,). Tied scores are one
    threshold, as in scikit-learn: a tied pair counts half in the AUROC. NaN if a draw lacks positives or, for the
    AUROC, negatives, and if a score is not a number; both are NaN if some labels are unknown and none of the others is
    0.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if not (known := ~np.isnan(labels)).all():
        known &= (labels == 0).any()
        labels, scores, weights = labels[known], scores[known], np.asarray(weights)[:, known]
    labels = labels.astype(bool)
    if not np.isfinite(scores).all() or len(scores) == 0:
        return np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))
    weights = np.asarray(weights, dtype=np.float64)[:, order]
    everyone = np.add.reduceat(weights, starts, axis=1)
    positive = np.add.reduceat(weights * labels[order], starts, axis=1)
    negative = everyone - positive
    hits, asked = positive.cumsum(axis=1), everyone.cumsum(axis=1)
    positives, negatives = hits[:, -1], asked[:, -1] - hits[:, -1]
    pairs = (negative * (hits - positive / 2)).sum(axis=1)
    precision = np.divide(hits, asked, out=np.zeros_like(hits), where=asked > 0)
    nothing = np.full(len(weights), np.nan)
    auroc = np.divide(pairs, positives * negatives, out=nothing.copy(), where=positives * negatives > 0)
    return auroc, np.divide((positive * precision).sum(axis=1), positives, out=nothing, where=positives > 0)


def drawn_ranking(
    labels: np.ndarray,
    scores: np.ndarray,
    patients: Sequence,
    draws: int = DRAWS,
    seed: int = SEED,
    errors: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision of each draw and class: two arrays (draws, classes).

    `errors` adds a prior, as `doubt` does to counts: in each draw a scan of the class is taken for one of the others,
    and one of the others for the class, each with a random weight (a gamma) whose mean is this number of patients.
    """
    places, count = patient_places(patients)
    weights = patient_draws(count, draws, seed)
    steps = max(1, AT_ONCE // max(len(places), 1))
    turned = [_turned(labels[:, column], errors, draws, [seed, count, 4, column]) for column in range(labels.shape[1])]
    heavy = max(len(labels) / max(count, 1), 1.0)
    parts = []
    for start in range(0, draws, steps):
        drawn, part = weights[start : start + steps][:, places], []
        for column, (scans, doubts) in enumerate(turned):
            known, given = labels[:, column], scores[:, column]
            of_all = np.concatenate([drawn, heavy * doubts[start : start + steps]], axis=1)
            part.append(ranking(np.r_[known, 1 - known[scans]], np.r_[given, given[scans]], of_all))
        parts.append(part)
    auroc, precision = np.concatenate([np.transpose(part, (1, 2, 0)) for part in parts], axis=1)
    return auroc, precision


def _turned(labels: np.ndarray, errors: float, draws: int, seed: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """(scans whose label may be flipped, weight of each flip: float (draws, scans)); empty without errors."""
    sides = [np.flatnonzero(labels == side) for side in (0, 1)]
    if not errors or not all(map(len, sides)):
        return np.zeros(0, dtype=int), np.zeros((draws, 0))
    random, weights = np.random.default_rng(seed), np.zeros((draws, 2, MOST_TURNED))
    scans = np.concatenate([random.choice(side, MOST_TURNED) for side in sides])
    for side in range(2):
        weights[np.arange(draws), side, random.integers(MOST_TURNED, size=draws)] = random.gamma(errors, size=draws)
    return scans, weights.reshape(draws, -1)
