"""Exported files that attack whoever opens them: refused before a runtime sees them, and nothing of them has run."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from lungkeras.prediction import runtimes
from lungkeras.system.errors import RunError
from lungkeras.system.untrusted import exported_files

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow makes the exports")
SIZE = 16
SCANS = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE), dtype=np.uint8)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    scans = keras.Input((SIZE, SIZE, 1), dtype="uint8", name="scan")
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(keras.layers.Rescaling(1 / 64)(scans))
    return keras.Model(scans, keras.layers.Dense(3, name="logits")(keras.layers.GlobalAveragePooling2D()(x)))


def refused(path: Path, said: str) -> None:
    with pytest.raises(RunError) as caught:
        runtimes.open_exported(path, here=True)
    assert said in str(caught.value)
    assert "is refused before" in str(caught.value)
    assert str(caught.value).count(". ") == 1 and "\n" not in str(caught.value)


def test_a_file_that_is_larger_than_any_export_is_not_read(tmp_path, monkeypatch, injected):
    pytest.importorskip("onnx")
    monkeypatch.setattr(exported_files, "MOST_BYTES", 100)
    file = tmp_path / "model.onnx"
    with file.open("wb") as opened:
        opened.truncate(10**12)
    with pytest.raises(exported_files.Refused, match=r"larger than"):
        exported_files.content(file, 2**30)
    refused(file, "model.onnx is larger than")
    injected("exported files that attack", 1)


# ONNX


def onnx_attacks(secret: str) -> dict:
    """Name -> (model, what the refusal says)."""
    from onnx import TensorProto, helper, numpy_helper

    takes = helper.make_tensor_value_info("scan", TensorProto.UINT8, ["N", SIZE, SIZE, 1])
    gives = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])
    weights = np.zeros((SIZE * SIZE, 3), np.float32)

    def outside(name: str):
        tensor = numpy_helper.from_array(weights, name)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=secret)
        return tensor

    def built(*more, tensors=(), first="scan", **options):
        nodes = [
            helper.make_node("Cast", [first], ["grey"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["grey"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ]
        held = [numpy_helper.from_array(weights, "weights"), *tensors]
        held = list({tensor.name: tensor for tensor in held}.values())
        graph = helper.make_graph([*more, *nodes], "graph", [takes], [gives], held)
        domains = [("", 17), ("com.microsoft", 1), ("evil", 1)]
        opsets = [helper.make_opsetid(*domain) for domain in domains]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8, **options)

    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["out"], value=outside("hidden"))],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    )
    bomb = numpy_helper.from_array(weights[:1], "bomb")
    bomb.dims[:] = [8_000, 8_000]
    huge = numpy_helper.from_array(weights[:1], "huge")
    huge.dims[:] = [2**40, 2**40]
    sparse = built()
    sparse.graph.sparse_initializer.add(values=numpy_helper.from_array(weights[0], "sparse"), dims=[10**9])
    function = helper.make_function("evil", "F", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])],
                                    [helper.make_opsetid("", 17)])  # fmt: skip
    trained = built()
    trained.training_info.add()
    return {
        "honest": (built(), None),
        # Bytes 4 to 8 are those by which onnxruntime knows its own format.
        "of two formats": (built(producer_name="ORTM"), None),
        "weights in another file": (built(tensors=[outside("weights")]), "'weights' is in another file"),
        "a constant in another file": (
            built(helper.make_node("Constant", [], ["stolen"], value=outside("stolen"))),
            "'stolen' is in another file",
        ),
        "a branch of its own": (
            built(
                helper.make_node("If", ["yes"], ["stolen"], then_branch=branch, else_branch=branch),
                tensors=[numpy_helper.from_array(np.array(True), "yes")],
            ),
            "'If' holds a graph of its own",
        ),
        "somebody's operation": (built(helper.make_node("F", ["scan"], ["out"], domain="evil")), "'F' of 'evil'"),
        "an operation of another domain": (
            built(helper.make_node("Tokenizer", ["scan"], ["out"], domain="com.microsoft")),
            "'Tokenizer' of 'com.microsoft'",
        ),
        "a function of its own": (built(functions=[function]), "functions, training or sparse arrays"),
        "training": (trained, "functions, training or sparse arrays"),
        "a sparse array": (sparse, "functions, training or sparse arrays"),
        "an array out of nothing": (
            built(
                helper.make_node("ConstantOfShape", ["shape"], ["bomb"]),
                tensors=[numpy_helper.from_array(np.array([10**6, 10**6]), "shape")],
            ),
            "the operation 'ConstantOfShape'",
        ),
        "more numbers than bytes": (built(tensors=[bomb]), "claim to be 64,000,768 numbers"),
        "endless numbers": (built(tensors=[huge]), "'huge' has the shape"),
    }


def test_an_onnx_file_that_points_elsewhere_or_brings_operations_is_refused(tmp_path, injected):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    (tmp_path / "secret.bin").write_bytes(np.arange(3 * SIZE**2, dtype=np.float32).tobytes())
    attacks = onnx_attacks("secret.bin")
    file = tmp_path / "model.onnx"
    import onnxruntime

    file.write_bytes(attacks["weights in another file"][0].SerializeToString())
    trusting = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert trusting.run(None, {"scan": SCANS[..., None]})[0].any(), "what would be read of the other file"
    for onnx_model, said in attacks.values():
        file.write_bytes(onnx_model.SerializeToString())
        if said:
            refused(file, said)
        else:
            assert runtimes.open_exported(file, here=True)(SCANS).shape == (3, 3)
    injected("exported files that attack", len(attacks) - 2)


# LiteRT


@pytest.fixture(scope="module")
def litert(model, tmp_path_factory) -> bytes:
    pytest.importorskip("ai_edge_litert")
    path = tmp_path_factory.mktemp("litert") / "model.tflite"
    model.export(str(path), format="litert", verbose=False)
    return path.read_bytes()


def packed(model) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def litert_attacks(honest: bytes) -> dict[str, tuple[bytes, str]]:
    from ai_edge_litert import schema_py_generated as schema

    def changed(change) -> bytes:
        model = schema.ModelT.InitFromPackedBuf(bytearray(honest))
        change(model, model.subgraphs[0])
        return packed(model)

    def custom(model, _):
        model.operatorCodes[0].customCode = b"FlexReadFile"
        coded(model, schema.BuiltinOperator.CUSTOM)

    def calls(model, _):
        coded(model, schema.BuiltinOperator.WHILE)

    def coded(model, kind):
        model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = kind

    def elsewhere(model, _):
        model.buffers[1].data, model.buffers[1].offset, model.buffers[1].size = None, 10**6, 10**6

    def doubled(model, graph):
        model.subgraphs.append(graph)

    def no_such_input(_, graph):
        graph.operators[0].inputs = np.array([10**6], np.int32)

    def no_such_output(_, graph):
        graph.outputs = np.array([-1], np.int32)

    def no_such_buffer(_, graph):
        graph.tensors[0].buffer = 10**6

    def constant(model, graph):
        return next(tensor for tensor in graph.tensors if model.buffers[tensor.buffer].data is not None)

    def short(model, graph):
        constant(model, graph).shape = np.array([8_000, 8_000], np.int32)

    def endless(model, graph):
        graph.tensors[graph.outputs[0]].shape = np.array([2**30, 2**30], np.int32)

    def words(_, graph):
        graph.tensors[0].type = schema.TensorType.STRING

    def scale(model, graph):
        tensor = constant(model, graph)
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.zeros(7, np.float32)
        tensor.quantization.zeroPoint = np.zeros(3, np.int64)

    return {
        "an operation of another library": (changed(custom), "the operation 'CUSTOM'"),
        "a loop": (changed(calls), "the operation 'WHILE'"),
        "weights behind its end": (changed(elsewhere), "lies beyond the end"),
        "two graphs": (changed(doubled), "holds 2 graphs"),
        "an input that is not there": (changed(no_such_input), "a missing array"),
        "an output that is not there": (changed(no_such_output), "a missing array"),
        "weights that are not there": (changed(no_such_buffer), "not a plain array"),
        "fewer weights than its shape": (changed(short), "an array of the shape"),
        "an endless array": (changed(endless), "has the shape"),
        "words": (changed(words), "not a plain array"),
        "a scale for nothing": (changed(scale), "no plain scale"),
        "another format": (b"\0\0\0\0ZZZZ" + honest[8:], "not a LiteRT file"),
    }


def test_a_litert_file_of_other_operations_or_wild_offsets_is_refused(litert, tmp_path, injected):
    attacks = litert_attacks(litert)
    file = tmp_path / "model.tflite"
    for content, said in attacks.values():
        file.write_bytes(content)
        refused(file, said)
    injected("exported files that attack", len(attacks))


# OpenVINO


@pytest.fixture(scope="module")
def openvino(model, tmp_path_factory) -> Path:
    pytest.importorskip("openvino")
    path = tmp_path_factory.mktemp("openvino") / "model.xml"
    model.export(str(path), format="openvino", verbose=False)
    return path


def openvino_attacks(honest: str, secret: Path) -> dict[str, tuple[str, str]]:
    entity = f'<!DOCTYPE net [<!ENTITY stolen SYSTEM "file://{secret}">]>'
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    start = honest.index("<net")
    layer = '<layer id="900" name="evil" type="{}" version="{}"><data {}/></layer>'

    def with_layer(kind, version="opset1", data=""):
        return honest.replace("<layers>", "<layers>" + layer.format(kind, version, data), 1)

    return {
        "an entity of another file": (entity + honest[start:].replace("</net>", "&stolen;</net>"), "a document type"),
        "entities of entities": (f'<!DOCTYPE net [<!ENTITY l0 "ha">{laughs}]>' + honest[start:], "a document type"),
        "another document": ("<svg></svg>", "not OpenVINO's"),
        "endless nesting": ("<net>" + "<a>" * 10_000, "not OpenVINO's"),
        "an unknown layer": (with_layer("ReadFile"), "the operation 'ReadFile'"),
        "a layer of an extension": (with_layer("Add", "extension"), "a layer of 'extension'"),
        "a loop": (with_layer("Loop"), "the operation 'Loop'"),
        "weights behind the end": (
            with_layer("Const", data='element_type="f32" shape="4" offset="1000000000" size="16"'),
            "is not in its weights",
        ),
        "weights before the start": (
            with_layer("Const", data='element_type="f32" shape="4" offset="-16" size="16"'),
            "is not in its weights",
        ),
        "fewer weights than its shape": (
            with_layer("Const", data='element_type="f32" shape="1000,1000" offset="0" size="16"'),
            "is not in its weights",
        ),
        "an endless array": (
            with_layer("Const", data='element_type="f32" shape="1000000,1000000" offset="0" size="16"'),
            "has the shape",
        ),
        "words": (
            with_layer("Const", data='element_type="string" shape="4" offset="0" size="16"'),
            "is not in its weights",
        ),
    }


def test_an_openvino_file_of_entities_or_other_layers_is_refused(openvino, tmp_path, injected):
    (secret := tmp_path / "secret.txt").write_text("secret")
    attacks = openvino_attacks(openvino.read_text(), secret)
    file = Path(shutil.copy(openvino, tmp_path))
    refused(file, "model.bin is missing")
    shutil.copy(openvino.with_suffix(".bin"), tmp_path)
    for content, said in attacks.values():
        file.write_text(content)
        refused(file, said)
    injected("exported files that attack", len(attacks) + 1)


# SavedModel


def saved_model_attacks(folder: Path, canary: Path) -> dict[str, str]:
    """Name of a SavedModel in `folder` -> what its refusal says. Each would write the canary, or show a secret."""
    import tensorflow as tf

    secret = folder / "secret.txt"
    secret.write_text("secret")
    scans = tf.TensorSpec((None, SIZE, SIZE, 1), tf.uint8)
    nothing = tf.zeros((1, 3))

    def reads(images):
        return nothing + tf.cast(tf.strings.length(tf.io.read_file(str(secret))), tf.float32)

    def writes(images):
        tf.io.write_file(str(canary), "written")
        return nothing

    def runs_python(images):
        return tf.py_function(lambda: nothing, [], tf.float32)

    def saves(images):
        tf.raw_ops.SaveV2(prefix=str(canary), tensor_names=["a"], shape_and_slices=[""], tensors=[nothing])
        return nothing

    def removes(images):
        tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=[str(secret)], destination_prefix=str(canary))
        return nothing

    def loops(images):
        return tf.while_loop(lambda x: tf.reduce_sum(x) >= 0, lambda x: (x + 1,), (nothing,))[0]

    def prints(images):
        tf.print("\x1b[2J", output_stream=f"file://{canary}")
        return nothing

    def claims(images):
        return nothing + tf.reduce_sum(tf.raw_ops.Fill(dims=[10**9, 10**9], value=0.0))

    unwanted = {
        "reads": (reads, "'ReadFile'"),
        "writes": (writes, "'WriteFile'"),
        "python": (runs_python, "'EagerPyFunc'"),
        "saves": (saves, "'SaveV2'"),
        "removes": (removes, "'MergeV2Checkpoints'"),
        "loops": (loops, "which none of our exports has"),
        "prints": (prints, "'PrintV2'"),
        "claims": (claims, "'Fill'"),
    }
    attacks = {}
    for name, (function, said) in unwanted.items():
        module = tf.Module()
        module.scale = tf.Variable(1.0)
        module.serve = tf.function(function, input_signature=[scans])
        tf.saved_model.save(module, str(folder / name))
        attacks[name] = said

    class Opened(tf.saved_model.experimental.TrackableResource):
        def _create_resource(self):
            return tf.raw_ops.StackV2(max_size=1, elem_type=tf.float32)

        def _initialize(self):
            tf.io.write_file(str(canary), "written while it is opened")

    module = tf.Module()
    module.scale, module.resource = tf.Variable(1.0), Opened()
    module.serve = tf.function(lambda images: nothing * module.scale, input_signature=[scans])
    module.touch = tf.function(lambda: module.resource.resource_handle, input_signature=[])
    tf.saved_model.save(module, str(folder / "resource"))
    attacks["resource"] = "an object of the kind 'resource'"
    canary.unlink(missing_ok=True)
    tf.saved_model.load(str(folder / "resource"))
    assert canary.exists(), "what it would do"
    canary.unlink()

    module = tf.Module()
    module.scale, module.asset = tf.Variable(1.0), tf.saved_model.Asset(str(secret))
    module.serve = tf.function(lambda images: nothing * module.scale, input_signature=[scans])
    tf.saved_model.save(module, str(folder / "asset"))
    attacks["asset"] = "it holds 'assets/secret.txt'"
    shutil.copytree(folder / "asset", folder / "moved asset")
    shutil.rmtree(folder / "moved asset" / "assets")
    attacks["moved asset"] = "it has files besides its variables"
    return attacks


def test_a_saved_model_whose_functions_touch_files_is_refused(model, tmp_path, injected):
    canary = tmp_path / "canary"
    honest = tmp_path / "honest"
    model.export(str(honest), format="tf_saved_model", verbose=False)
    expected = np.asarray(model(SCANS[..., None]))
    np.testing.assert_allclose(runtimes.open_exported(honest, here=True)(SCANS), expected, atol=1e-5)
    attacks = saved_model_attacks(tmp_path, canary)
    for name, said in attacks.items():
        refused(tmp_path / name, said)

    def copy(name: str) -> Path:
        return shutil.copytree(honest, tmp_path / name)

    (copy("more") / "variables" / "evil.so").touch()
    refused(tmp_path / "more", "it holds 'variables/evil.so'")
    data = copy("link") / "variables" / "variables.data-00000-of-00001"
    data.unlink()
    data.symlink_to(tmp_path / "secret.txt")
    refused(tmp_path / "link", "it holds 'variables/variables.data")
    (copy("lacks") / "variables" / "variables.index").unlink()
    refused(tmp_path / "lacks", "it lacks variables/variables.index")
    (copy("short") / "variables" / "variables.data-00000-of-00001").write_bytes(b"")
    with pytest.raises(RunError):
        runtimes.open_exported(tmp_path / "short", here=True)
    (copy("first release") / "saved_model.pb").write_bytes(without_objects(honest))
    refused(tmp_path / "first release", "no model of one graph and its objects")
    assert not canary.exists() and not list(tmp_path.glob("canary*"))
    injected("exported files that attack", len(attacks) + 5)


def without_objects(folder: Path) -> bytes:
    """A SavedModel as TensorFlow 1 wrote it: then its graph, not its objects, says what to run while it is opened."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    saved.meta_graphs[0].ClearField("object_graph_def")
    return saved.SerializeToString()


# Flipped bits, in a process of its own, as a runtime that follows a wild offset ends its process.

OPENED = """
import sys
from pathlib import Path
import numpy as np
from lungkeras.prediction import runtimes
from lungkeras.system.errors import RunError

scans = np.zeros((1, int(sys.argv[2]), int(sys.argv[2])), np.uint8)
answered = 0
for file in sorted(path for path in Path(sys.argv[1]).iterdir() if path.suffix != ".bin"):
    try:
        runtimes.open_exported(file, threads=1, here=True)(scans)
        answered += 1
    except RunError as error:
        assert "needs the package" not in str(error)
    file.unlink()
print(answered)
"""


@pytest.mark.parametrize(
    ("format", "number"),
    [
        ("litert", 60),
        pytest.param("litert", 1000, marks=pytest.mark.faults),
        pytest.param("onnx", 300, marks=pytest.mark.faults),
        pytest.param("openvino", 300, marks=pytest.mark.faults),
    ],
)
def test_flipped_bits_of_an_exported_file_crash_nothing(format, number, request, tmp_path, injected):
    if format == "onnx":
        pytest.importorskip("onnxruntime")
        honest = onnx_attacks("secret.bin")["honest"][0].SerializeToString()
    elif format == "litert":
        honest = request.getfixturevalue("litert")
    else:
        xml = request.getfixturevalue("openvino")
        honest, weights = xml.read_bytes(), xml.with_suffix(".bin")
    draw = random.Random(number)
    for place in range(number):
        content = bytearray(honest)
        for _ in range(draw.choice([1, 1, 2, 8])):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file = tmp_path / f"{place:04d}{runtimes.SUFFIXES[format]}"
        file.write_bytes(content[: draw.choice([None, None, None, len(content) // 2])])
        if format == "openvino":
            shutil.copy(weights, file.with_suffix(".bin"))
    command = [sys.executable, "-c", OPENED, str(tmp_path), str(SIZE)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    left = sorted(path for path in tmp_path.iterdir() if path.suffix != ".bin")
    assert done.returncode == 0, f"{left[0]}: {done.stderr[-2000:]}"
    assert 0 < int(done.stdout.split()[-1]) < number
    injected("exported files of flipped bits", number)


# What stands beside a file


@pytest.mark.parametrize(
    "described",
    [
        "[]",
        "[" * 100_000,
        '{"classes": ["\\u001b[2J", "b"], "task": "multiclass", "image_size": 16}',
        '{"classes": ["a", "a"], "task": "multiclass", "image_size": 16}',
        '{"classes": ["a", "b"], "task": "multiclass", "image_size": 16, "temperature": NaN}',
        '{"classes": ["a", "b"], "task": "multiclass", "image_size": 16, "temperature": "hot"}',
        '{"classes": ["a", "b"], "task": "multiclass", "image_size": 1000000}',
        '{"classes": ["a", "b"], "task": "multiclass", "image_size": 16, "more": "' + "x" * 2_000_000 + '"}',
    ],
)
def test_the_json_of_an_export_is_checked(described, tmp_path, injected):
    (tmp_path / "model.onnx.json").write_text(described)
    with pytest.raises(RunError, match=r"read from model\.onnx\.json beside it, which is missing or broken"):
        runtimes.read_about(tmp_path / "model.onnx")
    injected("exported files that attack", 1)
