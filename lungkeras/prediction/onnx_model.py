"""A .keras file -> an ONNX model in memory, without Keras: logits, and the gradient of a logit by a layer's output.

The layers of the file (keras_layers) are translated to ONNX operations, one by one (onnx_layers); nothing is traced.
The gradients of a logit are translated in the same way, backwards by the chain rule from the logits to the layer, with
the derivatives of Keras' backends. Images are (N, C, H, W) internally.

Supported are the layers of ResNet, MobileNet, EfficientNet, DenseNet and VGG in float32; Keras computes all other
models.
"""

from __future__ import annotations

from onnx import TensorProto, helper

from lungkeras.prediction.keras_layers import Model, Unknown
from lungkeras.prediction.onnx_graph import Graph
from lungkeras.prediction.onnx_layers import LAYERS

OPSET = 17
IR_VERSION = 8


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
