"""The quick gradient of depthwise kernels is TensorFlow's own; runs where that is the backend."""

import keras
import numpy as np
import pytest

from lungkeras.models import depthwise, layers

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow alone")


def _learned(layer, inputs):
    """Outputs, then the gradients of their weighted sum by inputs, kernel and bias."""
    import tensorflow as tf

    variable = tf.Variable(inputs)
    with tf.GradientTape() as tape:
        outputs = layer(variable)
        loss = tf.reduce_sum(outputs * np.random.default_rng(5).normal(size=outputs.shape).astype("float32"))
    return [outputs, *tape.gradient(loss, [variable, *(weight.value for weight in layer.trainable_variables)])]


# Maps smaller than the kernel, of one pixel, of odd and unequal sides; an even number of blocks, and one that overlaps.
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("taps", [3, 4, 5, 6, 7])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 4), (5, 8), (2, 7)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_outputs_and_gradients_are_those_of_keras(size, taps, stride, padding, monkeypatch):
    if padding == "valid" and min(size) < taps:
        pytest.skip("no output")
    monkeypatch.setattr(depthwise, "is_quick", lambda *_: True)
    theirs, ours = (
        kind(taps, strides=stride, padding=padding, activation="relu")
        for kind in (keras.layers.DepthwiseConv2D, layers.DepthwiseConv2D)
    )
    generator = np.random.default_rng(3)
    inputs = generator.normal(size=(3, *size, 4)).astype("float32")
    for layer in (theirs, ours):
        layer.build(inputs.shape)
    ours.set_weights([generator.normal(size=weight.shape) for weight in theirs.get_weights()])
    theirs.set_weights(ours.get_weights())
    for expected, received in zip(_learned(theirs, inputs), _learned(ours, inputs), strict=True):
        np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)


def test_it_replaces_keras_only_if_it_is_faster(monkeypatch):
    asked = []
    monkeypatch.setattr(depthwise, "convolve", lambda inputs, *_: asked.append(inputs.shape[1]) or inputs)
    for size, taps in ((2, 3), (8, 3), (2, 5), (8, 5), (64, 5)):
        layers.DepthwiseConv2D(taps, padding="same", use_bias=False)(np.zeros((1, size, size, 2), "float32"))
    assert asked == [2, 2, 8]
