"""The loss of a run and its score of an epoch: cross-entropy of logits, macro F1."""

import keras
import numpy as np
from keras import ops

from lungkeras.preparation.folder import Prepared
from lungkeras.scores import metrics
from lungkeras.study.params import Params


def class_weights(prepared: Prepared, params: Params) -> np.ndarray | None:
    """The weight of a positive label per class, from the training split; None if the loss is unweighted."""
    weighs = prepared.task == "multilabel" and params.class_weights
    return metrics.positive_weights(prepared.labels("train")) if weighs else None


def known_share(prepared: Prepared) -> float:
    """The share of the training split's labels that are known, in [0, 1]."""
    return 1.0 - float(np.isnan(prepared.labels("train")).mean())


def loss_function(task: str, class_weights: np.ndarray | None, known: float = 1.0):
    """The loss as Keras compiles it: (labels, logits) -> (batch,); its mean is `metrics.cross_entropy`.

    A NaN label adds nothing. `known` is the share of known labels over all batches: with it, a known label has the same
    weight in every batch and on every device, and the mean over an epoch is that of `metrics.cross_entropy`.
    """
    if task == "multiclass":
        return keras.losses.CategoricalCrossentropy(from_logits=True)

    def of_each(labels, logits):
        weights = 1.0 if class_weights is None else ops.convert_to_tensor(class_weights, dtype=logits.dtype)
        return weights * labels * ops.softplus(-logits) + (1.0 - labels) * ops.softplus(logits)

    def weighted_binary_cross_entropy(labels, logits):
        return ops.mean(of_each(labels, logits), axis=-1)

    def of_known_labels(labels, logits):
        unknown = ops.isnan(labels)
        # NaN is replaced before the arithmetic: the gradient would be NaN too.
        each = ops.where(unknown, 0.0, of_each(ops.where(unknown, 0.0, labels), logits))
        return ops.mean(each, axis=-1) / known

    return weighted_binary_cross_entropy if known == 1.0 else of_known_labels


class MacroF1(keras.metrics.F1Score):
    """Macro F1 of logits over an epoch: the largest logit decides (multiclass), or each logit above 0 (multilabel).

    A NaN label counts as a true negative, which F1 ignores.
    """

    def __init__(self, task: str, name: str = "macro_f1"):
        super().__init__(average="macro", threshold=None if task == "multiclass" else 0.5, name=name)

    def update_state(self, labels, logits, sample_weight=None):
        if self.threshold is not None:
            unknown = ops.isnan(labels)
            labels, logits = ops.where(unknown, 0.0, labels), ops.where(unknown, 0.0, ops.sigmoid(logits))
        return super().update_state(labels, logits, sample_weight)
