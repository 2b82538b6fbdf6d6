"""Checks the XML and the weights of an OpenVINO model before its runtime opens them."""

# ruff: noqa: SIM905 (long lists of operations read best as words)

from __future__ import annotations

from pathlib import Path
from xml.parsers import expat

from lungkeras.system.errors import Refused
from lungkeras.system.untrusted.exported_files import MOST_RATIO, content, numbers, only_known

MOST_XML_BYTES = 64 * 2**20
DEEPEST = 20


OPENVINO_LAYERS = set(
    """
    Abs Add AvgPool BatchNormInference Clamp Concat Const Convert ConvertLike Convolution DepthToSpace Divide Elu
    Erf Exp FakeQuantize Floor Gather Gelu GroupConvolution HardSigmoid HSigmoid HSwish Log MatMul Maximum MaxPool
    Minimum Mish Multiply MVN Negative Pad Parameter Power PRelu PReLU ReduceMax ReduceMean ReduceProd ReduceSum
    Relu ReLU Reshape Result Round ShapeOf Sigmoid Slice Softmax SoftMax SoftPlus SpaceToDepth Split Sqrt
    SquaredDifference Squeeze StridedSlice Subtract Swish Tanh Transpose Unsqueeze VariadicSplit
    """.split()
)


OPENVINO_BITS = {"f64": 64, "f32": 32, "f16": 16, "bf16": 16, "i64": 64, "i32": 32, "i16": 16, "i8": 8, "i4": 4,
                 "u64": 64, "u32": 32, "u16": 16, "u8": 8, "u4": 4, "u1": 1, "boolean": 8}  # fmt: skip


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
            claimed += _constant(attributes, len(weights))

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


def _constant(attributes: dict[str, str], there: int) -> int:
    """The bytes of a constant. Raises Refused if they are not all in the weights, or not what its shape needs."""
    offset, size = int(attributes["offset"]), int(attributes["size"])
    shape = [int(side) for side in attributes.get("shape", "").split(",") if side.strip()]
    bits = OPENVINO_BITS.get(attributes.get("element_type", ""))
    if bits is None or not 0 <= offset <= offset + size <= there or size != -(-numbers(shape, "Const") * bits // 8):
        raise Refused("one of its constants is not in its weights")
    return size
