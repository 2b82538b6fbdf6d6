"""A .keras file -> an ONNX model in memory, without Keras: logits, and the gradient of a logit by a layer's output.

The graph of layers (config.json) and their weights are read from the file and translated to ONNX operations, layer by
layer; nothing is traced. The gradients of a logit are translated in the same way, backwards by the chain rule from the
logits to the layer, with the derivatives of Keras' backends. Images are (N, C, H, W) internally.

Supported are the layers of ResNet, MobileNet, EfficientNet, DenseNet and VGG in float32; Keras computes all other
models.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from lungkeras.system.untrusted import json_files
from lungkeras.system.untrusted.archives import plain_zip, read_member
from lungkeras.system.untrusted.keras_files import MOST_BYTES, MOST_JSON_BYTES

OPSET = 17
IR_VERSION = 8
LINEAR = ("linear", None)


class Unknown(ValueError):
    """The part of a model that is not supported here, in a few words."""


@dataclass(frozen=True)
class Layer:
    """A layer of a model file: `weights` are arrays as Keras keeps them, `inputs` are names of layers or numbers."""

    name: str
    kind: str
    settings: Mapping
    weights: Sequence[np.ndarray]
    inputs: Sequence[str | float]


@dataclass(frozen=True)
class Model:
    """Layers in the order of computation, and the name of the one that outputs the logits."""

    layers: Sequence[Layer]
    output: str

    @property
    def size(self) -> int:
        """Pixels a side of a scan."""
        return self.layers[0].settings["batch_shape"][1]


def read_model(path: Path | str) -> Model:
    """The layers and weights of a .keras file that has passed model_files.check_model_file. Raises Unknown."""
    with plain_zip(path, methods=(zipfile.ZIP_STORED,)) as archive:
        graph = json_files.loads(read_member(archive, "config.json", MOST_JSON_BYTES))["config"]
        with h5py.File(io.BytesIO(read_member(archive, "model.weights.h5", MOST_BYTES)), "r") as opened:
            layers = list(_layers(graph["layers"], opened["layers"]))
    output = graph["output_layers"]
    if sum(layer.kind == "InputLayer" for layer in layers) != 1 or layers[0].kind != "InputLayer":
        raise Unknown("more than one input")
    # A single output is [name, 0, 0], or a list with one such.
    return Model(layers, output[0] if isinstance(output[0], str) else _only(output)[0])


def _layers(configs: Sequence[Mapping], weights):
    counted = Counter()
    for config in configs:
        kind, settings = config["class_name"], config["config"]
        # Keras stores the weights of the second Conv2D as conv2d_1, whatever the layer's own name is.
        stored = WEIGHTED.get(kind)
        place = f"{stored}_{counted[stored]}" if counted[stored] else stored
        counted[stored] += 1
        arrays = weights[place]["vars"] if stored else {}
        policy = settings.get("dtype", "float32")
        policy = policy["config"]["name"] if isinstance(policy, Mapping) else policy
        if policy != "float32" and kind != "InputLayer":
            raise Unknown(f"layers that compute in {policy}")
        calls = [] if kind == "InputLayer" else _inputs(_only(config["inbound_nodes"])["args"])
        yield Layer(config["name"], kind, settings, [arrays[str(number)][()] for number in range(len(arrays))], calls)


WEIGHTED = {"Conv2D": "conv2d", "DepthwiseConv2D": "depthwise_conv2d", "Dense": "dense",
            "BatchNormalization": "batch_normalization"}  # fmt: skip


def _only(things: Sequence):
    if len(things) != 1:
        raise Unknown("a layer that is called twice")
    return things[0]


def _inputs(arguments: Sequence) -> list[str | float]:
    flat = [inner for argument in arguments for inner in (argument if isinstance(argument, list) else [argument])]
    return [entry["config"]["keras_history"][0] if isinstance(entry, Mapping) else float(entry) for entry in flat]


@dataclass
class Graph:
    """ONNX operations under construction, their output shapes without N, and the backward steps.

    `back` holds (output, inputs, backward) of each step: backward takes the gradient of the output, by its name, and
    the place of an input, and returns the gradient of that input.
    """

    nodes: list = field(default_factory=list)
    arrays: list = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    back: list[tuple[str, Sequence[str], Callable[[str, int], str]]] = field(default_factory=list)

    def add(self, operation: str, *inputs: str, **settings) -> str:
        """The name of an operation's output."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [name], **settings))
        return name

    def array(self, values, dtype=np.float32) -> str:
        name = f"c{len(self.arrays)}"
        self.arrays.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype), name))
        return name

    def step(self, output: str, shape: Sequence[int], inputs: Sequence[str], backward: Callable[[str, int], str]):
        """Records shape and backward step of an output, and returns its name."""
        self.shapes[output] = tuple(shape)
        self.back.append((output, inputs, backward))
        return output


def write_model(model: Model, explained: str | None = None) -> bytes:
    """An ONNX model from `scan`, uint8 (N, S, S, 1), to `logits`, float32 (N, classes).

    If a layer is named, it also takes `chosen`, float32 (N, classes), 1 at the logit of each scan that is explained,
    and returns `activations` and `slopes` (gradients) of that layer, both float32 (N, h, w, C). Raises Unknown.
    """
    graph, given = _laid_out(model)
    logits = given[model.output]
    scan = helper.make_tensor_value_info("scan", TensorProto.UINT8, ["N", model.size, model.size, 1])
    classes = ["N", *graph.shapes[logits]]
    takes, gives = [scan], {"logits": logits}
    if explained is not None:
        takes.append(helper.make_tensor_value_info("chosen", TensorProto.FLOAT, classes))
        layered = given[explained]
        last = {"activations": layered, "slopes": _slopes(graph, logits, layered)}
        gives |= {name: graph.add("Transpose", value, perm=[0, 2, 3, 1]) for name, value in last.items()}
    for name, value in gives.items():
        graph.nodes.append(helper.make_node("Identity", [value], [name]))
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in gives]
    written = helper.make_graph(graph.nodes, "model", takes, results, graph.arrays)
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model(written, opset_imports=opset, ir_version=IR_VERSION).SerializeToString()


def map_shapes(model: Model) -> dict[str, tuple[int, int, int]]:
    """{layer: (h, w, C)} of the layers that output a map, in the order of the file. Raises Unknown."""
    graph, given = _laid_out(model)
    shapes = {name: graph.shapes[value] for name, value in given.items()}
    return {name: (*shape[1:], shape[0]) for name, shape in shapes.items() if len(shape) == 3}


def _laid_out(model: Model) -> tuple[Graph, dict[str, str]]:
    """The graph of all layers, and {layer: its output there}. Raises Unknown."""
    graph, given = Graph(), {}
    for layer in model.layers:
        if layer.kind not in LAYERS:
            raise Unknown(f"a layer {layer.kind}")
        inputs = [given[entry] if isinstance(entry, str) else entry for entry in layer.inputs]
        given[layer.name] = LAYERS[layer.kind](graph, layer, *inputs)
    return graph, given


def _slopes(graph: Graph, logits: str, layer: str) -> str:
    """The gradient of the chosen logits by a layer's output."""
    reached = {layer}
    for output, inputs, _ in graph.back:
        if reached & set(inputs):
            reached.add(output)
    slopes = {logits: "chosen"}
    for output, inputs, backward in reversed(graph.back):
        if output == layer or output not in slopes:
            continue
        for place, entry in enumerate(inputs):
            if entry in reached:
                slope = backward(slopes[output], place)
                slopes[entry] = graph.add("Add", slopes[entry], slope) if entry in slopes else slope
    return slopes[layer]


def _no_way_back(slope: str, place: int) -> str:
    raise Unknown("the slope of a largest value")


def _input(graph: Graph, layer: Layer) -> str:
    _, height, width, channels = layer.settings["batch_shape"]
    name = graph.add("Cast", graph.add("Transpose", "scan", perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    return graph.step(name, (channels, height, width), (), _no_way_back)


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
    return _activate(graph, settings["activation"], output)


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
    return _activate(graph, layer.settings["activation"], output)


def _activation(graph: Graph, layer: Layer, given: str) -> str:
    return _activate(graph, layer.settings["activation"], given)


def _relu(graph: Graph, layer: Layer, given: str) -> str:
    settings = layer.settings
    if settings["negative_slope"] or settings["threshold"] or settings["max_value"] not in (None, 6.0):
        raise Unknown("another ReLU")
    return _activate(graph, "relu6" if settings["max_value"] else "relu", given)


def _activate(graph: Graph, name: str | None, given: str) -> str:
    """The output of an activation function."""
    if name in LINEAR:
        return given
    if name not in ACTIVATIONS:
        raise Unknown(f"the activation {name}")
    output, derivative = ACTIVATIONS[name](graph, given)
    return graph.step(output, graph.shapes[given], [given], lambda slope, _: graph.add("Mul", slope, derivative()))


def _is_within(graph: Graph, given: str, low: float, high: float | None = None) -> str:
    """1 where low < given < high, else 0."""
    inside = graph.add("Greater", given, graph.array(low))
    if high is not None:
        inside = graph.add("And", inside, graph.add("Less", given, graph.array(high)))
    return graph.add("Cast", inside, to=TensorProto.FLOAT)


def _plus_times(graph: Graph, first: str, second: str, third: str) -> str:
    return graph.add("Add", first, graph.add("Mul", second, third))


def _rest(graph: Graph, share: str) -> str:
    return graph.add("Sub", graph.array(1.0), share)


# Each returns the name of its output for an input, and a function that builds its derivative.


def _rectified(graph: Graph, given: str):
    return graph.add("Relu", given), lambda: _is_within(graph, given, 0.0)


def _rectified_to_6(graph: Graph, given: str):
    output = graph.add("Clip", given, graph.array(0.0), graph.array(6.0))
    return output, lambda: _is_within(graph, given, 0.0, 6.0)


def _sigmoid(graph: Graph, given: str):
    output = graph.add("Sigmoid", given)
    return output, lambda: graph.add("Mul", output, _rest(graph, output))


def _tanh(graph: Graph, given: str):
    output = graph.add("Tanh", given)
    return output, lambda: _rest(graph, graph.add("Mul", output, output))


def _silu(graph: Graph, given: str):
    share = graph.add("Sigmoid", given)
    output = graph.add("Mul", given, share)
    return output, lambda: _plus_times(graph, share, output, _rest(graph, share))


def _hard_sigmoid(graph: Graph, given: str):
    output = graph.add("HardSigmoid", given, alpha=1 / 6, beta=0.5)
    return output, lambda: graph.add("Mul", _is_within(graph, given, -3.0, 3.0), graph.array(1 / 6))


def _hard_silu(graph: Graph, given: str):
    share, derivative = _hard_sigmoid(graph, given)
    return graph.add("Mul", given, share), lambda: _plus_times(graph, share, given, derivative())


ACTIVATIONS = {
    "relu": _rectified,
    "relu6": _rectified_to_6,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "silu": _silu,
    "swish": _silu,
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": _hard_silu,
    "hard_swish": _hard_silu,
}


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
        output, (channels, *sizes), [given], _no_way_back if is_overlapping_pool(layer) or any(pads) else backward
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
