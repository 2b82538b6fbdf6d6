"""Our faster layers are keras' own in what they compute; runs on the backend that KERAS_BACKEND names."""

import keras
import numpy as np
import pytest

from lungkeras.models import layers

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
def test_unsupported_cases_use_the_layer_of_keras(shape, options):
    inputs = np.random.default_rng(1).normal(size=shape).astype("float32")
    plain, fused = keras.layers.BatchNormalization(**options), layers.BatchNormalization(**options)
    _assert_close(plain(inputs, training=True), fused(inputs, training=True))


def test_a_model_is_plain_within_the_block_and_fast_behind_it():
    ours = [layers.Conv2D(2, 3, name="conv"), layers.BatchNormalization(name="norm"), layers.DepthwiseConv2D(2)]
    model = keras.Sequential([keras.Input((8, 8, 2)), *ours])
    with pytest.raises(RuntimeError), layers.plain(model):
        assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
        raise RuntimeError
    assert [type(layer) for layer in model.layers] == [type(layer) for layer in ours] == list(map(layers.FAST.get, [
        keras.layers.Conv2D, keras.layers.BatchNormalization, keras.layers.DepthwiseConv2D]))  # fmt: skip


# (height, width), (height, width) of the kernel, strides, padding
CONVOLUTIONS = [
    ((2, 2), (3, 3), (1, 1), "same"),
    ((4, 4), (3, 3), (1, 1), "valid"),
    ((6, 5), (3, 3), (2, 2), "valid"),
    ((5, 6), (5, 5), (2, 2), "same"),
    ((9, 8), (5, 3), (1, 1), "same"),
    ((1, 1), (3, 3), (2, 2), "same"),
    ((7, 9), (1, 1), (2, 2), "valid"),
]


def _drawn(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


@pytest.mark.parametrize(("size", "taps", "strides", "padding"), CONVOLUTIONS)
def test_a_sum_over_taps_is_the_convolution_of_keras(size, taps, strides, padding):
    inputs, options = _drawn(2, *size, 4), {"strides": strides, "padding": padding}
    kernel, depthwise = _drawn(*taps, 4, 6), _drawn(*taps, 4)
    _assert_close(keras.ops.conv(inputs, kernel, **options), layers.sum_over_taps(inputs, kernel, **options))
    _assert_close(
        keras.ops.depthwise_conv(inputs, depthwise[..., None], **options),
        layers.sum_over_taps(inputs, depthwise, **options),
    )


CASES = [
    ("Conv2D", (3, 3, 4), {"filters": 5}, True),
    ("Conv2D", (9, 9, 4), {"filters": 5}, False),
    ("Conv2D", (3, 3, 4), {"filters": 6, "groups": 2}, False),
    ("Conv2D", (3, 3, 4), {"filters": 5, "dtype": "mixed_bfloat16"}, False),
    ("DepthwiseConv2D", (9, 9, 4), {}, True),
    ("DepthwiseConv2D", (9, 9, 4), {"strides": 2, "use_bias": False, "activation": None}, True),
    ("DepthwiseConv2D", (9, 9, 4), {"depth_multiplier": 2}, False),
    ("DepthwiseConv2D", (9, 9, 4), {"dilation_rate": 2}, False),
]


@pytest.mark.parametrize(("name", "shape", "options", "summed"), CASES)
def test_convolutions_are_those_of_keras_and_summed_over_taps_on_jax_alone(name, shape, options, summed, monkeypatch):
    options = {"kernel_size": 5, "padding": "same", "activation": "tanh", "bias_initializer": "ones", **options}
    theirs, ours = (getattr(module, name)(**options) for module in (keras.layers, layers))
    inputs, sums = _drawn(2, *shape), []
    for layer in (theirs, ours):
        layer.build(inputs.shape)
    ours.set_weights(theirs.get_weights())
    monkeypatch.setattr(layers, "sum_over_taps", lambda *given, sum=layers.sum_over_taps: sums.append(1) or sum(*given))
    _assert_close(theirs(inputs), ours(inputs))
    assert bool(sums) == (summed and BACKEND == "jax")
    if not sums:
        return
    import jax

    def loss(values, layer):
        outputs, _ = layer.stateless_call(values[1:], [], values[0])
        return (outputs * _drawn(*outputs.shape)).sum()

    values = [inputs, *map(np.asarray, theirs.get_weights())]
    for expected, received in zip(jax.grad(loss)(values, theirs), jax.grad(loss)(values, ours), strict=True):
        _assert_close(expected, received)
