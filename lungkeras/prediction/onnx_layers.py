"""The layers of a Keras model as ONNX operations, each with its backward step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from onnx import TensorProto, helper

from lungkeras.prediction.keras_layers import Layer, Unknown
from lungkeras.prediction.onnx_activations import activate
from lungkeras.prediction.onnx_graph import Graph


def _no_gradient(slope: str, place: int) -> str:
    raise Unknown("the slope of a largest value")


def _input(graph: Graph, layer: Layer) -> str:
    _, height, width, channels = layer.settings["batch_shape"]
    name = graph.add("Cast", graph.add("Transpose", "scan", perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    return graph.step(name, (channels, height, width), (), _no_gradient)


def _rescaling(graph: Graph, layer: Layer, given: str) -> str:
    scale, offset = (graph.array(layer.settings[key]) for key in ("scale", "offset"))
    output = graph.add("Add", graph.add("Mul", given, scale), offset)
    return graph.step(output, graph.shapes[given], [given], lambda slope, _: graph.add("Mul", slope, scale))


def _concatenate(graph: Graph, layer: Layer, *given: str) -> str:
    shapes = [graph.shapes[entry] for entry in given]
    if layer.settings["axis"] not in (-1, len(shapes[0])):
        raise Unknown("layers joined other than by their channels")
    ends = np.cumsum([0, *(shape[0] for shape in shapes)])

    def backward(slope: str, place: int) -> str:
        return graph.add("Slice", slope, *(graph.array([value], np.int64) for value in (*ends[place : place + 2], 1)))

    return graph.step(graph.add("Concat", *given, axis=1), (ends[-1], *shapes[0][1:]), given, backward)


def _convolution(graph: Graph, layer: Layer, given: str) -> str:
    settings, (kernel, *bias) = layer.settings, layer.weights
    _expect_channels_last(settings)
    channels = graph.shapes[given][0]
    if layer.kind == "DepthwiseConv2D":
        if kernel.shape[-1] != 1:
            raise Unknown("a depthwise convolution with more channels")
        kernel, groups = kernel.transpose(3, 2, 0, 1).swapaxes(0, 1), channels
    else:
        kernel, groups = kernel.transpose(3, 2, 0, 1), settings["groups"]
    output = _convolve(graph, given, kernel, groups, settings, bias)
    return activate(graph, settings["activation"], output)


def _convolve(graph: Graph, given: str, kernel: np.ndarray, groups: int, settings: Mapping, bias: Sequence) -> str:
    """A convolution with a kernel (filters, C / groups, h, w)."""
    sides, strides = graph.shapes[given][1:], settings["strides"]
    dilations = settings.get("dilation_rate", (1, 1))
    spans = [(taps - 1) * dilation + 1 for taps, dilation in zip(kernel.shape[2:], dilations, strict=True)]
    margins = [_margins(*side, settings["padding"]) for side in zip(sides, spans, strides, strict=True)]
    padded = [side + sum(margin) for side, margin in zip(sides, margins, strict=True)]
    sizes = [(side - span) // stride + 1 for side, span, stride in zip(padded, spans, strides, strict=True)]
    common = {
        "strides": list(strides),
        "dilations": list(dilations),
        "group": groups,
        "pads": [margin[end] for end in (0, 1) for margin in margins],
    }
    weights = graph.array(kernel)
    output = graph.add("Conv", given, weights, *(graph.array(values) for values in bias), **common)
    # The border that the last steps of the kernel did not reach.
    left = [(side - span) % stride for side, span, stride in zip(padded, spans, strides, strict=True)]

    def backward(slope: str, _: int) -> str:
        return graph.add("ConvTranspose", slope, weights, output_padding=left, **common)

    return graph.step(output, (kernel.shape[0], *sizes), [given], backward)


def _margins(side: int, span: int, stride: int, padding: str) -> tuple[int, int]:
    """Zeros before and behind, as Keras pads: for "same" the odd one comes last."""
    missing = max((-(-side // stride) - 1) * stride + span - side, 0) if padding == "same" else 0
    return missing // 2, missing - missing // 2


def _batch_normalization(graph: Graph, layer: Layer, given: str) -> str:
    settings, shape = layer.settings, graph.shapes[given]
    axis = settings["axis"][0] if isinstance(settings["axis"], list) else settings["axis"]
    if axis not in (-1, len(shape)) or not settings["scale"] or not settings["center"]:
        raise Unknown("another batch normalisation")
    gamma, _, _, variance = layer.weights
    output = graph.add(
        "BatchNormalization", given, *map(graph.array, layer.weights), epsilon=float(settings["epsilon"])
    )
    factor = (gamma / np.sqrt(variance + settings["epsilon"])).reshape(-1, *[1] * (len(shape) - 1))
    return graph.step(output, shape, [given], lambda slope, _: graph.add("Mul", slope, graph.array(factor)))


def _dense(graph: Graph, layer: Layer, given: str) -> str:
    kernel, *bias = layer.weights
    if len(graph.shapes[given]) != 1:
        raise Unknown("a dense layer on a map")
    weights = graph.array(kernel)
    output = graph.add("Gemm", given, weights, *(graph.array(values) for values in bias))
    output = graph.step(output, kernel.shape[1:], [given], lambda slope, _: graph.add("Gemm", slope, weights, transB=1))
    return activate(graph, layer.settings["activation"], output)


def _activation(graph: Graph, layer: Layer, given: str) -> str:
    return activate(graph, layer.settings["activation"], given)


def _relu(graph: Graph, layer: Layer, given: str) -> str:
    settings = layer.settings
    if settings["negative_slope"] or settings["threshold"] or settings["max_value"] not in (None, 6.0):
        raise Unknown("another ReLU")
    return activate(graph, "relu6" if settings["max_value"] else "relu", given)


def _zero_padding(graph: Graph, layer: Layer, given: str) -> str:
    _expect_channels_last(layer.settings)
    (top, bottom), (left, right) = layer.settings["padding"]
    channels, height, width = graph.shapes[given]
    pads = graph.array([0, 0, top, left, 0, 0, bottom, right], np.int64)

    def backward(slope: str, _: int) -> str:
        places = ([top, left], [top + height, left + width], [2, 3])
        return graph.add("Slice", slope, *(graph.array(values, np.int64) for values in places))

    shape = (channels, top + height + bottom, left + width + right)
    return graph.step(graph.add("Pad", given, pads), shape, [given], backward)


def is_overlapping_pool(layer: Layer) -> bool:
    """Whether a place may be the maximum of several windows, so that their gradients would have to be added."""
    return layer.kind == "MaxPooling2D" and list(layer.settings["pool_size"]) != list(layer.settings["strides"])


def _max_pooling(graph: Graph, layer: Layer, given: str) -> str:
    _expect_channels_last(layer.settings)
    taps, strides = layer.settings["pool_size"], layer.settings["strides"]
    channels, *sides = graph.shapes[given]
    margins = [_margins(*side, layer.settings["padding"]) for side in zip(sides, taps, strides, strict=True)]
    pads = [margin[end] for end in (0, 1) for margin in margins]
    output = graph.add("MaxPool", given, kernel_shape=taps, strides=strides, pads=pads)
    padded = [side + sum(margin) for side, margin in zip(sides, margins, strict=True)]
    sizes = [(side - tap) // stride + 1 for side, tap, stride in zip(padded, taps, strides, strict=True)]

    def backward(slope: str, _: int) -> str:
        places = f"{output}_places"
        graph.nodes.append(
            helper.make_node(
                "MaxPool", [given], [f"{output}_again", places], kernel_shape=taps, strides=strides, pads=pads
            )
        )
        return graph.add("MaxUnpool", slope, places, graph.add("Shape", given), kernel_shape=taps, strides=strides)

    return graph.step(
        output, (channels, *sizes), [given], _no_gradient if is_overlapping_pool(layer) or any(pads) else backward
    )


def _average_pooling(graph: Graph, layer: Layer, given: str) -> str:
    _expect_channels_last(layer.settings)
    if layer.settings["padding"] != "valid":
        raise Unknown("an average over a padded edge")
    taps, channels = layer.settings["pool_size"], graph.shapes[given][0]
    kernel = np.full((channels, 1, *taps), 1 / math.prod(taps))
    return _convolve(graph, given, kernel, channels, layer.settings, [])


def _global_average(graph: Graph, layer: Layer, given: str) -> str:
    _expect_channels_last(layer.settings)
    channels, *sides = graph.shapes[given]
    shares = np.full((1, 1, *sides), 1 / math.prod(sides))
    output = graph.add("GlobalAveragePool", given)
    backward = lambda slope, _: graph.add("Mul", slope, graph.array(shares))  # noqa: E731
    output = graph.step(output, (channels, 1, 1), [given], backward)
    return output if layer.settings["keepdims"] else _shaped(graph, output, (channels,))


def _reshape(graph: Graph, layer: Layer, given: str) -> str:
    channels = math.prod(graph.shapes[given])
    target = tuple(layer.settings["target_shape"])
    if max(graph.shapes[given]) != channels or target not in [(1, 1, channels), (channels,), (-1,)]:
        raise Unknown("a map in another shape")
    return _shaped(graph, given, (channels, 1, 1) if len(target) == 3 else (channels,))


def _shaped(graph: Graph, given: str, shape: tuple[int, ...]) -> str:
    before = graph.shapes[given]

    def shaped(value: str, to: tuple[int, ...]) -> str:
        return graph.add("Reshape", value, graph.array([-1, *to], np.int64))

    return graph.step(shaped(given, shape), shape, [given], lambda slope, _: shaped(slope, before))


def _same(graph: Graph, layer: Layer, given: str) -> str:
    return given


def _sum(graph: Graph, layer: Layer, *given: str | float) -> str:
    first, second = _two(given)
    if isinstance(second, float):
        output = graph.add("Add", first, graph.array(second))
        return graph.step(output, graph.shapes[first], [first], lambda slope, _: slope)
    if graph.shapes[first] != graph.shapes[second]:
        raise Unknown("a sum of maps of two sizes")
    return graph.step(graph.add("Add", first, second), graph.shapes[first], given, lambda slope, _: slope)


def _product(graph: Graph, layer: Layer, *given: str | float) -> str:
    first, second = _two(given)
    if isinstance(second, float):
        factor = graph.array(second)
        output = graph.add("Mul", first, factor)
        return graph.step(output, graph.shapes[first], [first], lambda slope, _: graph.add("Mul", slope, factor))
    shapes = graph.shapes[first], graph.shapes[second]
    shape = max(shapes)
    if any(len(each) != len(shape) or each not in (shape, (shape[0], *[1] * (len(shape) - 1))) for each in shapes):
        raise Unknown("a product of maps of two sizes")

    def backward(slope: str, place: int) -> str:
        product = graph.add("Mul", slope, given[1 - place])
        if shapes[place] == shape:
            return product
        return graph.add("ReduceSum", product, graph.array([2, 3], np.int64), keepdims=1)

    return graph.step(graph.add("Mul", first, second), shape, given, backward)


def _two(given: Sequence[str | float]) -> tuple[str, str | float]:
    """Two inputs, the first of which is not a number."""
    if len(given) != 2:
        raise Unknown("a layer of more than two inputs")
    first, second = given
    return (second, first) if isinstance(first, float) else (first, second)


def _expect_channels_last(settings: Mapping) -> None:
    if settings["data_format"] != "channels_last":
        raise Unknown("maps with their channels first")


LAYERS: dict[str, Callable[..., str]] = {
    "Activation": _activation,
    "Add": _sum,
    "AveragePooling2D": _average_pooling,
    "BatchNormalization": _batch_normalization,
    "Concatenate": _concatenate,
    "Conv2D": _convolution,
    "Dense": _dense,
    "DepthwiseConv2D": _convolution,
    "Dropout": _same,
    "GlobalAveragePooling2D": _global_average,
    "Identity": _same,
    "InputLayer": _input,
    "MaxPooling2D": _max_pooling,
    "Multiply": _product,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "ZeroPadding2D": _zero_padding,
}
