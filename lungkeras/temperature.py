"""One number that makes a model's probabilities mean what they say: temperature scaling, fitted on validation.

All logits are divided by it (Guo et al. 2017, arXiv:1706.04599). It makes a model surer or less sure and changes no
decision: neither the likeliest class nor what lies above one half.
"""

import numpy as np

from lungkeras import metrics

TEMPERATURES = (0.05, 20.0)  # a fit at either end means that the validation split does not tell
LEAST_GAIN = 1e-6  # nats
TINY = 1e-12


def logits_of(probabilities: np.ndarray, task: str) -> np.ndarray:
    """Logits, float64, whose softmax (multiclass) or sigmoid (multilabel) are the probabilities."""
    given = np.asarray(probabilities, dtype=np.float64)
    logarithms = np.log(np.maximum(given, TINY))
    return logarithms if task == "multiclass" else logarithms - np.log(np.maximum(1 - given, TINY))


def scaled(probabilities: np.ndarray, task: str, temperature: float) -> np.ndarray:
    """The probabilities, float32, that a model gives once its logits are divided by the temperature."""
    return metrics.probabilities(logits_of(probabilities, task) / temperature, task)


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray, task: str) -> float:
    """The temperature of the least cross-entropy; above 1, the model was too sure.

    1 where it can't be told: no scan, probabilities that are no numbers, or a least value at the end of what is
    searched, as when the answers to all of few scans are right.
    """
    if len(labels) == 0 or not np.isfinite(probabilities).all():
        return 1.0
    from scipy.optimize import minimize_scalar

    logits, ends = logits_of(probabilities, task), np.log(TEMPERATURES)

    def loss(logarithm: float) -> float:
        return metrics.cross_entropy(labels, logits / np.exp(logarithm), task)

    found = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x)) if found.fun < min(map(loss, ends)) - LEAST_GAIN else 1.0
