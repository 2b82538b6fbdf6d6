"""The fused batch norm is keras' own, to the moving statistics; runs on the backend that KERAS_BACKEND names."""

import keras
import numpy as np
import pytest

from lungkeras import layers

BACKEND = keras.backend.backend()
SHAPES = [(8, 6, 6, 5), (1, 5, 5, 3), (3, 1, 1, 4), (1, 1, 1, 2)]


def _pair(shape, **options):
    """The same layer twice, keras' own and the fused one, with equal weights that are not the initial ones."""
    pair = keras.layers.BatchNormalization(**options), layers.BatchNormalization(**options)
    generator = np.random.default_rng(7)
    channels = shape[-1]
    weights = [
        generator.normal(1, 0.2, channels),
        *generator.normal(0, 1, (2, channels)),
        generator.uniform(0.5, 2, channels),
    ]
    for layer in pair:
        layer.build((None, *shape[1:]))
        layer.set_weights(weights)
    return pair


def _call(layer, inputs, training):
    """Outputs, then the gradients of their weighted sum by inputs, gamma and beta."""
    direction = np.random.default_rng(11).normal(size=inputs.shape).astype("float32")
    parameters = [layer.gamma, layer.beta]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        variable = tf.Variable(inputs)
        with tf.GradientTape() as tape:
            outputs = layer(variable, training=training)
            loss = tf.reduce_sum(outputs * direction)
        values = [outputs, *tape.gradient(loss, [variable, *(parameter.value for parameter in parameters)])]
    elif BACKEND == "torch":
        import torch

        variable = torch.tensor(inputs, requires_grad=True)
        tensors = [parameter.value for parameter in parameters]
        outputs = layer(variable, training=training)
        values = [outputs, *torch.autograd.grad((outputs * torch.tensor(direction)).sum(), [variable, *tensors])]
    else:
        pytest.skip(f"no fused kernel on {BACKEND}: the layer is keras' own there")
    return [keras.ops.convert_to_numpy(value) for value in values]


def _assert_close(expected, received):
    received, expected = (keras.ops.convert_to_numpy(value) for value in (received, expected))
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
def test_outputs_gradients_and_moving_statistics_are_those_of_keras(shape, training):
    plain, fused = _pair(shape, momentum=0.9, epsilon=1e-5)
    generator = np.random.default_rng(3)
    for step in range(4):
        inputs = generator.normal(0.5, 2.0, shape).astype("float32")
        expected, received = _call(plain, inputs, training), _call(fused, inputs, training)
        for name, ours, theirs in zip(["outputs", "inputs", "gamma", "beta"], received, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5, err_msg=f"{name} at step {step}")
        for ours, theirs in zip(fused.get_weights(), plain.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5, err_msg=f"weights after step {step}")


def test_a_channel_without_variance_is_divided_by_the_stated_epsilon():
    plain, fused = _pair((2, 4, 4, 3), epsilon=1e-5)
    inputs = np.linspace(-1e-4, 1e-4, 96, dtype="float32").reshape(2, 4, 4, 3)
    _assert_close(plain(inputs, training=True), fused(inputs, training=True))


def test_a_frozen_layer_runs_in_inference_mode():
    plain, fused = _pair((4, 3, 3, 2))
    plain.trainable = fused.trainable = False
    before = fused.get_weights()
    inputs = np.random.default_rng(0).normal(size=(4, 3, 3, 2)).astype("float32")
    _assert_close(plain(inputs, training=True), fused(inputs, training=True))
    for old, new in zip(before, fused.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_keeps_its_statistics_in_float32(policy):
    if (BACKEND, policy) == ("torch", "mixed_float16"):
        pytest.skip("torch has no batch norm in float16 on every CPU")
    plain, fused = _pair((8, 4, 4, 3), dtype=policy)
    inputs = np.random.default_rng(5).normal(300, 50, (8, 4, 4, 3)).astype("float32")
    outputs = [layer(inputs, training=True) for layer in (plain, fused)]
    assert outputs[0].dtype == outputs[1].dtype
    expected, received = (keras.ops.convert_to_numpy(keras.ops.cast(value, "float32")) for value in outputs)
    np.testing.assert_allclose(received, expected, atol=0.03)
    for ours, theirs in zip(fused.get_weights(), plain.get_weights(), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=1e-3)


@pytest.mark.parametrize(
    ("shape", "options"), [((6, 4), {}), ((2, 3, 4, 4), {"axis": 1}), ((2, 3, 3, 4), {"scale": False, "center": False})]
)
def test_what_the_kernel_does_not_know_takes_the_path_of_keras(shape, options):
    inputs = np.random.default_rng(1).normal(size=shape).astype("float32")
    plain, fused = keras.layers.BatchNormalization(**options), layers.BatchNormalization(**options)
    _assert_close(plain(inputs, training=True), fused(inputs, training=True))


def test_a_model_is_plain_within_the_block_and_fused_behind_it():
    model = keras.Sequential([keras.Input((4, 4, 2)), layers.BatchNormalization(name="norm")])
    norm = model.get_layer("norm")
    with pytest.raises(RuntimeError), layers.plain(model):
        assert type(norm) is keras.layers.BatchNormalization
        raise RuntimeError
    assert type(norm) is layers.BatchNormalization
