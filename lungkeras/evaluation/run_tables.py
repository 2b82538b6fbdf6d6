"""Runs -> the data of tables and figures; a linear model to compare with.

Scores are computed from predictions.parquet, so they can be checked without a model.
"""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lungkeras.evaluation.comparison import macro_scores
from lungkeras.preparation.folder import Prepared
from lungkeras.scores import metrics
from lungkeras.study.runs import CURVES, Run, patients_of, split_of

RUN_COLUMNS = ["run", "dataset", "backbone", "weights", "learning_rate"]
INTERVALS = [
    f"{name}{end}" for name in ("macro_f1", "macro_auroc", "macro_average_precision") for end in ("", "_low", "_high")
]
SCORE_COLUMNS = [*INTERVALS, "seconds_per_epoch", "best_epoch", "diverged", "test_scans", "test_patients"]
BASELINE_SIZE = 64
BASELINE_FREEDOMS = (1e-4, 1e-3, 1e-2, 1e-1)


def histories(runs: Mapping[str, Run]) -> pd.DataFrame:
    """The curves of all runs, one row per epoch.

    Columns: run, dataset, backbone, weights, rate (the initial learning rate), diverged (the epoch in which training
    diverged, else NaN), epoch, loss, macro_f1, val_loss, val_macro_f1.
    """
    parts = [
        run.history[CURVES].assign(
            run=name,
            dataset=run.dataset,
            backbone=run.backbone,
            weights=run.weights,
            rate=run.params["learning_rate"],
            diverged=run.diverged,
        )
        for name, run in runs.items()
    ]
    columns = ["run", "dataset", "backbone", "weights", "rate", "diverged", *CURVES]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def results(runs: Mapping[str, Run]) -> pd.DataFrame:
    """One row per run, with RUN_COLUMNS and SCORE_COLUMNS.

    Scores are those of the test split, with 95 % intervals by bootstrap over its patients. seconds_per_epoch is the
    median, without the first epoch where there are more: that one holds the tracing of the graph. `diverged` is the
    epoch in which training diverged, else NaN; the scores are those of the model that was kept.
    """
    return pd.DataFrame([_result(run) for run in runs.values()], columns=RUN_COLUMNS + SCORE_COLUMNS)


def _result(run: Run) -> dict:
    (labels, probabilities), patients = split_of(run, "test"), patients_of(run, "test")
    seconds = run.history["seconds"]
    return {
        "run": run.name,
        "dataset": run.dataset,
        "backbone": run.backbone,
        "weights": run.weights,
        "learning_rate": run.params["learning_rate"],
        **macro_scores(labels, probabilities, patients, run.task),
        "seconds_per_epoch": float(seconds[1:].median() if len(seconds) > 1 else seconds.median()),
        "best_epoch": run.best_epoch,
        "diverged": run.diverged,
        "test_scans": len(labels),
        "test_patients": len(set(patients)),
    }


def linear_probabilities(prepared: Prepared, seed: int = 0) -> np.ndarray:
    """Predictions of a linear classifier on the pixels, a baseline, for the test scans: float (scans, classes).

    Logistic regression on standardised pixels at 64 x 64 or less (areas averaged), its penalty chosen by the macro F1
    of the validation split; for a multilabel dataset one regression per class, balanced as the networks' loss is, on
    the scans whose label is known. If there are fewer scans than pixels, pixels are first rotated to all of their
    principal axes. This changes no prediction of a regression with an L2 penalty, and leaves no more columns than
    scans.
    """
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    pixels = {split: _pixels(prepared.images[split]) for split in ("train", "val", "test")}
    labels = {split: prepared.labels(split) for split in pixels}
    multiclass = prepared.task == "multiclass"
    if multiclass and len(np.unique(labels["train"].argmax(axis=1))) == 1:
        return np.tile(labels["train"][0], (len(pixels["test"]), 1))
    macro_f1, found = [], []
    # One thread: on shared cores, BLAS threads that wait for each other take thirty times as long for such a small
    # task.
    with threadpool_limits(1), warnings.catch_warnings():
        # Two hundred steps are plenty for a baseline on separable training data, where the optimum lies far away.
        warnings.simplefilter("ignore", ConvergenceWarning)
        scans, places = pixels["train"].shape
        rotate = PCA(random_state=seed) if scans < places else "passthrough"
        rotation = make_pipeline(StandardScaler(), rotate).fit(pixels["train"])
        columns = {split: rotation.transform(pixels[split]) for split in pixels}
        for freedom in BASELINE_FREEDOMS:
            linear = LogisticRegression(C=freedom, max_iter=200, class_weight=None if multiclass else "balanced")
            asked = [columns[split] for split in ("val", "test")]
            answers = of_every_class(linear, columns["train"], labels["train"], prepared.task, asked)
            macro_f1.append(metrics.macro_f1(labels["val"], answers[0], prepared.task))
            found.append(answers[1])
    return found[int(np.argmax(macro_f1))]


def of_every_class(linear, columns, labels: np.ndarray, task: str, asked: Sequence) -> list[np.ndarray]:
    """Predictions of a fitted scikit-learn model for each array of `asked`: (scans, classes).

    `columns` and `labels` (scans, classes) are those of the training scans. Multiclass: one model, 0 for a class that
    no training scan has. Multilabel: a copy of the model for each class, fitted on the scans whose label is known;
    if these labels are all equal, that label.
    """
    if task == "multiclass":
        model = linear.fit(columns, labels.argmax(axis=1))
        answers = [np.zeros((len(each), labels.shape[1])) for each in asked]
        for each, given in zip(asked, answers, strict=True):
            given[:, np.asarray(model.classes_, dtype=int)] = model.predict_proba(each)
        return answers
    from sklearn.base import clone

    found = []
    for own in labels.T:
        rows = ~np.isnan(own)
        signs = np.unique(own[rows])
        if len(signs) < 2:
            found.append([np.full(len(each), signs[0] if len(signs) else 0.0) for each in asked])
            continue
        model = clone(linear).fit(columns[rows], own[rows].astype(int))
        found.append([model.predict_proba(each)[:, 1] for each in asked])
    return [np.stack(parts, axis=1) for parts in zip(*found, strict=True)]


def _pixels(images: np.ndarray) -> np.ndarray:
    size = min(BASELINE_SIZE, images.shape[1])
    return np.stack([resized(image, size).ravel() for image in images]).astype(np.float32)


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """A scan of another size, areas averaged: uint8 (size, size)."""
    import cv2

    return image if image.shape == (size, size) else cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
