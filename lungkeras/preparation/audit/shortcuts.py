"""Probes for shortcuts: how well a linear model predicts the classes without looking at the lungs.

    border             the outermost strip and the corners, with letters, collimation and air, but no lung
    centre_blacked_out all but the middle of the scan; it shows the lungs' edges and some findings
    thumbnail          8 x 8 mean grey levels and a histogram of the whole scan, findings and all
    metadata           age, sex, view, follow-up number, scanner and readers, if the collection records them
    dimensions         height, width and their ratio, as in the file

Each is a ridge regression on the labels, scored on unseen patients, with an interval over patients.

An alarm is raised if the lower end of the interval is above the probe's limit. A probe that should see nothing is
expected at 0.5, and its limit of 0.6 leaves room for chance over many classes and probes. A probe that sees the lungs'
edges also sees findings (0.84 on drawn chests without any shortcut), so only an almost perfect prediction is an alarm.
The thumbnail sees all findings: it is a baseline for the networks, without an alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from lungkeras.preparation.alignment import HALF as SIDE
from lungkeras.preparation.prints import Fingerprints
from lungkeras.scores.rankings import ranking
from lungkeras.scores.share_intervals import widened

if TYPE_CHECKING:
    import pandas as pd

STRIP, UPPER_CORNER, LOWER_CORNER = 0.05, 0.18, (0.18, 0.1)  # shares of the side
MIDDLE = 0.15  # the blacked-out centre begins at this share of the side
FOLDS = 5
FEWEST = 10  # patients with and without a class
BOOTSTRAPS = 500
COMPONENTS = 100
FREEDOMS = np.logspace(-1, 5, 7)


def probe_shortcuts(
    prints: Fingerprints,
    records: pd.DataFrame,
    labels: np.ndarray,
    classes: Sequence[str],
    groups: np.ndarray,
    *,
    seed: int = 0,
) -> list[dict]:
    """The AUROC of every probe for every class: [{name, class, auroc, low, high, alarm}].

    `labels`, float (N, classes), are 1, 0, or NaN where unknown: such a scan is left out of that class. `low` and
    `high` bound the 95 % interval by bootstrap over `groups` (patients); if a class has too few patients, or too few
    are without it, the three are None. Rows of prints, records, labels and groups correspond.
    """
    found = []
    for name, features in probe_features(prints, records).items():
        scores = unseen_scores(features, labels, groups, seed=seed)
        for column, title in enumerate(classes):
            known = ~np.isnan(labels[:, column])
            present = labels[known, column] == 1
            auroc = auroc_interval(present, scores[known, column], groups[known], seed=seed)
            alarm = auroc[1] is not None and auroc[1] > PROBES[name].limit
            found.append({"name": name, "class": title, **dict(zip(("auroc", "low", "high"), auroc, strict=True)),
                          "alarm": bool(alarm)})  # fmt: skip
    return found


def probe_features(prints: Fingerprints, records: pd.DataFrame) -> dict[str, np.ndarray]:
    """What each probe looks at: float (N, features), standardised; a probe without data is left out."""
    seen = {name: probe.features(prints, records) for name, probe in PROBES.items()}
    return {name: features for name, features in seen.items() if features.shape[1]}


def border() -> np.ndarray:
    """bool (64, 64): the outermost strip, and larger corners above, where the lungs narrow, than below."""
    across = (np.arange(SIDE) + 0.5) / SIDE
    x, y = np.minimum(across, 1 - across)[None, :], across[:, None]
    strip = (x < STRIP) | (y < STRIP) | (y > 1 - STRIP)
    upper = (x < UPPER_CORNER) & (y < UPPER_CORNER)
    lower = (x < LOWER_CORNER[0]) & (y > 1 - LOWER_CORNER[1])
    return strip | upper | lower


def middle() -> np.ndarray:
    """bool (64, 64): the part that is blacked out."""
    across = (np.arange(SIDE) + 0.5) / SIDE
    inside = (across > MIDDLE) & (across < 1 - MIDDLE)
    return inside[:, None] & inside[None, :]


def coarse(thumbnail: np.ndarray) -> np.ndarray:
    """8 x 8 mean grey levels and the roots of a histogram of 16 bins: float (80,)."""
    levels = cv2.resize(thumbnail, (8, 8), interpolation=cv2.INTER_AREA).ravel()
    return np.concatenate([levels, np.sqrt(np.bincount(thumbnail.ravel() // 16, minlength=16))])


def metadata(records: pd.DataFrame) -> np.ndarray:
    """Age, follow-up number (and whether it is above 0), sex, view, scanner and each reader: float (N, columns)."""
    import pandas as pd

    columns = []
    for name in ("age", "follow_up"):
        if name in records:
            values = pd.to_numeric(records[name], errors="coerce").astype(float)
            columns += [values.fillna(values.median()).fillna(0), values.isna()]
            columns += [values > 0] if name == "follow_up" else []
    for name in ("sex", "view", "scanner"):
        if name in records:
            columns += [records[name] == value for value in sorted(records[name].dropna().unique())]
    if "reader" in records:  # several readers of a scan are in one text
        readers = records["reader"].fillna("").str.get_dummies(" ")
        columns += [readers[name] for name in readers]
    return (
        np.column_stack([np.asarray(column, float) for column in columns]) if columns else np.zeros((len(records), 0))
    )


def standardised(features: np.ndarray) -> np.ndarray:
    """Each column with mean 0 and standard deviation 1; a constant one is 0."""
    features = features - features.mean(axis=0)
    spread = features.std(axis=0)
    return features / np.where(spread > 1e-9, spread, 1)


def principal(values: np.ndarray, components: int = COMPONENTS) -> np.ndarray:
    """The first principal components of standardised columns, scaled together: float (N, components)."""
    from sklearn.decomposition import PCA

    values = values.astype(np.float32)
    values = (values - values.mean(axis=0)) / (values.std(axis=0) + 1)
    turned = PCA(min(components, *values.shape), random_state=0).fit_transform(values)
    return turned / max(float(turned[:, 0].std()), 1e-9)


def unseen_scores(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Scores (N, classes) of ridge regressions on five folds by group, each for the scans that it was not fitted to.

    `labels` are 1, 0, or NaN where unknown: such a scan is not fitted to in that class. The penalty of each class is
    chosen by leave-one-out cross-validation. The fold's base rate is not part of the score: it is low if the class is
    frequent among the scans left out.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import GroupKFold

    scores = np.zeros(labels.shape)
    folds = min(FOLDS, len(np.unique(groups)))
    if folds < 2:
        return scores
    labels = np.asarray(labels, float)
    unknown = np.isnan(labels)
    # Classes that are known of the same scans are fitted together, which is faster.
    kinds = np.unique(unknown, axis=1, return_inverse=True)[1].ravel()
    for train, test in GroupKFold(folds, shuffle=True, random_state=seed).split(features, groups=groups):
        for kind in range(kinds.max() + 1):
            columns = np.flatnonzero(kinds == kind)
            fit = train[~unknown[train, columns[0]]]
            if len(fit) > 1:
                model = RidgeCV(FREEDOMS, alpha_per_target=True).fit(features[fit], labels[np.ix_(fit, columns)])
                slopes = model.coef_.reshape(len(columns), -1)
                scores[np.ix_(test, columns)] = (features[test] - features[fit].mean(axis=0)) @ slopes.T
    return scores


def auroc_interval(
    labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, *, draws: int = BOOTSTRAPS, seed: int = 0
) -> tuple[float | None, float | None, float | None]:
    """AUROC and its 95 % interval by bootstrap over groups; three None if fewer than ten groups are on a side.

    If all draws are equal, as at an AUROC of 1, the bound is the exact binomial limit for the groups of the rarer side.
    """
    place = np.unique(groups, return_inverse=True)[1]
    if (rarer := min(len(np.unique(place[labels])), len(np.unique(place[~labels])))) < FEWEST:
        return None, None, None
    rng = np.random.default_rng(seed)
    count = place.max() + 1
    drawn = []
    for start in range(0, draws, 50):
        times = rng.multinomial(count, np.full(count, 1 / count), min(50, draws - start))
        drawn.append(ranking(labels, scores, times[:, place])[0])
    auroc = float(ranking(labels, scores, np.ones((1, len(labels))))[0][0])
    low, high = np.nanquantile(np.concatenate(drawn), [0.025, 0.975])
    low, high = widened(float(low), float(high), auroc, rarer)
    return auroc, low, high


class Probe(NamedTuple):
    """What one probe looks at, float (N, features), standardised; its column's title; the AUROC that is an alarm."""

    title: str
    limit: float
    features: Callable[[Fingerprints, pd.DataFrame], np.ndarray]


def _thumbnails(prints: Fingerprints, records: pd.DataFrame) -> np.ndarray:
    return standardised(np.stack([coarse(thumbnail) for thumbnail in prints.thumbnails]))


def _dimensions(prints: Fingerprints, records: pd.DataFrame) -> np.ndarray:
    heights, widths = prints.shapes.T.astype(float)
    return standardised(np.column_stack([np.log(heights), np.log(widths), np.log(heights / widths)]))


PROBES = {
    "border": Probe("border and corners", 0.6, lambda prints, records: principal(prints.thumbnails[:, border()])),
    "centre_blacked_out": Probe(
        "centre blacked out", 0.9, lambda prints, records: principal(prints.thumbnails[:, ~middle()])
    ),
    "thumbnail": Probe("8 × 8 and histogram", np.inf, _thumbnails),
    "metadata": Probe(
        "age, sex, view, follow-up, scanner, readers", 0.6, lambda prints, records: standardised(metadata(records))
    ),
    "dimensions": Probe("height and width", 0.6, _dimensions),
}
