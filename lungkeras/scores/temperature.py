"""Calibrates a model's probabilities: the loss's weights are removed, then a temperature is applied.

A binary loss that weights positive labels by w has its minimum at the logit log(w p / (1 - p)), so log(w) is subtracted
from each logit (Elkan 2001, "The foundations of cost-sensitive learning"): nothing is fitted. The result is divided by
a temperature (Guo et al. 2017, arXiv:1706.04599), fitted on the validation split: one for exclusive classes, one per
class for findings.

Decisions remain the model's own: the most likely class, and each finding whose logit, with the weights, is above 0. The
weights make rare findings called more often than their probability alone would.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lungkeras.scores import metrics

TEMPERATURES = (0.05, 20.0)  # a fit at either end means that the validation split can't determine it
LEAST_GAIN = 1e-6  # nats
TINY = 1e-12


def logits_of(probabilities: np.ndarray, task: str) -> np.ndarray:
    """Logits, float64, whose softmax (multiclass) or sigmoid (multilabel) are the probabilities."""
    given = np.asarray(probabilities, dtype=np.float64)
    logarithms = np.log(np.maximum(given, TINY))
    return logarithms if task == "multiclass" else logarithms - np.log(np.maximum(1 - given, TINY))


def scaled(probabilities: np.ndarray, task: str, temperature: float) -> np.ndarray:
    """The probabilities, float32, after a model's logits are divided by the temperature."""
    return metrics.probabilities(logits_of(probabilities, task) / temperature, task)


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray, task: str) -> float:
    """The temperature with the lowest cross-entropy; above 1, the model was overconfident.

    1 if it can't be estimated: no known label, probabilities that are NaN or infinite, or a minimum at the end of the
    search range, as when all of a few scans are correct.
    """
    if np.isnan(labels).all() or not np.isfinite(probabilities).all():
        return 1.0
    from scipy.optimize import minimize_scalar

    logits, ends = logits_of(probabilities, task), np.log(TEMPERATURES)

    def loss(logarithm: float) -> float:
        return metrics.cross_entropy(labels, logits / np.exp(logarithm), task)

    found = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x)) if found.fun < min(map(loss, ends)) - LEAST_GAIN else 1.0


@dataclass(frozen=True)
class Correction:
    """The correction from a model's logits to those of calibrated probabilities; one number per class each."""

    prior_shift: tuple[float, ...]
    temperatures: tuple[float, ...]

    def logits(self, logits: np.ndarray) -> np.ndarray:
        """The corrected logits, float64 (scans, classes)."""
        return (np.asarray(logits, dtype=np.float64) - self.prior_shift) / self.temperatures

    def probabilities(self, probabilities: np.ndarray, task: str) -> np.ndarray:
        """The corrected probabilities, float32 (scans, classes), from the model's own."""
        return metrics.probabilities(self.logits(logits_of(probabilities, task)), task)

    @property
    def temperature(self) -> float:
        """One number for all classes: the geometric mean of their temperatures."""
        return float(np.exp(np.mean(np.log(self.temperatures))))

    def as_dict(self) -> dict:
        """As metrics.json and exports hold it."""
        own = {"prior_shift": list(self.prior_shift), "temperatures": list(self.temperatures)}
        return {"temperature": self.temperature} | own


def no_correction(classes: int) -> Correction:
    return Correction((0.0,) * classes, (1.0,) * classes)


def fit_correction(
    labels: np.ndarray, probabilities: np.ndarray, task: str, class_weights: np.ndarray | None = None
) -> Correction:
    """The correction for a model trained with `class_weights` (None: without), fitted on a validation split.

    `labels` and `probabilities`, the model's own, have the shape (scans, classes).
    """
    classes = labels.shape[1]
    if task == "multiclass":
        return Correction((0.0,) * classes, (fit_temperature(labels, probabilities, task),) * classes)
    shift = prior_shift(class_weights, classes)
    shifted = Correction(shift, (1.0,) * classes).probabilities(probabilities, task)
    columns = (slice(place, place + 1) for place in range(classes))
    return Correction(shift, tuple(fit_temperature(labels[:, own], shifted[:, own], task) for own in columns))


def prior_shift(class_weights: np.ndarray | None, classes: int) -> tuple[float, ...]:
    """How much the weights of positive labels raise the logits: their logarithms; 0 for a weight of 0."""
    if class_weights is None:
        return (0.0,) * classes
    weights = np.asarray(class_weights, dtype=np.float64)
    return tuple(np.log(np.where(weights > 0, weights, 1.0)).tolist())


def read_correction(about: Mapping, classes: int) -> Correction:
    """The correction in `about` (metrics.json, or the file next to an export); none if it has none.

    A file with a single temperature and no shift uses that temperature for all classes. Raises ValueError unless the
    numbers are one per class, finite, and above 0 for temperatures.
    """
    shift = tuple(map(float, about.get("prior_shift", (0.0,) * classes)))
    temperatures = tuple(map(float, about.get("temperatures", (float(about.get("temperature", 1.0)),) * classes)))
    if len(shift) != classes or not np.isfinite(shift).all():
        raise ValueError(f"prior_shift: expected {classes} numbers")
    if len(temperatures) != classes or not all(0 < value < float("inf") for value in temperatures):
        raise ValueError(f"temperature: expected {classes} numbers above 0")
    return Correction(shift, temperatures)
