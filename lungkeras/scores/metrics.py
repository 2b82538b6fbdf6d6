"""From logits and probabilities to scores: loss, decisions, F1, AUROC, confusion.

Labels are 0-or-1 arrays of shape (scans, classes); in a multiclass task each row holds a single 1. In a multilabel task
a label may be NaN: it is unknown, and no score counts it. Logits and probabilities are float arrays of the same shape,
columns in the order of the dataset's classes. If one of these is NaN or infinite, as after divergence, nothing is
decided, and scores are NaN.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

THRESHOLD = 0.5


def probabilities(logits: np.ndarray, task: str) -> np.ndarray:
    """Softmax (multiclass) or sigmoid (multilabel) of logits: float32, computed in float64, stable for large logits."""
    logits = np.asarray(logits, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # of infinities
        if task == "multiclass":
            return np.exp(_log_softmax(logits)).astype(np.float32)
        return np.exp(-np.logaddexp(0.0, -logits)).astype(np.float32)


def cross_entropy(labels: np.ndarray, logits: np.ndarray, task: str, class_weights: np.ndarray | None = None) -> float:
    """The mean loss that training minimises, from logits, in float64.

    Multiclass: categorical cross-entropy, mean over scans. Multilabel: binary cross-entropy, mean over all known labels
    (NaN if there are none), where `class_weights` (classes,) multiplies the loss of positive labels, as `pos_weight` of
    PyTorch's BCEWithLogitsLoss does. Raises ValueError for weights in a multiclass task, where the study has none.
    """
    labels, logits = np.asarray(labels, dtype=np.float64), np.asarray(logits, dtype=np.float64)
    if not np.isfinite(logits).all():
        return float("nan")
    if task == "multiclass":
        if class_weights is not None:
            raise ValueError(
                "cross_entropy: class weights belong to the multilabel task. Received some for multiclass."
            )
        return float(-(labels * _log_softmax(logits)).sum(axis=1).mean())
    weights = 1.0 if class_weights is None else np.asarray(class_weights, dtype=np.float64)
    positive, negative = np.logaddexp(0.0, -logits), np.logaddexp(0.0, logits)
    each, known = weights * labels * positive + (1.0 - labels) * negative, ~np.isnan(labels)
    return float(each.mean()) if known.all() else _mean(each[known])


def positive_weights(labels: np.ndarray) -> np.ndarray:
    """Negatives over positives of each class, float32 (classes,); 1 for a class without a positive."""
    positives, negatives = ((np.asarray(labels) == side).sum(axis=0, dtype=np.float64) for side in (1, 0))
    return np.where(positives > 0, negatives / np.maximum(positives, 1.0), 1.0).astype(np.float32)


def known_only(labels: np.ndarray, decided: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and decisions, int (scans, classes), with 0 in both where F1, precision and recall should ignore them.

    These are unknown labels, and whole classes that can't be scored: some of their labels are unknown, and none of the
    others is 1, or none is 0. These scores ignore true negatives.
    """
    labels, decided = np.asarray(labels), np.asarray(decided)
    known = ~np.isnan(labels)
    if known.all():
        return labels.astype(int), decided.astype(int)
    known &= known.all(axis=0) | ((labels == 1).any(axis=0) & (labels == 0).any(axis=0))
    return np.where(known, labels, 0).astype(int), np.where(known, decided, 0).astype(int)


def decide(probabilities: np.ndarray, task: str, threshold: float = THRESHOLD) -> np.ndarray:
    """Decisions as an int array of 0 and 1, shape (scans, classes).

    Multiclass: 1 for the most probable class alone, the first of equals. Multilabel: 1 if the probability is at
    least `threshold`, so 0 calls every class and anything above 1 calls none.
    """
    probabilities = np.asarray(probabilities)
    if task == "multiclass":
        return np.eye(probabilities.shape[1], dtype=int)[probabilities.argmax(axis=1)]
    return (probabilities >= threshold).astype(int)


def macro_f1(labels: np.ndarray, probabilities: np.ndarray, task: str) -> float:
    """The mean F1 of the decisions, over the classes that occur in the labels; NaN if none does.

    A class without a scan can't be found, so its F1 says nothing about the model: it is left out, as is one that
    `known_only` can't score.
    """
    labels, decided = known_only(labels, decide(probabilities, task))
    present = labels.any(axis=0)
    if not np.isfinite(probabilities).all() or not present.any():
        return float("nan")
    from sklearn.metrics import f1_score

    f1 = f1_score(labels, decided, average=None, zero_division=0)
    return float(np.atleast_1d(f1)[present].mean())


def per_class(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], task: str) -> dict[str, dict]:
    """{class: {f1, precision, recall, auroc, support, known}}; support counts the scans that have the class.

    `known` counts the scans with a known label: all of them if no label is NaN. Recall and F1 of a class without a scan
    are NaN, and so are all scores of one that `known_only` can't score. An AUROC is NaN if it is undefined: no
    positive, no negative, or a probability that is not a number.
    """
    from sklearn.metrics import precision_recall_fscore_support

    labels = np.asarray(labels)
    own, decided = known_only(labels, decide(probabilities, task))
    precision, recall, f1, support = precision_recall_fscore_support(own, decided, average=None, zero_division=0)
    if not np.isfinite(probabilities).all():
        precision = recall = f1 = np.full(len(support), np.nan)
    absent, partly = support == 0, np.isnan(labels).any(axis=0)
    recall, f1 = np.where(absent, np.nan, recall), np.where(absent, np.nan, f1)
    precision = np.where(absent & partly, np.nan, precision)
    return {
        name: {
            "f1": float(f1[index]),
            "precision": float(precision[index]),
            "recall": float(recall[index]),
            "auroc": _auroc(labels[:, index], np.asarray(probabilities)[:, index]),
            "support": int((labels[:, index] == 1).sum()),
            "known": int((~np.isnan(labels[:, index])).sum()),
        }
        for index, name in enumerate(classes)
    }


def scores(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], task: str) -> dict:
    """{macro_f1, macro_auroc, per_class}; macro_auroc is the mean of the defined AUROCs, NaN if none is defined."""
    each = per_class(labels, probabilities, classes, task)
    defined = [entry["auroc"] for entry in each.values() if not np.isnan(entry["auroc"])]
    return {
        "macro_f1": macro_f1(labels, probabilities, task),
        "macro_auroc": float(np.mean(defined)) if defined else float("nan"),
        "per_class": each,
    }


def confusion(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """The confusion matrix (int) of a multiclass task: true classes as rows, predicted classes as columns."""
    counts = np.asarray(labels).astype(int).T @ decide(probabilities, "multiclass")
    return pd.DataFrame(
        counts, index=pd.Index(classes, name="true"), columns=pd.Index(classes, name="predicted"), dtype=int
    )


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _auroc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    known = ~np.isnan(labels)
    labels, probabilities = labels[known].astype(int), probabilities[known]
    if labels.min(initial=1) == labels.max(initial=0) or not np.isfinite(probabilities).all() or len(labels) == 0:
        return float("nan")
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, probabilities))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
