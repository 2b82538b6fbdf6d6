"""Checks an ONNX file before its runtime opens it: ONNX may name other files on disk as weights."""

# ruff: noqa: SIM905 (long lists of operations read best as words)

from __future__ import annotations

import math
from pathlib import Path

from lungkeras.system.errors import Refused
from lungkeras.system.untrusted import exported_files
from lungkeras.system.untrusted.exported_files import content, numbers, only_known

ONNX_OPERATIONS = set(
    """
    Abs Add AveragePool BatchNormalization Cast Clip Concat Constant Conv DepthToSpace DequantizeLinear Div Dropout
    Elu Erf Exp Flatten Floor Gather Gelu Gemm GlobalAveragePool GlobalMaxPool HardSigmoid HardSwish Identity
    LayerNormalization LeakyRelu Log MatMul Max MaxPool Min Mish Mul Neg Pad Pow QuantizeLinear Reciprocal ReduceMax
    ReduceMean ReduceProd ReduceSum Relu Reshape Round Shape Sigmoid Slice Softmax Softplus SpaceToDepth Split Sqrt
    Squeeze Sub Sum Tanh Transpose Unsqueeze
    """.split()
)


def read_onnx(path: Path) -> bytes:
    """An ONNX file that contains its weights, and whose operations are ONNX's own. Raises Refused."""
    import onnx

    data = content(path)
    model = onnx.ModelProto()
    model.ParseFromString(data)
    if model.functions or model.training_info or model.graph.sparse_initializer:
        raise Refused("it defines functions, training or sparse arrays of its own")
    tensors = [*model.graph.initializer]
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise Refused(f"it holds {node.op_type[:80]!r} of {node.domain[:80]!r}, not of ONNX")
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs or attribute.HasField("sparse_tensor"):
                raise Refused(f"its operation {node.op_type[:80]!r} holds a graph of its own")
            tensors += [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]
    only_known((node.op_type for node in model.graph.node), ONNX_OPERATIONS)
    for tensor in tensors:
        if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise Refused(f"its array {tensor.name[:80]!r} is in another file")
    if (claimed := sum(numbers(tensor.dims, tensor.name) for tensor in tensors)) > 2 * len(data):
        raise Refused(f"its {len(data):,} bytes claim to be {claimed:,} numbers")
    for given in onnx.shape_inference.infer_shapes(model, data_prop=True).graph.value_info:
        sides = [max(1, side.dim_value) for side in given.type.tensor_type.shape.dim]
        if math.prod(sides) > exported_files.MOST_NUMBERS:
            raise Refused(f"one of its operations gives {given.name[:80]!r} of the shape {tuple(sides[:8])}")
    return data
