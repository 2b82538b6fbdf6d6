"""Layers equivalent to Keras' own of the same name, but faster on a CPU.

Batch normalisation calls the backend's fused kernel, which Keras 3 does not: a training step takes a quarter to a half
less. Depthwise convolutions use oneDNN's fast gradient kernel on TensorFlow (`depthwise`). On JAX, where XLA has no
good convolution, a sum over the taps of the kernel takes a fifth of the time. Files written within `plain` hold keras'
own layers, so they open without lungkeras.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras

from lungkeras.models import depthwise
from lungkeras.system import devices, replicas

FUSED_DTYPES = ("float32", "float16", "bfloat16")


@keras.saving.register_keras_serializable("lungkeras")
class BatchNormalization(keras.layers.BatchNormalization):
    """keras.layers.BatchNormalization with the same arguments, weights, outputs, gradients and moving statistics.

    Inputs of shape (N, H, W, C), normalised over C, go through the fused kernel on TensorFlow and PyTorch, in training
    and in inference. Everything else (other ranks or axes, masks, renorm, float64, JAX, synchronized except on PyTorch,
    where Keras has no such path) uses Keras' own.
    """

    def call(self, inputs, training=None, mask=None):
        kernel = KERNELS.get((keras.backend.backend(), self.synchronized))
        if kernel is None or mask is not None or not self._fits(inputs):
            return super().call(inputs, training=training, mask=mask)
        learns = bool(training) and self.trainable
        # The kernels keep statistics in float32 whatever the inputs are; float16 would overflow.
        weights = [
            keras.ops.cast(weight, "float32")
            for weight in (self.gamma, self.beta, self.moving_mean, self.moving_variance)
        ]
        outputs, mean, variance = kernel(inputs, *weights, self.epsilon, learns)
        if learns:
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, variance)
        return keras.ops.cast(outputs, self.compute_dtype)

    def _fits(self, inputs) -> bool:
        shape = tuple(inputs.shape)
        if len(shape) != 4 or self.axis not in (-1, 3) or not (self.scale and self.center):
            return False
        # PyTorch's kernel refuses to train on a single value per channel.
        if shape[:3] == (1, 1, 1) and not self.synchronized:
            return False
        return keras.backend.standardize_dtype(inputs.dtype) in FUSED_DTYPES and not self.renorm

    def _move(self, moving, batch) -> None:
        moving.assign(moving * self.momentum + keras.ops.cast(batch, moving.dtype) * (1.0 - self.momentum))


def _tensorflow_kernel(inputs, gamma, beta, mean, variance, epsilon: float, learns: bool):
    """Returns outputs and the batch's mean and (biased) variance."""
    import tensorflow as tf

    # The raw operation, since tf.compat.v1.nn.fused_batch_norm raises an epsilon of 1e-5 to 1.001e-5.
    outputs, batch_mean, batch_variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=gamma,
        offset=beta,
        mean=[] if learns else mean,
        variance=[] if learns else variance,
        epsilon=epsilon,
        is_training=learns,
    )
    # The kernel divides by n - 1, Keras by n.
    count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), batch_variance.dtype)
    return outputs, batch_mean, batch_variance * ((count - 1.0) / count)


def _torch_kernel(inputs, gamma, beta, mean, variance, epsilon: float, learns: bool):
    """Returns outputs and the batch's mean and (biased) variance."""
    import torch

    count = math.prod(inputs.shape[:3])
    if learns:
        # With a momentum of 1 these become the batch's own statistics.
        mean, variance = torch.zeros_like(mean), torch.ones_like(variance)
    # As (N, C, H, W) in channels_last memory: a view, nothing is copied.
    channels_first = inputs.permute(0, 3, 1, 2)
    outputs = torch.nn.functional.batch_norm(channels_first, mean, variance, gamma, beta, learns, 1.0, epsilon)
    # torch divides by n - 1, Keras by n.
    return outputs.permute(0, 2, 3, 1), mean, variance * ((count - 1) / count)


def _torch_shared_kernel(inputs, gamma, beta, mean, variance, epsilon: float, learns: bool):
    """`_torch_kernel` with the statistics of the whole batch; each process has an equal share of it."""
    if not learns:
        return _torch_kernel(inputs, gamma, beta, mean, variance, epsilon, learns)
    inputs = inputs.float()
    mean = replicas.mean(inputs.mean(dim=(0, 1, 2)))
    centred = inputs - mean
    variance = replicas.mean(centred.square().mean(dim=(0, 1, 2)))
    return centred * ((variance + epsilon).rsqrt() * gamma) + beta, mean, variance


# By backend, and whether devices share the batch.
KERNELS = {
    ("tensorflow", False): _tensorflow_kernel,
    ("torch", False): _torch_kernel,
    ("torch", True): _torch_shared_kernel,
}


@keras.saving.register_keras_serializable("lungkeras")
class Conv2D(keras.layers.Conv2D):
    """keras.layers.Conv2D with the same arguments, weights and, up to the order of sums, outputs and gradients.

    On JAX on a CPU an output smaller than the kernel, as in the last maps of a small scan, is summed over the kernel's
    taps: XLA would compute it, or its gradient, number by number.
    """

    def convolution_op(self, inputs, kernel):
        if self.groups > 1 or not _by_taps(self, inputs) or not _is_small(self, inputs):
            return super().convolution_op(inputs, kernel)
        return sum_over_taps(inputs, kernel, self.strides, self.padding)


@keras.saving.register_keras_serializable("lungkeras")
class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """keras.layers.DepthwiseConv2D with the same arguments, weights, outputs and gradients, as Conv2D above.

    On a CPU, JAX sums it over the kernel's taps, whatever its size, as XLA computes it number by number; TensorFlow
    takes `depthwise.convolve` where that is quicker.
    """

    def call(self, inputs):
        if self.depth_multiplier > 1:
            return super().call(inputs)
        if _by_taps(self, inputs):
            outputs = sum_over_taps(inputs, self.kernel[..., 0], self.strides, self.padding)
        elif _by_blocks(self, inputs):
            outputs = depthwise.convolve(inputs, self.kernel, self.strides[0], _margins_of(self, inputs))
        else:
            return super().call(inputs)
        return self.activation(outputs + self.bias if self.use_bias else outputs)


def _by_taps(layer, inputs) -> bool:
    """Whether sum_over_taps can replace a convolution, and is faster."""
    if keras.backend.backend() != "jax" or not _is_common(layer, inputs):
        return False
    import jax

    return jax.default_backend() == "cpu"


def _by_blocks(layer, inputs) -> bool:
    """Whether depthwise.convolve can replace a convolution, and is faster."""
    if keras.backend.backend() != "tensorflow" or not _is_common(layer, inputs) or len(set(layer.strides)) > 1:
        return False
    import tensorflow as tf

    sides = zip(inputs.shape[1:3], layer.compute_output_shape(inputs.shape)[1:3], layer.kernel_size, strict=True)
    quick = all(depthwise.is_quick(*side, layer.strides[0]) for side in sides)
    return quick and not tf.config.list_physical_devices("GPU")


def _is_common(layer, inputs) -> bool:
    """Whether a convolution is one of float32 numbers, channels last, without dilation, on maps of a known size."""
    plain = layer.data_format == "channels_last" and tuple(layer.dilation_rate) == (1, 1)
    return plain and layer.compute_dtype == "float32" and None not in inputs.shape[1:]


def _margins_of(layer, inputs) -> list[tuple[int, int]]:
    """Zeros before and behind, down and across, that a convolution adds to its inputs."""
    if layer.padding == "valid":
        return [(0, 0), (0, 0)]
    return list(map(_margins, inputs.shape[1:3], layer.strides, layer.kernel_size))


def _is_small(layer, inputs) -> bool:
    outputs = layer.compute_output_shape(inputs.shape)[1:3]
    return any(output < taps for output, taps in zip(outputs, layer.kernel_size, strict=True))


def sum_over_taps(inputs, kernel, strides: Sequence[int], padding: str):
    """A convolution as the sum over the taps of its kernel: the shifted inputs times the tap's weights.

    Args:
        inputs: float of shape (N, H, W, C).
        kernel: (height, width, C, filters); or (height, width, C) for a depthwise one.
        strides: down and across.
        padding: "valid" or "same".

    Returns (N, H', W', filters or C).
    """
    taps, multiply = kernel.shape[:2], keras.ops.matmul if len(kernel.shape) == 4 else keras.ops.multiply
    if padding == "same":
        inputs = keras.ops.pad(inputs, [(0, 0), *map(_margins, inputs.shape[1:3], strides, taps), (0, 0)])
    rows, columns = (
        [slice(tap, tap + size - count + 1, stride) for tap in range(count)]
        for size, stride, count in zip(inputs.shape[1:3], strides, taps, strict=True)
    )
    seen = itertools.product(enumerate(rows), enumerate(columns))
    return sum(multiply(inputs[:, row, column], kernel[down, across]) for (down, row), (across, column) in seen)


def _margins(size: int, stride: int, taps: int) -> tuple[int, int]:
    """Zeros before and behind along one side, for the padding "same"."""
    missing = max((-(-size // stride) - 1) * stride + taps - size, 0)
    return missing // 2, missing - missing // 2


FAST = {
    keras.layers.BatchNormalization: BatchNormalization,
    keras.layers.Conv2D: Conv2D,
    keras.layers.DepthwiseConv2D: DepthwiseConv2D,
}


def fast(model: keras.Model) -> keras.Model:
    """Turns keras' own layers of a flat model into those of this module, in place; returns the model."""
    return _exchange(model, FAST)


@contextmanager
def plain(model: keras.Model) -> Iterator[keras.Model]:
    """Within the block the layers of a flat model are keras' own, so that files need no lungkeras."""
    try:
        yield _exchange(model, {ours: theirs for theirs, ours in FAST.items()})
    finally:
        fast(model)


@contextmanager
def synchronized(model: keras.Model) -> Iterator[keras.Model]:
    """Within the block the batch normalisations of a flat model take their statistics over the whole batch.

    That matters if devices share it on TensorFlow and PyTorch; on JAX they always do. The numbers then equal those of
    one device.
    """
    shared = keras.backend.backend() != "jax" and devices.sharing() > 1
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    try:
        for norm in norms:
            norm.synchronized = shared
        yield model
    finally:
        for norm in norms:
            norm.synchronized = False


def _exchange(model: keras.Model, classes: dict[type, type]) -> keras.Model:
    # Both classes hold the same state, so changing the class keeps weights, optimizer and connections as they are;
    # a clone would lose the last two and cost a second.
    for layer in model.layers:
        layer.__class__ = classes.get(type(layer), type(layer))
    return model
