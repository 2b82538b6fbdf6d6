"""Checks a SavedModel before TensorFlow opens it: it may do all that TensorFlow can, also read and write files."""

# ruff: noqa: SIM905 (long lists of operations read best as words)

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from lungkeras.system.errors import Refused
from lungkeras.system.untrusted import exported_files
from lungkeras.system.untrusted.exported_files import (
    MOST_ITEMS,
    content,
    numbers,
    only_known,
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


def check_saved_model(path: Path) -> None:
    """A SavedModel whose functions compute and touch no file. Raises Refused.

    Opening one restores its variables and runs what its objects request. So no object may be an asset or a resource,
    and no function named by an object, directly or through calls, may hold an unknown operation.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    _check_files(path)
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
    if sum(numbers((side.size for side in shape.dim), name) for name, shape in constants) > exported_files.MOST_NUMBERS:
        raise Refused("its constants claim to be larger than any model's")
    index = tf.train.load_checkpoint(str(path / "variables" / "variables"))
    kinds, shapes = index.get_variable_to_dtype_map(), index.get_variable_to_shape_map()
    claimed = sum(numbers(shape, name) * max(1, kinds[name].size or 1) for name, shape in shapes.items())
    there = (path / "variables" / "variables.data-00000-of-00001").stat().st_size
    if claimed > there + MOST_ITEMS:
        raise Refused(f"the {there:,} bytes of its variables claim to be {claimed:,}")


def _check_files(path: Path) -> None:
    for folder, folders, names in os.walk(path):
        for name in [*folders, *names]:
            file = Path(folder) / name
            place = file.relative_to(path).as_posix()
            is_known = place in ("assets", "variables") if file.is_dir() else place in SAVED_MODEL_FILES
            if file.is_symlink() or not is_known:
                raise Refused(f"it holds {place[:80]!r}")
            if file.is_file() and file.stat().st_size > exported_files.MOST_BYTES:
                raise Refused(f"{place} is larger than {exported_files.MOST_BYTES // 2**20:,} MB")
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
