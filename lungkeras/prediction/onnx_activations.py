"""Activation functions as ONNX operations, with their derivatives.

Each returns the name of its output for an input, and a function that builds its derivative.
"""

from __future__ import annotations

from onnx import TensorProto

from lungkeras.prediction.keras_layers import Unknown
from lungkeras.prediction.onnx_graph import Graph

LINEAR = ("linear", None)


def activate(graph: Graph, name: str | None, given: str) -> str:
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
