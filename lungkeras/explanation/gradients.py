"""The gradient of a logit by the activations of a layer, by the differentiation of each backend."""

from collections.abc import Callable

import numpy as np


def gradient_of(head, *, traced: bool = False) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The gradient of a logit of each image by its activations, by the backend's own differentiation.

    `head` is a keras.Model from activations, float32 (N, h, w, C), to logits (N, classes). Returns a function of
    activations and of float32 (N, classes) that is 1 at each image's logit, to float32 of the activations' shape. It is
    `traced` once if that is worth some seconds.
    """
    import keras

    gradient = GRADIENTS[keras.backend.backend()](head, traced)

    def differentiate(activations: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        given = [keras.ops.convert_to_tensor(array) for array in (activations, chosen)]
        return keras.ops.convert_to_numpy(gradient(*given))

    return differentiate


def _score(logits, chosen):
    """The sum of the chosen logits: the images of a batch do not depend on each other."""
    import keras

    return keras.ops.sum(keras.ops.multiply(keras.ops.cast(logits, "float32"), chosen))


def _tensorflow(head, traced: bool) -> Callable:
    import tensorflow as tf

    def gradient(inputs, chosen):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            score = _score(head(inputs, training=False), chosen)
        return tape.gradient(score, inputs)

    shapes = [tf.TensorSpec((None, *tensor.shape[1:])) for tensor in (head.input, head.output)]
    return tf.function(gradient, input_signature=shapes) if traced else gradient


def _torch(head, traced: bool) -> Callable:
    import torch

    def gradient(inputs, chosen):
        inputs = inputs.detach().requires_grad_()
        return torch.autograd.grad(_score(head(inputs, training=False), chosen), inputs)[0]

    return gradient


def _jax(head, traced: bool) -> Callable:
    import jax

    state = [
        [variable.value for variable in group] for group in (head.trainable_variables, head.non_trainable_variables)
    ]
    gradient = jax.grad(lambda inputs, chosen: _score(head.stateless_call(*state, inputs, training=False)[0], chosen))
    return jax.jit(gradient) if traced else gradient


GRADIENTS = {"tensorflow": _tensorflow, "torch": _torch, "jax": _jax}
