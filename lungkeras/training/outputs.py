"""The outputs of a model for scans: logits, or any other output."""

import numpy as np

from lungkeras.training.pipeline import Batches, evaluation_batches, evaluation_steps

FEW_SCANS = 256


def outputs(model, images: np.ndarray, *, batch_size: int = 64) -> np.ndarray:
    """The outputs of a keras.Model, float32 of shape (N, ...), for uint8 images of shape (N, size, size), in order.

    On TensorFlow a few hundred scans are faster without a graph, and more of them with one for batches of any length:
    `predict` traces a second graph for the last batch.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        return np.asarray(model.predict(evaluation_batches(images, batch_size=batch_size), verbose=0))
    import tensorflow as tf

    batches = Batches(images, None, batch_size)
    shape = tf.TensorSpec((None, *model.input_shape[1:]), model.inputs[0].dtype)

    def answer(batch):
        return model(batch, training=False)

    answer = answer if len(images) <= FEW_SCANS else tf.function(answer, input_signature=[shape])
    return np.concatenate([np.asarray(answer(batches[step])) for step in range(len(batches))])


def predict_logits(model, images: np.ndarray, batch_size: int) -> np.ndarray:
    """`outputs` during training: the graph is traced once and used after each epoch.

    float32 of shape (scans, classes), in the order of `images`, uint8 (scans, size, size).
    """
    count = evaluation_steps(images, batch_size=batch_size)
    logits = model.predict(evaluation_batches(images, batch_size=batch_size), steps=count, verbose=0)
    return np.asarray(logits, dtype=np.float32)[: len(images)]
