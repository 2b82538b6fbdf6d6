"""What the images add to age, sex, view and scanner: cross-fitted logistic regressions with and without a predictor.

Patients are divided into five folds. For each fold, two regressions are fitted on the other four: metadata alone, and
metadata with the predictor's log-odds of the class. The gain is the increase in AUROC with the predictor, over pairs of
scans within one fold, since the regressions of two folds may differ in level.

With few patients, a regression fitted on four fifths of them predicts worse. Age, sex, view and scanner lose more by
this than the log-odds do, so the gain is too large. Regressions that are evaluated on the scans they were fitted to are
too optimistic. With few patients, the interval of the gain is therefore centred between the two gains, and the square
of half their difference is part of its variance.
"""

import warnings

import numpy as np
import pandas as pd
from scipy.special import logit
from scipy.stats import t as student

from lungkeras.scores import delong, intervals

FOLDS = 5
MOST_CATEGORIES = 20  # of scanners, for example; the rest are pooled
FEWEST_OF_A_CATEGORY = 10
CLIPPED = 1e-6
FEW = 500  # patients, or blocks of them, up to which the interval is widened and moved


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
    found = np.full(len(columns), np.nan)
    for fold in range(FOLDS):
        own = folds == fold
        found[own] = fitted(columns, labels, known & ~own, own)
    return found


def fitted(columns: np.ndarray, labels: np.ndarray, fit: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Predictions for the scans `asked` of a logistic regression on those of `fit`, both bool (scans,).

    NaN if `fit` has no scan with the class or none without it, or there are no columns.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if not columns.shape[1] or len(np.unique(labels[fit])) < 2:
        return np.full(np.count_nonzero(asked), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(solver="newton-cholesky", max_iter=50).fit(columns[fit], labels[fit])
    return model.predict_proba(columns[asked])[:, 1]


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
    both, everyone = np.full(given.shape, np.nan), np.ones(len(given), dtype=bool)
    few = len(np.unique(blocks)) <= FEW
    seen = np.full((2, *given.shape), np.nan)
    for own in range(classes):
        if not np.isnan(alone[:, own]).any():
            odds = logit(np.clip(given[:, [own]], CLIPPED, 1 - CLIPPED))
            odds = (odds - odds.mean()) / max(odds.std(), 1e-9)
            asked = np.concatenate([columns, odds], axis=1)
            both[:, own] = cross_fitted(asked, labels[:, own], known[:, own], folds)
            for place, part in enumerate((columns, asked) if few else ()):
                seen[place, :, own] = fitted(part, labels[:, own], known[:, own], everyone)
    scores = {"metadata": alone, "both": both} | ({"metadata_seen": seen[0], "both_seen": seen[1]} if few else {})
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
    towards = (points["both_seen"] - points["metadata_seen"] - gains) / 2 if few else np.zeros_like(gains)
    return [_row(points, shares, gains, towards, moved, place) for place in range(classes + 1)], moved


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


def _row(points, shares, gains, towards, moved, place: int) -> dict[str, float]:
    row = {}
    for name in ("metadata", "both"):
        low, high = interval(points[name][place], shares[name][:, place], 0.0)
        row |= {f"{name}_auroc": points[name][place], f"{name}_auroc_low": low, f"{name}_auroc_high": high}
    gain, half = gains[place], towards[place]
    low, high = interval(gain + half, moved[:, place], -1.0, half**2)
    return row | {"gain": gain, "gain_low": min(low, gain), "gain_high": max(high, gain)}


def interval(point: float, shares: np.ndarray, least: float, more: float = 0.0) -> tuple[float, float]:
    """Point estimate and influence of each patient (patients,) -> interval by Student's t, between `least` and 1.

    `more` is variance that the influences do not show.
    """
    count = len(shares)
    if count < 2 or np.isnan(point):
        return float("nan"), float("nan")
    variance = count / (count - 1) * (shares**2).sum() + more
    reach = student.ppf((1 + intervals.LEVEL) / 2, count - 1) * np.sqrt(variance)
    return max(float(point - reach), least), min(float(point + reach), 1.0)
