"""What the images add to age, sex, view and scanner: cross-fitted logistic regressions with and without a predictor.

Patients are divided into five folds. For each fold, two regressions are fitted on the other four: metadata alone, and
metadata with the predictor's log-odds of the class. The gain is the increase in AUROC with the predictor, over pairs of
scans within one fold, since the regressions of two folds may differ in level.
"""

import warnings

import numpy as np
import pandas as pd
from scipy.special import logit
from scipy.stats import t as student

from lungkeras.scores import delong, intervals

FOLDS = 5
MOST_CATEGORIES = 20  # of, say, scanners; the rest are pooled
FEWEST_OF_A_CATEGORY = 10
CLIPPED = 1e-6


def folds_of(patients: np.ndarray, seed: int = 0) -> np.ndarray:
    """The fold of each scan, int (scans,), by its patient (blocks of them, intervals.patient_blocks)."""
    places, count = intervals.patient_places(patients)
    return (np.random.default_rng([seed, count, 6]).permutation(count) % FOLDS)[places]


def metadata_columns(metadata: pd.DataFrame) -> np.ndarray:
    """Metadata as numbers, float (scans, columns): age, its square, whether it is unknown, and one column per word."""
    parts = []
    for _, values in metadata.items():
        if pd.api.types.is_numeric_dtype(values):
            age = values.to_numpy(np.float64, na_value=np.nan)
            known = ~np.isnan(age)
            scale = (age - np.nanmean(age)) / max(np.nanstd(age), 1e-9)
            parts += [np.where(known, scale, 0), np.where(known, scale**2 - 1, 0), (~known).astype(float)]
        else:
            words = values.fillna("unknown")
            counts = words.value_counts()
            kept = counts[counts >= FEWEST_OF_A_CATEGORY].index[:MOST_CATEGORIES]
            parts += [(words == word).to_numpy(float) for word in kept]
    columns = np.stack(parts, axis=1) if parts else np.zeros((len(metadata), 0))
    return columns[:, columns.std(axis=0) > 0]


def cross_fitted(columns: np.ndarray, labels: np.ndarray, known: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Cross-fitted predictions of a logistic regression on `columns` (scans, columns): (scans,).

    labels 0 or 1, known bool (scans,). NaN if the other folds have no scan with the class or none without it.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    found = np.full(len(columns), np.nan)
    for fold in range(FOLDS):
        fit, own = known & (folds != fold), folds == fold
        if not columns.shape[1] or len(np.unique(labels[fit])) < 2:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(solver="newton-cholesky", max_iter=50).fit(columns[fit], labels[fit])
        found[own] = model.predict_proba(columns[own])[:, 1]
    return found


def metadata_probabilities(
    metadata: pd.DataFrame, labels: np.ndarray, known: np.ndarray, folds: np.ndarray
) -> np.ndarray:
    """Cross-fitted predictions from age, sex, view and scanner alone: float (scans, classes)."""
    columns = metadata_columns(metadata)
    return np.stack(
        [cross_fitted(columns, labels[:, own], known[:, own], folds) for own in range(labels.shape[1])], axis=1
    )


def image_gain(
    metadata: pd.DataFrame,
    alone: np.ndarray,
    given: np.ndarray,
    labels: np.ndarray,
    known: np.ndarray,
    blocks: np.ndarray,
    folds: np.ndarray,
) -> tuple[list[dict], np.ndarray]:
    """For each class, then for their mean: metadata_auroc, both_auroc and gain, with _low and _high.

    `alone` (scans, classes) comes from `metadata_probabilities`, `given` from the predictor. Also returns the influence
    of each sorted patient on each gain, float (patients, classes + 1). A class that can't be evaluated in some fold is
    NaN and left out of the mean.
    """
    columns, classes = metadata_columns(metadata), labels.shape[1]
    both = np.full(given.shape, np.nan)
    for own in range(classes):
        if not np.isnan(alone[:, own]).any():
            odds = logit(np.clip(given[:, [own]], CLIPPED, 1 - CLIPPED))
            odds = (odds - odds.mean()) / max(odds.std(), 1e-9)
            both[:, own] = cross_fitted(np.concatenate([columns, odds], axis=1), labels[:, own], known[:, own], folds)
    scores = {"metadata": alone, "both": both}
    found = {name: [within_folds(values[:, [own]], labels[:, [own]], known[:, [own]], blocks, folds)
                    for own in range(classes)] for name, values in scores.items()}  # fmt: skip
    points = {name: np.array([point for point, _ in each]) for name, each in found.items()}
    shares = {name: np.stack([share for _, share in each], axis=1) for name, each in found.items()}
    defined = ~np.isnan(points["both"] - points["metadata"])
    points, shares = (
        {name: np.concatenate([values, _mean(values, defined)], axis=-1) for name, values in table.items()}
        for table in (points, shares)
    )
    gains, moved = points["both"] - points["metadata"], shares["both"] - shares["metadata"]
    return [_row(points, shares, gains, moved, place) for place in range(classes + 1)], moved


def _mean(values: np.ndarray, defined: np.ndarray) -> np.ndarray:
    return values[..., defined].mean(axis=-1, keepdims=True) if defined.any() else np.nan * values[..., :1]


def within_folds(
    scores: np.ndarray, labels: np.ndarray, known: np.ndarray, blocks: np.ndarray, folds: np.ndarray
) -> tuple[float, np.ndarray]:
    """(AUROC over pairs of scans within one fold, influence of each patient (patients,)) of one column."""
    own = known & (folds[:, None] == np.arange(FOLDS))
    labels, scores = np.tile(labels, FOLDS), np.tile(scores, FOLDS)
    pairs = ((labels == 1) & own).sum(axis=0).astype(float) * ((labels == 0) & own).sum(axis=0)
    aurocs, shares = delong.auroc_shares(np.where(own, labels, np.nan), scores, blocks)
    asked = pairs > 0
    if not asked.any():
        return float("nan"), np.full(len(shares), np.nan)
    weights = pairs[asked] / pairs.sum()
    return float(aurocs[asked] @ weights), shares[:, asked] @ weights


def _row(points, shares, gains, moved, place: int) -> dict[str, float]:
    row = {}
    for name in points:
        low, high = interval(points[name][place], shares[name][:, place], 0.0)
        row |= {f"{name}_auroc": points[name][place], f"{name}_auroc_low": low, f"{name}_auroc_high": high}
    low, high = interval(gains[place], moved[:, place], -1.0)
    return row | {"gain": gains[place], "gain_low": low, "gain_high": high}


def interval(point: float, shares: np.ndarray, least: float) -> tuple[float, float]:
    """Point estimate and influence of each patient (patients,) -> interval by Student's t, between `least` and 1."""
    count = len(shares)
    if count < 2 or np.isnan(point):
        return float("nan"), float("nan")
    reach = student.ppf((1 + intervals.LEVEL) / 2, count - 1) * np.sqrt(count / (count - 1) * (shares**2).sum())
    return max(float(point - reach), least), min(float(point + reach), 1.0)
