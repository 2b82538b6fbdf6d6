"""Labels that the scans contradict: how many, and which.

A simple linear model on textures gives each scan a probability of each class, cross-fitted over folds of patients. Two
questions are answered separately:

How many? Scans labelled c that truly are not c have the scores of scans with other labels; the rest of c scores higher
(Blanchard, Lee, Scott 2010). A model that recognises c poorly gives low scores to some correctly labelled scans as
well; but these become rare towards the lowest scores, as for two normal distributions a distance apart, and wrongly
labelled ones do not. Share and distance are estimated jointly by maximum likelihood, as in the contaminated binormal
curve (Dorfman, Berbaum 2000). If the model recognises c too poorly to separate the two, nothing is estimated.

Which? As in confident learning (Northcutt, Jiang, Chuang 2021), a scan is suspected if the model is more confident of
another class than of the given one. Each confidence is measured relative to the scans without that label, as the model
is not equally confident of all classes. Worst first, and no more than the estimate allows.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from lungkeras.preparation.audit.shortcuts import FEWEST
from lungkeras.scores.rankings import ranking

FOLDS, REPEATS = 5, 2
FREEDOM = 0.3  # of the logistic regression: less is smoother
RECOGNISED = 0.75  # AUROC below which a class is not recognised well enough to suspect a label
# AUROC on correct labels below which no rate is estimated: for drawn masses, with an AUROC of 0.80, all rates up to 30
# % are about equally likely; for classes with 0.85 or more, the estimate is within 3 points of the planted rate.
CLEAR = 0.85
DECILES = np.linspace(0.1, 0.9, 9)
RATES, DISTANCES = np.linspace(0, 0.5, 101), np.linspace(0.3, 5, 95)  # among which the most likely are looked for
SHOWN = 1  # standard deviations above the scans without the label
BOOTSTRAPS = 200
FACTORS, FACTOR_SPREAD = (0.5, 0.7, 1.0, 1.4, 2.0), 0.7  # of hidden scans to wrong labels; of their logarithm
LIKELY = 1.92  # half the 95 % quantile of chi-squared with one degree of freedom


def label_noise(
    features: np.ndarray,
    mirrored: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    classes: Sequence[str],
    *,
    seed: int = 0,
) -> tuple[dict, np.ndarray, np.ndarray]:
    """How many labels are wrong, and the probabilities behind the estimate.

    Args:
        features: float (N, features), and `mirrored` those of the same scans mirrored.
        labels: float (N, classes), 1, 0, or NaN where unknown: such a scan is left out of that class.
        groups: (N,), patients.

    Returns {rate, low, high, classes: {class: {rate, low, high, auroc}}}, float (N, classes) of probabilities, and
    which classes are recognised well enough to suspect a label (bool: an AUROC of at least RECOGNISED). The rate of a
    class is the share of its labels that are wrong; the first rate is that of all classes with one, weighted by their
    scans. If the model would not recognise a class even with correct labels (AUROC below CLEAR, or fewer than ten
    patients), its rate is None. Bounds are those of a 95 % interval by bootstrap over groups, or by likelihood if that
    is wider; they do not cover errors that the model can't see.
    """
    probabilities = unseen_probabilities(features, mirrored, labels, groups, seed=seed)
    place = np.unique(groups, return_inverse=True)[1]
    sides = [(own == 1, own == 0) for own in labels.T]
    enough = [min(len(np.unique(place[side])) for side in both) >= FEWEST for both in sides]
    even = np.ones((1, len(labels)))
    aurocs = [float(ranking(own, probabilities[:, c], even)[0][0]) for c, own in enumerate(labels.T)]
    recognised = np.array(enough) & (np.nan_to_num(aurocs) >= RECOGNISED)
    rng, count = np.random.default_rng(seed), place.max() + 1
    times = np.concatenate([even, rng.multinomial(count, np.full(count, 1 / count), BOOTSTRAPS)[:, place]])
    rates, reach = np.full((len(times), len(classes)), np.nan), np.zeros((2, len(classes)))
    clear = recognised.copy()
    for column in np.flatnonzero(recognised):
        known = ~np.isnan(labels[:, column])
        own, others = sides[column]
        odds = own.sum() / others.sum()
        counts = among_deciles(own[known], probabilities[known, column], times[:, known])
        rates[:, column] = contamination(counts, odds)
        worth = len(np.unique(place[own])) / own.sum()  # scans of a patient count as one
        reach[:, column] = np.abs(likely(worth * counts[0], odds) - rates[0, column])
        clear[column] = auroc_of_right_labels(aurocs[column], rates[0, column], odds) >= CLEAR
    scans = (labels == 1).sum(axis=0) * clear
    overall = np.nansum(rates * scans, axis=1) / max(scans.sum(), 1)
    spread = np.sqrt(((reach * scans) ** 2).sum(axis=1)) / max(scans.sum(), 1)
    noise = _interval(overall, spread) if clear.any() else dict.fromkeys(("rate", "low", "high"))
    noise["classes"] = {
        name: (
            _interval(rates[:, column], reach[:, column]) if clear[column] else dict.fromkeys(("rate", "low", "high"))
        )
        | {"auroc": None if np.isnan(aurocs[column]) else aurocs[column]}
        for column, name in enumerate(classes)
    }
    return noise, probabilities, recognised


def _interval(rates: np.ndarray, reach: np.ndarray) -> dict[str, float]:
    """The interval of the draws after the first, or that of the likelihood if it is wider."""
    low, high = np.quantile(rates[1:], [0.025, 0.975])
    rate = float(rates[0])
    return {"rate": rate, "low": float(max(min(low, rate - reach[0]), 0)), "high": float(max(high, rate + reach[1]))}


def unseen_probabilities(
    features: np.ndarray, mirrored: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int = 0
) -> np.ndarray:
    """Probabilities (N, classes) by logistic regression on five folds by group, the mean of two such rounds.

    Each scan is used as it is and mirrored, in training and prediction. If every scan has one class and no label is
    unknown (NaN), the model chooses one of them; else each class has its own model, fitted to the scans of which it is
    known.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    found = np.zeros((REPEATS, *labels.shape))
    one_class = bool((labels.sum(axis=1) == 1).all())
    kinds = labels.argmax(axis=1)
    folds = min(FOLDS, len(np.unique(groups)))
    folding = StratifiedGroupKFold if one_class and np.bincount(kinds).min() >= folds else GroupKFold
    for repeat in range(REPEATS if folds > 1 else 0):
        for train, test in folding(folds, shuffle=True, random_state=seed + repeat).split(features, kinds, groups):
            for column in [None] if one_class else range(labels.shape[1]):
                fit = train if one_class else train[~np.isnan(labels[train, column])]
                given = kinds[fit] if one_class else labels[fit, column].astype(int)
                if len(np.unique(given)) < 2:
                    continue
                both = np.concatenate([features[fit], mirrored[fit]])
                model = LogisticRegression(C=FREEDOM, max_iter=300).fit(both, np.tile(given, 2))
                predicted = (model.predict_proba(features[test]) + model.predict_proba(mirrored[test])) / 2
                if one_class:
                    found[repeat][np.ix_(test, model.classes_)] = predicted
                else:
                    found[repeat, test, column] = predicted[:, 1]
    return found.mean(axis=0)


def among_deciles(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How many scans with the label score between the deciles of the others, for each row of weights (draws, N).

    float (draws, 10), lowest scores first.
    """
    order = np.argsort(scores, kind="stable")
    labelled = np.cumsum(weights[:, order] * labels[order], axis=1)
    others = np.cumsum(weights[:, order] * ~labels[order], axis=1)
    counts = np.zeros((len(weights), len(DECILES) + 1))
    for row in range(len(weights)):
        at = np.searchsorted(others[row], DECILES * others[row, -1])
        counts[row] = np.diff(np.r_[0, labelled[row, at], labelled[row, -1]])
    return counts


def contamination(counts: np.ndarray, odds: float) -> np.ndarray:
    """The share of scans with the label that score like other classes: (draws,), from counts of `among_deciles`.

    Between half and twice as many scans of the class are assumed to carry another label; `odds` is the ratio of scans
    with the label to others.
    """
    return RATES[_profile(counts, odds).argmax(axis=1)]


def likely(counts: np.ndarray, odds: float) -> np.ndarray:
    """The least and greatest rate that a likelihood-ratio test does not reject at 5 %: (2,), from counts (10,).

    It is used even if the rate is 0 in every bootstrap draw: wrong labels may exist although none was seen.
    """
    profile = _profile(counts[None], odds)[0]
    kept = RATES[profile >= profile.max() - LIKELY]
    return np.array([kept.min(), kept.max() + (RATES[1] if len(kept) == 1 else 0)])


def _profile(counts: np.ndarray, odds: float) -> np.ndarray:
    """The logarithm of the likelihood of each rate at its best distance and share of hidden scans: (draws, rates)."""
    found = [
        _likelihood(counts, odds * factor).max(axis=2) - (np.log(factor) / FACTOR_SPREAD) ** 2 / 2 for factor in FACTORS
    ]
    return np.max(found, axis=0)


def _likelihood(counts: np.ndarray, odds: float) -> np.ndarray:
    """The logarithm of the likelihood of each rate and distance: (draws, rates, distances)."""
    return (counts @ _log_shares(odds)).reshape(-1, len(RATES), len(DISTANCES))


@functools.lru_cache(maxsize=2 * len(FACTORS))
def _log_shares(odds: float) -> np.ndarray:
    """The logarithm of the share of scans expected between deciles: (10, rates x distances); read-only."""
    from scipy.special import ndtr

    rates, distance = RATES[:, None, None], DISTANCES[:, None]
    hidden = _unlabelled(rates, odds)
    low, high = (np.full((len(RATES), len(DISTANCES), len(DECILES)), end) for end in (-9.0, 9.0))
    for _ in range(24):  # halving, until it is where that share of the others, those hidden too, lies below
        middle = (low + high) / 2
        above = (1 - hidden) * ndtr(middle) + hidden * ndtr(middle - distance) > DECILES
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    expected = rates * ndtr(low) + (1 - rates) * ndtr(low - distance)
    shares = np.diff(expected, axis=2, prepend=0, append=1).clip(1e-9)
    return np.log(shares).reshape(-1, len(DECILES) + 1).T


def auroc_of_right_labels(auroc: np.ndarray, rate: np.ndarray, odds: float) -> np.ndarray:
    """The AUROC that a model would have without the share `rate` of wrong labels in a class (Menon et al. 2015).

    As many scans of the class are assumed to carry another label; `odds` is the ratio of scans with the label to
    others. At most 1.
    """
    return np.minimum(0.5 + (auroc - 0.5) / np.maximum(1 - rate - _unlabelled(rate, odds), 1e-9), 1.0)


def _unlabelled(rate: np.ndarray, odds: float) -> np.ndarray:
    """The share of the others that are of the class."""
    return np.minimum(rate * odds, 0.95)


def suspects(
    labels: np.ndarray, probabilities: np.ndarray, recognised: np.ndarray, most: int
) -> list[tuple[int, int, float]]:
    """Row, class that is shown instead, and margin of the suspected scans, worst first, at most `most` of them.

    A probability is expressed relative to the scans without the class, as a quantile of the normal distribution;
    another class counts as shown above 1, as for one in six of them. The margin is its excess over the given classes.
    Only classes marked in `recognised` are considered, and no class whose label of a scan is unknown (NaN).
    """
    from scipy.special import ndtri

    sureness, given_so = np.empty(labels.shape), labels == 1
    for column, scores in enumerate(probabilities.T):
        without = np.sort(scores[labels[:, column] == 0])
        sureness[:, column] = ndtri((np.searchsorted(without, scores) + 0.5) / (len(without) + 1))
    given = np.where(given_so, sureness, np.inf).min(axis=1)
    other = np.where((labels == 0) & recognised, sureness, -np.inf)
    instead = other.argmax(axis=1)
    best = other.max(axis=1)
    ours = (given_so & ~recognised).sum(axis=1) == 0
    margin = np.where(ours & (best >= SHOWN), best - given, -np.inf)
    order = np.argsort(-margin, kind="stable")[: max(most, 0)]
    return [(int(row), int(instead[row]), float(margin[row])) for row in order if margin[row] > 0]
