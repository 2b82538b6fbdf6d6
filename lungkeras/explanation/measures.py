"""Pictures as numbers for each test scan: the purity of its neighbours, and the position of its heat map.

t-SNE and heat maps are read by eye. The same features and maps give numbers that can be averaged, compared between
models, and bootstrapped by patient.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lungkeras.explanation.gradcam import grad_cam
from lungkeras.preparation.folder import Prepared
from lungkeras.scores import metrics
from lungkeras.scores.correlation import row_correlations
from lungkeras.study.runs import Run, split_of

NEIGHBOURS = 10
SCANS_AT_ONCE = 256  # maps in memory, at the size of the scans
COARSE = 16  # pixels per side at which two maps are compared
FEATURE_COLUMNS = ["run", "scan", "patient", "label", "purity", "silhouette"]
HEATMAP_COLUMNS = ["run", "scan", "patient", "label", "correct", "asymmetry", "area", "row"]
AGREEMENT_COLUMNS = ["first", "second", "scan", "patient", "correlation"]


def neighbour_purity(vectors: np.ndarray, labels: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """For each scan, the share of its nearest neighbours (Euclidean) with its label: float (N,) in [0, 1].

    vectors (N, F), labels (N,). Fewer neighbours are used if there are fewer scans; NaN if there are none.
    """
    from sklearn.neighbors import NearestNeighbors

    asked = min(neighbours, len(vectors) - 1)
    if asked < 1:
        return np.full(len(vectors), np.nan)
    # Without query points, the index leaves each scan out of its own neighbours.
    nearest = NearestNeighbors(n_neighbors=asked).fit(vectors).kneighbors(return_distance=False)
    return (np.asarray(labels)[nearest] == np.asarray(labels)[:, None]).mean(axis=1)


def feature_measures(vectors: Mapping[str, np.ndarray], prepared: Prepared) -> pd.DataFrame:
    """Purity of neighbours and silhouette of each test scan among a run's features, with FEATURE_COLUMNS.

    `vectors` are the features of the test split by run, float (N, F), from `explanation.features`.
    """
    from sklearn.metrics import silhouette_samples

    about, truth = _about(prepared)
    parts = [pd.DataFrame(columns=FEATURE_COLUMNS)]
    for run, given in vectors.items():
        found = np.nan_to_num(given, posinf=0.0, neginf=0.0)
        several = 1 < len(set(truth)) < len(truth)
        silhouette = silhouette_samples(found, truth) if several else np.nan
        parts.append(about.assign(run=run, purity=neighbour_purity(found, truth), silhouette=silhouette))
    return pd.concat(parts[1:] or parts, ignore_index=True)[FEATURE_COLUMNS]


def heatmap_measures(
    models: Mapping[str, object], runs: Mapping[str, Run], prepared: Prepared
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The position of each test scan's Grad-CAM map for its true class, and the similarity of maps of two models.

    Returns a table with HEATMAP_COLUMNS (correct: whether the run decides for the true class; the others from
    `map_measures`) and one with AGREEMENT_COLUMNS (correlation of the two maps, NaN if one is flat).
    """
    about, _ = _about(prepared)
    images, classes = prepared.images["test"], (prepared.labels("test") == 1).argmax(axis=1)
    parts, coarse = [pd.DataFrame(columns=HEATMAP_COLUMNS)], {}
    for name, model in models.items():
        labels, probabilities = split_of(runs[name], "test")
        correct = ((labels == 1) & (metrics.decide(probabilities, runs[name].task) == 1)).any(axis=1)
        measured, small = [], []
        for start in range(0, len(images), SCANS_AT_ONCE):
            chosen = slice(start, start + SCANS_AT_ONCE)
            maps = grad_cam(model, np.asarray(images[chosen]), classes[chosen])
            measured.append(map_measures(maps))
            small.append(_coarse(maps))
        coarse[name] = np.concatenate(small)
        parts.append(
            pd.concat([about, pd.concat(measured, ignore_index=True)], axis=1).assign(run=name, correct=correct)
        )
    names = sorted(models)
    agreement = [
        about.assign(first=one, second=other, correlation=row_correlations(coarse[one], coarse[other]))
        for place, one in enumerate(names)
        for other in names[place + 1 :]
    ]
    heatmaps = pd.concat(parts[1:] or parts, ignore_index=True)[HEATMAP_COLUMNS]
    return heatmaps.astype({"correct": int}), pd.concat(
        agreement or [pd.DataFrame(columns=AGREEMENT_COLUMNS)], ignore_index=True
    )[AGREEMENT_COLUMNS]


def heatmaps_of_study(
    models: Mapping[str, object], runs_of: Mapping[str, Mapping[str, Run]], data: Mapping[str, Prepared]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The two tables of `heatmap_measures` over several datasets; `runs_of` and `data` by the dataset's name."""
    found = [
        heatmap_measures({name: models[name] for name in runs}, runs, data[dataset])
        for dataset, runs in runs_of.items()
    ]
    heatmaps, agreement = (pd.concat(parts, ignore_index=True) for parts in zip(*found, strict=True))
    return heatmaps, agreement


def map_measures(maps: np.ndarray) -> pd.DataFrame:
    """For each map (N, H, W) of values in [0, 1], a row with

    asymmetry   |left - right| / (left + right) of its sum: 0 equal on both sides, 1 on one side only
    area        the share of pixels above one half
    row         the mean vertical position, from 0 (top) to 1 (bottom)

    NaN if a map is empty.
    """
    maps = np.asarray(maps, dtype=np.float64)
    height, width = maps.shape[1:]
    total = maps.sum(axis=(1, 2))
    total = np.where(total > 0, total, np.nan)
    left, right = maps[:, :, : width // 2].sum(axis=(1, 2)), maps[:, :, width - width // 2 :].sum(axis=(1, 2))
    sides = np.where(left + right > 0, left + right, np.nan)
    rows = (np.arange(height) + 0.5) / height
    area = np.where(np.isnan(total), np.nan, (maps > 0.5).mean(axis=(1, 2)))
    return pd.DataFrame(
        {"asymmetry": np.abs(left - right) / sides, "area": area, "row": (maps.sum(axis=2) @ rows) / total}
    )


def _about(prepared: Prepared) -> tuple[pd.DataFrame, np.ndarray]:
    """(scan, patient and label of each test scan; the labels alone)."""
    truth = np.array(prepared.classes)[(prepared.labels("test") == 1).argmax(axis=1)]
    return prepared.split("test")[["scan", "patient"]].assign(label=truth), truth


def _coarse(maps: np.ndarray) -> np.ndarray:
    import cv2

    return np.stack([cv2.resize(one, (COARSE, COARSE), interpolation=cv2.INTER_AREA).ravel() for one in maps])
