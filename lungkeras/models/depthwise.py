"""Depthwise convolutions on TensorFlow on a CPU, with a fast gradient of their kernels.

oneDNN has a fast kernel for that gradient if the filter has three taps per side and none is beyond the padded map.
Everything else, such as filters of five taps and the last maps of a small scan, uses a kernel that takes three to
fifteen times as long. A gradient of more taps is therefore composed of gradients of three.
"""

from collections.abc import Sequence

TAPS = 3  # per side, of the fast kernel


def is_quick(size: int, outputs: int, taps: int, stride: int) -> bool:
    """Whether `convolve` is quicker than TensorFlow's own: measured per side, with and without AVX-512."""
    if taps == TAPS:
        return outputs < TAPS
    return TAPS < taps <= size + TAPS and outputs * stride**2 <= 16


def convolve(inputs, kernel, stride: int, margins: Sequence[tuple[int, int]]):
    """A depthwise convolution whose kernel gradient is the sum of quick ones.

    Args:
        inputs: float32 tensor (N, H, W, C).
        kernel: float32 tensor (taps, taps, C, 1), of three taps or more.
        stride: down and across.
        margins: zeros before and behind, down and across.

    Returns float32 (N, H', W', C). Outputs and gradients equal those of tf.nn.depthwise_conv2d up to the order of sums.
    """
    import tensorflow as tf

    strides, padding = [1, stride, stride, 1], [(0, 0), *margins, (0, 0)]
    explicit = {"padding": "EXPLICIT", "explicit_paddings": [edge for pair in padding for edge in pair]}

    @tf.custom_gradient
    def convolved(inputs, kernel):
        outputs = tf.raw_ops.DepthwiseConv2dNative(input=inputs, filter=kernel, strides=strides, **explicit)

        def gradient(upstream):
            of_inputs = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(inputs), filter=kernel, out_backprop=upstream, strides=strides, **explicit
            )
            return of_inputs, _kernel_gradient(inputs, kernel, upstream, stride, padding)

        return outputs, gradient

    return convolved(inputs, tf.convert_to_tensor(kernel))  # custom_gradient takes no variables


def _kernel_gradient(inputs, kernel, upstream, stride: int, padding: list[tuple[int, int]]):
    import tensorflow as tf

    padded = tf.pad(inputs, padding)
    counts = upstream.shape[1:3]
    sides = zip(inputs.shape[1:3], counts, kernel.shape[:2], padding[1:3], strict=True)
    reached = [_reached(size, count, taps, before, stride) for size, count, taps, (before, _) in sides]
    starts = [_starts(first, last) for first, last in reached]

    def block(down: int, across: int):
        ends = (start + (count - 1) * stride + TAPS for start, count in zip((down, across), counts, strict=True))
        rows, columns = (slice(start, end) for start, end in zip((down, across), ends, strict=True))
        return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
            input=padded[:, rows, columns],
            filter_sizes=[TAPS, TAPS, *kernel.shape[2:]],
            out_backprop=upstream,
            strides=[1, stride, stride, 1],
            padding="VALID",
        )

    rows = [_joined([block(down, across) for across in starts[1]], starts[1], axis=1) for down in starts[0]]
    beyond = [(first, taps - last) for (first, last), taps in zip(reached, kernel.shape[:2], strict=True)]
    return tf.pad(_joined(rows, starts[0], axis=0), [*beyond, (0, 0), (0, 0)])


def _reached(size: int, outputs: int, taps: int, before: int, stride: int) -> tuple[int, int]:
    """The first tap that ever meets the map and not only its margins, and the one after the last; at least TAPS."""
    first = min(max(before - (outputs - 1) * stride, 0), taps - TAPS)
    return first, max(min(before + size, taps), first + TAPS)


def _starts(first: int, last: int) -> list[int]:
    """Where blocks of TAPS begin that cover the taps from `first` to `last`; the last one may overlap."""
    return [*range(first, last - TAPS, TAPS), last - TAPS]


def _joined(blocks: list, starts: list[int], axis: int):
    """The blocks side by side, without the overlap of the last one."""
    import tensorflow as tf

    if len(blocks) == 1:
        return blocks[0]
    own = starts[-1] - starts[-2]
    repeated = [slice(None)] * axis + [slice(TAPS - own, None)]
    return tf.concat([*blocks[:-1], blocks[-1][tuple(repeated)]], axis)
