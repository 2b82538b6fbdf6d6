"""The fused Adam is keras' own; runs on the backend that KERAS_BACKEND names."""

import keras
import numpy as np
import pytest

from lungkeras.training import optimizers

STEPS = 25


def _trained(optimizer, dtype="float32"):
    """Weights and optimizer variables after some steps of a small regression."""
    generator = np.random.default_rng(3)
    inputs = generator.normal(size=(32, 6)).astype("float32")
    targets = inputs @ generator.normal(size=(6, 2)).astype("float32")
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(5, "tanh", dtype=dtype), keras.layers.Dense(2, dtype=dtype)]
    )
    model.compile(optimizer, "mean_squared_error")
    for _ in range(STEPS):
        model.train_on_batch(inputs, targets)
    return [keras.ops.convert_to_numpy(variable) for variable in (*model.variables, *optimizer.variables)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"epsilon": 1e-8, "beta_1": 0.8, "beta_2": 0.99},
        {"amsgrad": True},
        {"weight_decay": 0.01},
        {"clipnorm": 0.1},
        {"global_clipnorm": 0.1},
        {"use_ema": True},
    ],
    ids=str,
)
def test_the_updates_and_the_state_are_those_of_keras(options):
    def rate():
        return keras.optimizers.schedules.CosineDecay(0.05, STEPS, alpha=0.1)

    ours = _trained(optimizers.adam(rate(), **options))
    for own, kerass in zip(ours, _trained(keras.optimizers.Adam(rate(), **options)), strict=True):
        np.testing.assert_allclose(own, kerass, rtol=1e-4, atol=1e-5)


def test_other_precisions_take_keras_own_path():
    for own, kerass in zip(
        _trained(optimizers.adam(0.05), "float64"), _trained(keras.optimizers.Adam(0.05), "float64"), strict=True
    ):
        np.testing.assert_allclose(own, kerass, rtol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the fused kernel is TensorFlow's")
def test_on_tensorflow_a_weight_is_updated_by_one_operation():
    import tensorflow as tf

    weight = keras.Variable(np.ones(3, "float32"))
    optimizer = optimizers.adam(0.1)
    optimizer.build([weight])

    @tf.function
    def step(gradient):
        optimizer.apply([gradient], [weight])

    graph = step.get_concrete_function(tf.ones(3)).graph
    nodes = [node.op for node in graph.as_graph_def().node]
    nodes += [node.op for function in graph.as_graph_def().library.function for node in function.node_def]
    assert nodes.count("ResourceApplyAdam") == 1
    assert "Sqrt" not in nodes
