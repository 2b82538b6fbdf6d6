"""Exported files of a few hundred bytes that take gigabytes: run in a separate process, they end in one sentence."""

import signal

import keras
import numpy as np
import pytest
from measuring import measured

from lungkeras.prediction import runtimes
from lungkeras.system.errors import RunError

SIZE, DOUBLINGS = 64, 17
SCANS = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE), dtype=np.uint8)


def onnx_model(doublings: int) -> bytes:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [helper.make_node("Cast", ["scan"], ["x0"], to=kinds.FLOAT)]
    nodes += [helper.make_node("Concat", [f"x{i}"] * 2, [f"x{i + 1}"], axis=3) for i in range(doublings)]
    nodes += [helper.make_node("ReduceMean", [f"x{doublings}"], ["mean"], axes=[1, 2], keepdims=0)]
    nodes += [helper.make_node("Slice", ["mean", "from", "to", "axis"], ["logits"])]
    held = [helper.make_tensor(name, kinds.INT64, [1], [value]) for name, value in
            {"from": 0, "to": 2 if doublings else 1, "axis": 1}.items()]  # fmt: skip
    takes = helper.make_tensor_value_info("scan", kinds.UINT8, ["N", SIZE, SIZE, 1])
    gives = helper.make_tensor_value_info("logits", kinds.FLOAT, ["N", None])
    graph = helper.make_graph(nodes, "graph", [takes], [gives], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


ASK = """
import numpy as np
from lungkeras.prediction import runtimes
print(runtimes.open_exported(sys.argv[1])(np.zeros((1, 64, 64), np.uint8)).shape)
"""


def test_shapes_of_onnx_are_inferred_before_it_is_opened(tmp_path, injected):
    file = tmp_path / "model.onnx"
    file.write_bytes(onnx_model(DOUBLINGS))
    done = measured(ASK, file)
    assert done.said.startswith(f"RunError: {file} is refused before ONNX opens it: one of its operations gives")
    assert done.megabytes < 300
    injected("exported files that would fill memory", 1)


def test_what_runs_out_of_memory_apart_is_a_sentence(tmp_path, monkeypatch, injected):
    """Shapes that nothing infers: the process has its bound."""
    file = tmp_path / "model.onnx"
    file.write_bytes(onnx_model(DOUBLINGS))
    monkeypatch.setattr(
        runtimes,
        "SERVE",
        f"from lungkeras.system.untrusted import exported_files; exported_files.MOST_NUMBERS = 2**40; {runtimes.SERVE}",
    )
    with pytest.raises(RunError) as caught:
        runtimes.open_exported(file)(SCANS)
    assert "\n" not in str(caught.value)
    assert "has no output for scans" in str(caught.value) or "the process that ran it ended" in str(caught.value)
    injected("exported files that would fill memory", 1)


def test_what_runs_apart_answers_as_here_and_ends_with_who_asks(tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(onnx_model(1))
    one = runtimes.open_exported(file)
    assert np.array_equal(one(SCANS), runtimes.open_exported(file, here=True)(SCANS))
    with pytest.raises(RunError, match="no output for scans"):
        one(SCANS[:, :10])
    assert one(SCANS).shape == (3, 2)
    process = one.process
    del one
    assert process.poll() is not None


def test_a_runtime_that_dies_is_a_sentence(tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(onnx_model(1))
    one = runtimes.open_exported(file)
    one.process.send_signal(signal.SIGKILL)
    with pytest.raises(RunError, match=r"the process that ran it ended \(SIGKILL\)"):
        one(SCANS)


def concatenated(doublings: int) -> keras.Model:
    scans = keras.Input((SIZE, SIZE, 1), dtype="uint8", name="scan")
    x = keras.layers.Rescaling(1 / 64)(scans)
    for _ in range(doublings):
        x = keras.layers.Concatenate()([x, x])
    return keras.Model(scans, keras.layers.GlobalMaxPooling2D()(x)[:, :2])


@pytest.mark.faults
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow makes the exports")
@pytest.mark.parametrize("kind", ["saved_model", "litert", "openvino"])
def test_other_runtimes_have_the_same_bound(kind, tmp_path, injected):
    from lungkeras.prediction import converters

    file = tmp_path / f"model{runtimes.SUFFIXES[kind]}"
    converters.convert(concatenated(DOUBLINGS), file, kind, None)
    done = measured(ASK, file)
    assert (done.said.splitlines()[-1].startswith("RunError: ") and "no answer" in done.said) or "refused" in done.said
    injected("exported files that would fill memory", 1)
