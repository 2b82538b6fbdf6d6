"""What a model gives for scans: logits, or whatever its output is."""

import numpy as np

from lungkeras.training.pipeline import Batches, evaluation_batches

FEW_SCANS = 256


def outputs(model, images: np.ndarray, *, batch_size: int = 64) -> np.ndarray:
    """What a keras.Model gives, float32 of shape (N, ...), for uint8 images of shape (N, size, size), in their order.

    On TensorFlow a few hundred scans are answered sooner without a graph, which takes seconds to trace.
    """
    import keras

    if keras.backend.backend() == "tensorflow" and len(images) <= FEW_SCANS:
        batches = Batches(images, None, batch_size)
        return np.concatenate([np.asarray(model(batches[step], training=False)) for step in range(len(batches))])
    return np.asarray(model.predict(evaluation_batches(images, batch_size=batch_size), verbose=0))
