"""Checks a LiteRT file before its runtime opens it: LiteRT follows offsets anywhere."""

# ruff: noqa: SIM905 (long lists of operations read best as words)

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.system.errors import Refused
from lungkeras.system.untrusted.exported_files import MOST_ITEMS, content, numbers, only_known

if TYPE_CHECKING:
    import numpy as np

LITERT_OPERATIONS = set(
    """
    ABS ADD AVERAGE_POOL_2D BATCH_MATMUL CAST CONCATENATION CONV_2D DEPTH_TO_SPACE DEPTHWISE_CONV_2D DEQUANTIZE DIV
    ELU EXP EXPAND_DIMS FULLY_CONNECTED GATHER GELU HARD_SWISH LEAKY_RELU LOG LOGISTIC MAX_POOL_2D MAXIMUM MEAN
    MINIMUM MUL NEG PACK PAD PADV2 POW QUANTIZE REDUCE_MAX REDUCE_PROD RELU RELU6 RELU_N1_TO_1 RESHAPE RSQRT SHAPE
    SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH TRANSPOSE
    """.split()
)


def read_litert(path: Path) -> bytes:
    """A LiteRT file, rewritten from its parsed content: one graph of known operations. Raises Refused.

    The runtime checks no offsets, so it gets only ours.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    data = content(path)
    if data[4:8] != b"TFL3":
        raise Refused("it is not a LiteRT file")
    original = schema.Model.GetRootAs(data)
    if original.SubgraphsLength() != 1:
        raise Refused(f"it holds {original.SubgraphsLength():,} graphs, not one")
    graph = original.Subgraphs(0)
    things = (original.OperatorCodesLength(), original.BuffersLength(), graph.TensorsLength(), graph.OperatorsLength())
    if max(things) > MOST_ITEMS:
        raise Refused(f"it holds {max(things):,} operations or arrays")
    codes = [original.OperatorCodes(place) for place in range(things[0])]
    titles = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
    # Older files have the code in a field of one byte; the larger of the two holds.
    kinds = [max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) for code in codes]
    only_known((titles.get(kind, str(kind)) for kind in kinds), LITERT_OPERATIONS)

    model, made = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs = original.Version(), [made]
    model.operatorCodes = [_code(schema, kind, code) for kind, code in zip(kinds, codes, strict=True)]
    model.buffers = [_buffer(schema, original.Buffers(place)) for place in range(things[1])]
    held = [0 if buffer.data is None else len(buffer.data) for buffer in model.buffers]
    if sum(held) > len(data):
        raise Refused(f"its {len(data):,} bytes claim to be {sum(held):,}")
    made.tensors = [_tensor(schema, graph.Tensors(place), held) for place in range(things[2])]
    made.inputs, made.outputs = _places(graph.InputsAsNumpy(), things[2]), _places(graph.OutputsAsNumpy(), things[2])
    made.operators = [_operator(schema, graph.Operators(place), things[0], things[2]) for place in range(things[3])]
    builder = flatbuffers.Builder(len(data) + 1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _code(schema, kind: int, original):
    new = schema.OperatorCodeT()
    new.builtinCode, new.deprecatedBuiltinCode, new.version = kind, min(kind, 127), original.Version()
    return new


def _operator(schema, original, codes: int, arrays: int):
    new = schema.OperatorT()
    if original.OpcodeIndex() >= codes or original.CustomOptionsLength():
        raise Refused("one of its operations is not in its list of operations")
    new.opcodeIndex = original.OpcodeIndex()
    new.inputs = _places(original.InputsAsNumpy(), arrays, absent=-1)
    new.outputs = _places(original.OutputsAsNumpy(), arrays)
    new.builtinOptionsType = original.BuiltinOptionsType()
    if original.BuiltinOptions():
        new.builtinOptions = schema.BuiltinOptionsCreator(new.builtinOptionsType, original.BuiltinOptions())
    return new


def _buffer(schema, original):
    new = schema.BufferT()
    if original.Offset() or original.Size():
        raise Refused("one of its arrays lies beyond the end of the file")
    if original.DataLength():
        new.data = original.DataAsNumpy()
    return new


def _tensor(schema, original, held: list[int]):
    new = schema.TensorT()
    sizes = {getattr(schema.TensorType, name): bits for name, bits in LITERT_BITS.items()}
    if (
        original.Type() not in sizes
        or original.Buffer() >= len(held)
        or original.Sparsity()
        or original.ShapeLength() > 8
    ):
        raise Refused("one of its arrays is not a plain array of numbers")
    shape = [int(original.Shape(place)) for place in range(original.ShapeLength())]
    count = numbers(shape, "of LiteRT")
    if (there := held[original.Buffer()]) and there != -(-count * sizes[original.Type()] // 8):
        raise Refused(f"an array of the shape {tuple(shape)} has {there:,} bytes")
    new.shape, new.type, new.buffer, new.hasRank = shape, original.Type(), original.Buffer(), original.HasRank()
    if original.ShapeSignatureLength() == len(shape) and shape:
        new.shapeSignature = [int(original.ShapeSignature(place)) for place in range(len(shape))]
    if (scale := original.Quantization()) and scale.ScaleLength():
        if scale.DetailsType() or scale.ScaleLength() != scale.ZeroPointLength() or scale.ScaleLength() > count:
            raise Refused("one of its arrays has no plain scale")
        new.quantization = schema.QuantizationParametersT()
        new.quantization.scale, new.quantization.zeroPoint = scale.ScaleAsNumpy(), scale.ZeroPointAsNumpy()
        new.quantization.quantizedDimension = scale.QuantizedDimension()
    return new


LITERT_BITS = {"FLOAT32": 32, "FLOAT16": 16, "INT64": 64, "INT32": 32, "INT16": 16, "INT8": 8, "UINT8": 8, "BOOL": 8}


def _places(given, count: int, *, absent: int = 0) -> np.ndarray:
    """Places of arrays, all among those that there are; -1 for one that is left out where that may be."""
    import numpy as np

    places = np.atleast_1d(np.asarray(given, np.int32)) if not isinstance(given, int) else np.zeros(0, np.int32)
    if len(places) > MOST_ITEMS or ((places < absent) | (places >= count)).any():
        raise Refused("one of its operations takes a missing array")
    return places
