"""Labels that the scans contradict: how many, and which.

A modest linear model on textures gives each scan a probability of each class, from folds of patients that do not hold
it. Two questions are answered apart:

How many? Of the scans labelled c, those that truly are not c score as scans of other labels do. The share of them is at
most the least ratio of (scans labelled c below a score) to (scans of other labels below it), and equals it where the
model lets no true c score so low (Blanchard, Lee, Scott 2010). A model that tells c badly does let them, with every
label right. How often, its AUROC says, if its scores of c and of the others are normal (the binormal curve of Dorfman,
Alf 1969): what the model's own errors explain is no noise, and where they explain too much, nothing is said.

Which? Confident learning (Northcutt, Jiang, Chuang 2021): a scan is suspected where another class is as sure as it
usually is for scans of that class, and surer than the given one. Worst first, and no more than the estimate allows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lungkeras.audit.shortcuts import FEWEST, weighted_auroc

FOLDS, REPEATS = 5, 2
FREEDOM = 0.3  # of the logistic regression: less is smoother
TOLD = 0.75  # AUROC below which a class is not told well enough to suspect a label
# AUROC on right labels below which their rate is not told. A missed finding and a wrong label look alike: drawn masses
# are told at 0.80 and would pass for 16 % wrong; from 0.85 on, the estimate is within 3 points of what was planted.
CLEAR = 0.85
SHARES = np.linspace(0.3, 0.95, 27)  # of the scans of other labels that lie below the score
BOOTSTRAPS = 200


def label_noise(
    features: np.ndarray,
    mirrored: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    classes: Sequence[str],
    *,
    seed: int = 0,
) -> tuple[dict, np.ndarray, np.ndarray]:
    """How many labels are wrong, and the probabilities from which that was told.

    Args:
        features: float (N, features), and `mirrored` those of the same scans mirrored.
        labels: bool (N, classes). groups: (N,), patients.

    Returns {rate, low, high, classes: {class: {rate, low, high, auroc}}}, float (N, classes) of probabilities, and
    which classes are told well enough to suspect a label (bool: an AUROC of TOLD). A rate is the share of the scans
    labelled so that are not; the first is that over all classes with a rate, by their scans. Where the model would not
    tell a class on right labels (AUROC below CLEAR, or fewer than ten patients), its rate is None. Bounds are those of
    a 95 % interval by bootstrap over groups; they do not hold what the model can't see.
    """
    probabilities = unseen_probabilities(features, mirrored, labels, groups, seed=seed)
    place = np.unique(groups, return_inverse=True)[1]
    enough = [min(len(np.unique(place[own])), len(np.unique(place[~own]))) >= FEWEST for own in labels.T]
    even = np.ones((1, len(labels)))
    aurocs = [float(weighted_auroc(own, probabilities[:, c], even)[0]) for c, own in enumerate(labels.T)]
    told = np.array(enough) & (np.nan_to_num(aurocs) >= TOLD)
    rng, count = np.random.default_rng(seed), place.max() + 1
    times = np.concatenate([even, rng.multinomial(count, np.full(count, 1 / count), BOOTSTRAPS)[:, place]])
    rates = np.full((len(times), len(classes)), np.nan)
    clear = told.copy()
    for column in np.flatnonzero(told):
        own, scores = labels[:, column], probabilities[:, column]
        rates[:, column] = unexplained(contamination(own, scores, times), weighted_auroc(own, scores, times))
        clear[column] = auroc_of_right_labels(aurocs[column], rates[0, column]) >= CLEAR
    scans = labels.sum(axis=0) * clear
    overall = np.nansum(rates * scans, axis=1) / max(scans.sum(), 1)
    noise = _interval(overall) if clear.any() else dict.fromkeys(("rate", "low", "high"))
    noise["classes"] = {
        name: (_interval(rates[:, column]) if clear[column] else dict.fromkeys(("rate", "low", "high")))
        | {"auroc": None if np.isnan(aurocs[column]) else aurocs[column]}
        for column, name in enumerate(classes)
    }
    return noise, probabilities, told


def _interval(rates: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(rates[1:], [0.025, 0.975])
    return {"rate": float(rates[0]), "low": float(min(low, rates[0])), "high": float(max(high, rates[0]))}


def unseen_probabilities(
    features: np.ndarray, mirrored: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int = 0
) -> np.ndarray:
    """Probabilities (N, classes) by logistic regression on five folds by group, the mean of two such rounds.

    Each scan is learned from and asked about as it is and mirrored. Where every scan has one class, one of them is
    chosen; else each class is told on its own.
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
                known = kinds[train] if one_class else labels[train, column].astype(int)
                if len(np.unique(known)) < 2:
                    continue
                both = np.concatenate([features[train], mirrored[train]])
                model = LogisticRegression(C=FREEDOM, max_iter=300).fit(both, np.tile(known, 2))
                told = (model.predict_proba(features[test]) + model.predict_proba(mirrored[test])) / 2
                if one_class:
                    found[repeat][np.ix_(test, model.classes_)] = told
                else:
                    found[repeat, test, column] = told[:, 1]
    return found.mean(axis=0)


def contamination(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The share of the scans labelled so that score as the others do, under each row of weights (draws, N).

    The least, over the scores below which 30 to 95 % of the others lie, of (labelled so below it) / (others below it).
    """
    order = np.argsort(scores, kind="stable")
    labelled = np.cumsum(weights[:, order] * labels[order], axis=1)
    others = np.cumsum(weights[:, order] * ~labels[order], axis=1)
    rates = np.ones(len(weights))
    for row in range(len(weights)):
        labelled_below = labelled[row] / max(labelled[row, -1], 1)
        others_below = others[row] / max(others[row, -1], 1)
        at = np.minimum(np.searchsorted(others_below, SHARES), len(order) - 1)
        rates[row] = min(1.0, (labelled_below[at] / others_below[at]).min())
    return rates


def auroc_of_right_labels(auroc: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """The AUROC that a model would have without the share `rate` of a class's labels, which tell nothing; at most 1."""
    return np.minimum(0.5 + (auroc - 0.5) / np.maximum(1 - rate, 1e-9), 1.0)


def unexplained(shares: np.ndarray, aurocs: np.ndarray) -> np.ndarray:
    """The least share of wrong labels with which a model of these AUROCs lets so many score as the others do.

    shares, from `contamination`, and aurocs are of one shape (draws,). Wrong labels lower the AUROC as well as they
    score low, so that the two are solved for together, to a quarter of a point.
    """
    from scipy.special import ndtr, ndtri

    rates = np.linspace(0, 1, 401)
    apart = np.sqrt(2) * ndtri(auroc_of_right_labels(aurocs[:, None], rates))
    missed = ndtr(ndtri(SHARES[0]) - apart) / SHARES[0]  # a binormal curve is at its least slope at its end
    enough = rates + (1 - rates) * missed >= shares[:, None] - 1e-9
    return rates[enough.argmax(axis=1)]


def suspects(
    labels: np.ndarray, probabilities: np.ndarray, told: np.ndarray, most: int
) -> list[tuple[int, int, float]]:
    """Row, class that is shown instead, and margin of the suspected scans, worst first, at most `most` of them.

    Probabilities are measured by the mean over the scans of the class; the margin is what another class has more than
    the given ones. Only among classes that are `told`.
    """
    counts = np.maximum(labels.sum(axis=0), 1)
    usual = np.maximum((probabilities * labels).sum(axis=0) / counts, 1e-9)
    sureness = probabilities / usual
    given = np.where(labels, sureness, np.inf).min(axis=1)
    other = np.where(labels | ~told, -np.inf, sureness)
    instead = other.argmax(axis=1)
    best = other.max(axis=1)
    ours = (labels & ~told).sum(axis=1) == 0
    margin = np.where(ours & (best >= 1), best - given, -np.inf)
    order = np.argsort(-margin, kind="stable")[: max(most, 0)]
    return [(int(row), int(instead[row]), float(margin[row])) for row in order if margin[row] > 0]
