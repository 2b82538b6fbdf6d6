"""Checks an exported file before its runtime opens it.

A runtime trusts its file: ONNX may name other files on disk as weights, LiteRT follows offsets anywhere, a SavedModel
may do all that TensorFlow can, including reading and writing files. So a file passes if it holds what our exports hold:
arithmetic on arrays within the file. A runtime gets the checked bytes, not the file again, except for a SavedModel,
which only TensorFlow itself can parse.
"""

# ruff: noqa: SIM905 (long lists of operations read best as words)

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from xml.parsers import expat

from lungkeras.system.errors import Refused

if TYPE_CHECKING:
    import numpy as np

MOST_BYTES = 2**30
MOST_XML_BYTES = 64 * 2**20
MOST_THINGS = 100_000  # operations, arrays
MOST_NUMBERS = 2**26  # of an array on its way through the model
MOST_RATIO = 10  # of claimed size to actual size
DEEPEST = 20

ONNX_OPERATIONS = set(
    """
    Abs Add AveragePool BatchNormalization Cast Clip Concat Constant Conv DepthToSpace DequantizeLinear Div Dropout
    Elu Erf Exp Flatten Floor Gather Gelu Gemm GlobalAveragePool GlobalMaxPool HardSigmoid HardSwish Identity
    LayerNormalization LeakyRelu Log MatMul Max MaxPool Min Mish Mul Neg Pad Pow QuantizeLinear Reciprocal ReduceMax
    ReduceMean ReduceProd ReduceSum Relu Reshape Round Shape Sigmoid Slice Softmax Softplus SpaceToDepth Split Sqrt
    Squeeze Sub Sum Tanh Transpose Unsqueeze
    """.split()
)
LITERT_OPERATIONS = set(
    """
    ABS ADD AVERAGE_POOL_2D BATCH_MATMUL CAST CONCATENATION CONV_2D DEPTH_TO_SPACE DEPTHWISE_CONV_2D DEQUANTIZE DIV
    ELU EXP EXPAND_DIMS FULLY_CONNECTED GATHER GELU HARD_SWISH LEAKY_RELU LOG LOGISTIC MAX_POOL_2D MAXIMUM MEAN
    MINIMUM MUL NEG PACK PAD PADV2 POW QUANTIZE REDUCE_MAX REDUCE_PROD RELU RELU6 RELU_N1_TO_1 RESHAPE RSQRT SHAPE
    SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH TRANSPOSE
    """.split()
)
OPENVINO_LAYERS = set(
    """
    Abs Add AvgPool BatchNormInference Clamp Concat Const Convert ConvertLike Convolution DepthToSpace Divide Elu
    Erf Exp FakeQuantize Floor Gather Gelu GroupConvolution HardSigmoid HSigmoid HSwish Log MatMul Maximum MaxPool
    Minimum Mish Multiply MVN Negative Pad Parameter Power PRelu PReLU ReduceMax ReduceMean ReduceProd ReduceSum
    Relu ReLU Reshape Result Round ShapeOf Sigmoid Slice Softmax SoftMax SoftPlus SpaceToDepth Split Sqrt
    SquaredDifference Squeeze StridedSlice Subtract Swish Tanh Transpose Unsqueeze VariadicSplit
    """.split()
)
TENSORFLOW_OPERATIONS = set(
    """
    Abs Add AddV2 AssignVariableOp AvgPool BatchMatMulV2 BiasAdd Cast ConcatV2 Const Conv2D DepthToSpace
    DepthwiseConv2dNative DisableCopyOnRead Elu Erf Erfc Exp ExpandDims FusedBatchNormV3 GatherV2 Identity IdentityN
    LeakyRelu Log MatMul Max Maximum MaxPool Mean Minimum Mul Neg NoOp Pack Pad PadV2 PartitionedCall Placeholder
    Pow Prod ReadVariableOp RealDiv Relu Relu6 Reshape Rsqrt Selu Shape Sigmoid Slice Softmax Softplus SpaceToDepth
    Split SplitV Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall StopGradient StridedSlice Sub Sum
    Tanh Transpose VarHandleOp VarIsInitializedOp
    """.split()
)
# Of the functions that save and restore a model, which a graph may hold and opening it must not reach.
SAVING_OPERATIONS = set(
    """
    MergeV2Checkpoints RestoreV2 SaveV2 Select SelectV2 ShardedFilename StaticRegexFullMatch StringJoin
    """.split()
)
OBJECTS = {"user_object", "function", "variable", "bare_concrete_function", "constant", "captured_tensor", None}
SAVED_MODEL_FILES = {"saved_model.pb", "fingerprint.pb", "variables/variables.index",
                     "variables/variables.data-00000-of-00001"}  # fmt: skip
OPENVINO_BITS = {"f64": 64, "f32": 32, "f16": 16, "bf16": 16, "i64": 64, "i32": 32, "i16": 16, "i8": 8, "i4": 4,
                 "u64": 64, "u32": 32, "u16": 16, "u8": 8, "u4": 4, "u1": 1, "boolean": 8}  # fmt: skip


def content(path: Path, most: int = MOST_BYTES) -> bytes:
    """The bytes of a file. Raises Refused if it is not a plain file or larger than any of our exports."""
    if not path.is_file():
        raise Refused(f"{path.name} is missing" if not path.exists() else f"{path.name} is not a plain file")
    if path.stat().st_size > most:
        raise Refused(f"{path.name} is larger than {most // 2**20:,} MB")
    return path.read_bytes()


def only_known(operations: Iterable[str], known: set[str]) -> None:
    """Raises Refused, naming one, if there are operations that our exports do not have, or too many."""
    operations = list(operations)
    if strange := sorted(set(operations) - known):
        raise Refused(f"it holds the operation {strange[0][:80]!r}, which none of our exports has")
    if len(operations) > MOST_THINGS:
        raise Refused(f"it holds {len(operations):,} operations")


def numbers(shape: Iterable[int], name: str) -> int:
    """How many numbers an array of this shape has. Raises Refused if the number is impossible for a model."""
    shape = [int(side) for side in shape]
    if any(side < 0 for side in shape) or math.prod(shape) > MOST_NUMBERS:
        raise Refused(f"its array {name[:80]!r} has the shape {tuple(shape[:8])}")
    return math.prod(shape)


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
        if math.prod(sides) > MOST_NUMBERS:
            raise Refused(f"one of its operations gives {given.name[:80]!r} of the shape {tuple(sides[:8])}")
    return data


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
    if max(things) > MOST_THINGS:
        raise Refused(f"it holds {max(things):,} operations or arrays")
    codes = [original.OperatorCodes(place) for place in range(things[0])]
    titles = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
    # Older files have the code in a field of one byte; the larger of the two holds.
    kinds = [max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) for code in codes]
    only_known((titles.get(kind, str(kind)) for kind in kinds), LITERT_OPERATIONS)

    model, made = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs = original.Version(), [made]
    model.operatorCodes = []
    for code, kind in zip(codes, kinds, strict=True):
        new = schema.OperatorCodeT()
        new.builtinCode, new.deprecatedBuiltinCode, new.version = kind, min(kind, 127), code.Version()
        model.operatorCodes.append(new)
    model.buffers = [_litert_buffer(schema, original.Buffers(place)) for place in range(things[1])]
    held = [0 if buffer.data is None else len(buffer.data) for buffer in model.buffers]
    if sum(held) > len(data):
        raise Refused(f"its {len(data):,} bytes claim to be {sum(held):,}")
    made.tensors = [_litert_tensor(schema, graph.Tensors(place), held) for place in range(things[2])]
    made.inputs, made.outputs = _places(graph.InputsAsNumpy(), things[2]), _places(graph.OutputsAsNumpy(), things[2])
    made.operators = []
    for place in range(things[3]):
        operator, new = graph.Operators(place), schema.OperatorT()
        if operator.OpcodeIndex() >= len(codes) or operator.CustomOptionsLength():
            raise Refused("one of its operations is not in its list of operations")
        new.opcodeIndex = operator.OpcodeIndex()
        new.inputs = _places(operator.InputsAsNumpy(), things[2], absent=-1)
        new.outputs = _places(operator.OutputsAsNumpy(), things[2])
        new.builtinOptionsType = operator.BuiltinOptionsType()
        if operator.BuiltinOptions():
            new.builtinOptions = schema.BuiltinOptionsCreator(new.builtinOptionsType, operator.BuiltinOptions())
        made.operators.append(new)
    builder = flatbuffers.Builder(len(data) + 1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _litert_buffer(schema, original):
    new = schema.BufferT()
    if original.Offset() or original.Size():
        raise Refused("one of its arrays lies beyond the end of the file")
    if original.DataLength():
        new.data = original.DataAsNumpy()
    return new


def _litert_tensor(schema, original, held: list[int]):
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
    if len(places) > MOST_THINGS or ((places < absent) | (places >= count)).any():
        raise Refused("one of its operations takes a missing array")
    return places


def read_openvino(path: Path) -> tuple[bytes, bytes]:
    """XML and weights of an OpenVINO model: known layers, and constants within the weights. Raises Refused."""
    xml, weights = content(path, MOST_XML_BYTES), content(path.with_suffix(".bin"))
    layers: list[tuple[str, str]] = []
    claimed = depth = 0

    def refuse(*_):
        raise Refused("its XML declares a document type or an entity")

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, claimed
        depth += 1
        if depth > DEEPEST or (depth == 1 and name != "net"):
            raise Refused("its XML is not OpenVINO's")
        if name == "layer":
            layers.append((attributes.get("type", ""), attributes.get("version", "")))
        elif name == "data" and layers and layers[-1][0] == "Const":
            claimed += _openvino_constant(attributes, len(weights))

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.Parse(xml, True)
    only_known((kind for kind, _ in layers), OPENVINO_LAYERS)
    if strange := next((version for _, version in layers if not version.startswith("opset")), None):
        raise Refused(f"it holds a layer of {strange[:80]!r}, not of OpenVINO")
    if claimed > MOST_RATIO * len(weights):
        raise Refused(f"the {len(weights):,} bytes of its weights claim to be {claimed:,}")
    return xml, weights


def _openvino_constant(attributes: dict[str, str], there: int) -> int:
    """The bytes of a constant. Raises Refused if they are not all in the weights, or not what its shape needs."""
    offset, size = int(attributes["offset"]), int(attributes["size"])
    shape = [int(side) for side in attributes.get("shape", "").split(",") if side.strip()]
    bits = OPENVINO_BITS.get(attributes.get("element_type", ""))
    if bits is None or not 0 <= offset <= offset + size <= there or size != -(-numbers(shape, "Const") * bits // 8):
        raise Refused("one of its constants is not in its weights")
    return size


def check_saved_model(path: Path) -> None:
    """A SavedModel whose functions compute and touch no file. Raises Refused.

    Opening one restores its variables and runs what its objects request. So no object may be an asset or a resource,
    and no function named by an object, directly or through calls, may hold an unknown operation.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    _check_saved_model_files(path)
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString(content(path / "saved_model.pb"))
    if len(saved.meta_graphs) != 1 or not saved.meta_graphs[0].object_graph_def.nodes:
        raise Refused("it holds no model of one graph and its objects")
    original = saved.meta_graphs[0]
    if original.asset_file_def:
        raise Refused("it has files besides its variables")
    functions = {function.signature.name: function.node_def for function in original.graph_def.library.function}
    reached = _reached(_named_functions(original.object_graph_def), functions)
    only_known((node.op for name in reached for node in functions[name]), TENSORFLOW_OPERATIONS)
    rest = [*original.graph_def.node, *(node for nodes in functions.values() for node in nodes)]
    only_known((node.op for node in rest), TENSORFLOW_OPERATIONS | SAVING_OPERATIONS)
    constants = [(node.name, node.attr["value"].tensor.tensor_shape) for node in rest if "value" in node.attr]
    if sum(numbers((side.size for side in shape.dim), name) for name, shape in constants) > MOST_NUMBERS:
        raise Refused("its constants claim to be larger than any model's")
    index = tf.train.load_checkpoint(str(path / "variables" / "variables"))
    kinds, shapes = index.get_variable_to_dtype_map(), index.get_variable_to_shape_map()
    claimed = sum(numbers(shape, name) * max(1, kinds[name].size or 1) for name, shape in shapes.items())
    there = (path / "variables" / "variables.data-00000-of-00001").stat().st_size
    if claimed > there + MOST_THINGS:
        raise Refused(f"the {there:,} bytes of its variables claim to be {claimed:,}")


def _check_saved_model_files(path: Path) -> None:
    for folder, folders, names in os.walk(path):
        for name in [*folders, *names]:
            file = Path(folder) / name
            place = file.relative_to(path).as_posix()
            is_known = place in ("assets", "variables") if file.is_dir() else place in SAVED_MODEL_FILES
            if file.is_symlink() or not is_known:
                raise Refused(f"it holds {place[:80]!r}")
            if file.is_file() and file.stat().st_size > MOST_BYTES:
                raise Refused(f"{place} is larger than {MOST_BYTES // 2**20:,} MB")
    if missing := sorted(name for name in SAVED_MODEL_FILES if not (path / name).is_file()):
        raise Refused(f"it lacks {missing[0]}")


def _named_functions(objects) -> set[str]:
    """The functions that the objects of a SavedModel name. Raises Refused for an object that is more than that."""
    names = set(objects.concrete_functions)
    for node in objects.nodes:
        kind = node.WhichOneof("kind")
        if kind not in OBJECTS:
            raise Refused(f"it holds an object of the kind {str(kind)[:80]!r}, which none of our exports has")
        if node.registered_name not in ("", "tf.TrackableConstant") or node.registered_saver:
            raise Refused(
                f"it holds an object of the class {node.registered_name[:80] or node.registered_saver[:80]!r}"
            )
        if kind == "variable":
            numbers((side.size for side in node.variable.shape.dim), node.variable.name)
        one = (node.bare_concrete_function.concrete_function_name, node.captured_tensor.concrete_function)
        names |= set(node.function.concrete_functions) | set(one) - {""}
    return names


def _reached(names: Iterable[str], functions: dict[str, list]) -> set[str]:
    """These functions and all that they call. Raises Refused if one is missing."""
    waiting, reached = list(names), set()
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        if name not in functions:
            raise Refused(f"it calls {name[:80]!r}, which is not there")
        reached.add(name)
        for node in functions[name]:
            for attribute in node.attr.values():
                waiting += [attribute.func.name] if attribute.HasField("func") else []
                waiting += [called.name for called in attribute.list.func]
    return reached
