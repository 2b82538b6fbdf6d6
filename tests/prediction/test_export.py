"""Exports: what each runtime answers is what Keras answers, and what is off is refused."""

import gc
import json
import shutil
import sys

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from lungkeras import cli
from lungkeras.datasets.registry import DATASETS, read_records
from lungkeras.models import build as models
from lungkeras.models import layers
from lungkeras.prediction import converters, devices, export, images, predict, runtimes
from lungkeras.preparation.folder import load_prepared
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.report import tables
from lungkeras.scores import metrics
from lungkeras.study.params import Params
from lungkeras.system.errors import ParamsError, RunError
from lungkeras.training.one_run import train

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow makes the exports")
SIZE = 32
PACKAGES = {
    "litert": ["ai_edge_litert"],
    "onnx": ["onnx", "onnxruntime", "tf2onnx"],
    "openvino": ["openvino"],
    "saved_model": [],
}
FAMILIES = [
    *("convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_b0", "inception_resnet_v2", "inception_v3"),
    *("mobilenet", "mobilenet_v2", "mobilenet_v3_small", "nasnet_mobile", "resnet34", "resnet50", "resnet50_v2"),
    *("vgg16", "xception"),
]
CASES = [("litert", False), ("litert", True), ("onnx", False), ("onnx", True), ("openvino", False), ("openvino", True),
         ("saved_model", False)]  # fmt: skip


def small_network(prepared):
    """A network of a second, with the layers that the backbones have."""
    scans = keras.Input((prepared.size, prepared.size, 1), dtype="uint8", name="scan")
    grey = keras.layers.Rescaling(1 / prepared.std, -prepared.mean / prepared.std)(scans)
    x = keras.layers.Concatenate()([grey, grey, grey])
    for filters in (8, 16):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.5)(x)
        x = keras.layers.Activation("hard_swish")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)
    x = keras.layers.Conv2D(16, 3, padding="same", groups=16, activation="gelu")(x)  # ConvNeXt has these three
    x = keras.layers.LayerNormalization()(x)
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = keras.layers.Multiply()([x, keras.layers.Conv2D(16, 1, activation="sigmoid")(gate)])
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(scans, keras.layers.Dense(len(prepared.classes), name="logits")(x))


def trained(folder, source, build=None, size=SIZE):
    """A study in `folder` with one run that learned from a few drawn scans; the run's folder."""
    prepare_dataset("pneumonia", source, folder / "prepared" / "pneumonia", size=size)
    params = Params(
        dataset="pneumonia",
        prepared=str(folder / "prepared"),
        runs=str(folder / "runs"),
        image_size=size,
        epochs=3,
        batch_size=8,
        learning_rate=0.01,
        batch_norm_momentum=0.5,
    )
    return train(params, build and build(load_prepared(params.prepared_folder)))


@pytest.fixture(scope="module")
def run(phantom_source, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("study"), phantom_source("pneumonia"), small_network)


@pytest.fixture(scope="module")
def larger_run(phantom_source, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("larger"), phantom_source("pneumonia"), small_network, size=75)


@pytest.fixture(scope="module")
def study(run):
    return run.parents[1]


def _need(format, int8=False):
    for package in PACKAGES[format] + PACKAGES["onnx"] * (int8 and format == "openvino"):
        pytest.importorskip(package, reason="exports need the extra [export]")


def _check(run, format, int8):
    study = run.parents[1]
    about = export.export_run(run, format, int8=int8)
    scans = load_prepared(study / "prepared" / "pneumonia").images["test"]
    model = models.load_model(run / "best.keras")
    expected = metrics.probabilities(np.asarray(model(scans[..., None], training=False)), "multiclass")
    logits = runtimes.open_exported(about["path"], here=True)(scans)
    assert logits.dtype == np.float32
    received = metrics.probabilities(logits, "multiclass")
    np.testing.assert_allclose(received, expected, atol=0.3 if int8 else 1e-4)
    assert about["largest_difference"] == pytest.approx(np.abs(received - expected).max(), abs=1e-5)
    assert about["labels_agree"] == (received.argmax(axis=1) == expected.argmax(axis=1)).mean()
    assert about["milliseconds"] > 0
    keras_size = sum(weight.nbytes for weight in model.get_weights()) / 1e6
    # The variables of a SavedModel take twice the bytes of the weights, as Keras writes them.
    most = 0.5 if int8 else 2.2 if format == "saved_model" else 1.5
    assert about["megabytes"] < most * keras_size + 0.2


@pytest.mark.parametrize(("format", "int8"), CASES)
def test_an_export_answers_as_keras_does(format, int8, run):
    _need(format, int8)
    _check(run, format, int8)


@pytest.mark.slow
def test_exports_of_mobilenet_answer_as_keras_does(phantom_source, tmp_path):
    run = trained(tmp_path, phantom_source("pneumonia"))
    for format, int8 in CASES:
        _check(run, format, int8)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", FAMILIES)
def test_one_of_each_family_exports_to_each_format(backbone, larger_run, tmp_path):
    """What an export gets wrong shows in decided answers, which fresh weights do not give: their logits are spread."""
    folder = shutil.copytree(larger_run, tmp_path / "run")
    prepared = load_prepared(larger_run.parents[1] / "prepared" / "pneumonia")
    model = models.build_model(backbone, 3, "multiclass", image_size=75, mean=prepared.mean, std=prepared.std, seed=0)
    logits = np.asarray(model(prepared.images["test"][..., None], training=False))
    last, spread = model.get_layer("logits"), 1 / logits.std(axis=0)
    kernel, bias = last.get_weights()
    last.set_weights([kernel * spread, (bias - logits.mean(axis=0)) * spread])
    models.save_model(model, folder / "best.keras")
    for format, int8 in CASES:
        if not int8:
            about = export.export_run(folder, format)
            assert about["labels_agree"] == 1.0, format
    keras.backend.clear_session()  # fifteen networks and their graphs are more than a machine may hold
    gc.collect()


def test_the_exports_of_a_study_are_a_table_that_the_report_shows(run, study):
    table = pd.read_csv(study / "tables" / "devices.csv")
    assert table["format"].iloc[0] == "keras"
    assert {"saved_model"} < set(table["format"])
    assert set(table["run"]) == {run.name}
    grid = tables.devices(table)
    assert [body["title"] for body in grid["bodies"]] == ["Pneumonia: MobileNetV3-Large, from scratch"]
    assert len(grid["bodies"][0]["rows"]) == len(table)
    file = run / "export" / "saved_model.json"
    kept = file.read_text()
    file.write_text(json.dumps(json.loads(kept) | {"model_sha256": "of an earlier model"}))
    assert "saved_model" not in set(devices.devices(study)["format"])
    file.write_text(kept)


@pytest.fixture(scope="module")
def onnx_file(run, tmp_path_factory):
    _need("onnx")
    file = tmp_path_factory.mktemp("exported") / "lungs.onnx"
    assert cli.main(["export", str(run), "--format", "onnx", "--to", str(file)]) == 0
    return file


def test_judge_asks_an_exported_file_about_the_scans_of_a_folder(onnx_file, phantom_source, tmp_path, capsys):
    source = phantom_source("pneumonia")
    records = read_records("pneumonia", source)
    names = {name: f"label_{name}" for name in DATASETS["pneumonia"].classes}
    labels = records[["path", "patient", *names]].rename(columns=names)
    labels.to_csv(tmp_path / "labels.csv", index=False)
    words = ("--source", source, "--labels", tmp_path / "labels.csv", "--to", tmp_path / "judged")
    assert cli.main(["judge", str(onnx_file), *map(str, words)]) == 0
    said = capsys.readouterr().out
    assert "60 scans, 3 classes (multiclass)" in said and "lungs: macro AUROC" in said
    answers, _ = predict.predict_images(predict.load_predictor(onnx_file), [source / path for path in records["path"]])
    given = answers[[f"probability_{name}" for name in names]].to_numpy()
    expected = roc_auc_score(records[list(names)].to_numpy(), given, average="macro")
    scores = pd.read_csv(tmp_path / "judged" / "tables" / "scores.csv")
    assert scores["macro_auroc"][0] == pytest.approx(expected, abs=1e-5) and scores["patients"][0] < 60
    assert (tmp_path / "judged" / "report.html").is_file()
    assert cli.main(["judge", str(onnx_file), "--to", str(tmp_path / "again")]) == 1
    assert "name the folder of scans to predict, with --source DIR" in capsys.readouterr().err


def test_predict_takes_an_exported_file_with_the_names_of_its_classes(run, onnx_file, phantom_source, tmp_path):
    file = tmp_path / "lungs.onnx"
    for each in onnx_file.parent.iterdir():
        shutil.copy(each, tmp_path)
    scans = images.find_images([phantom_source("pneumonia")])[:3]
    answers, failed = predict.predict_images(predict.load_predictor(file), scans)
    expected, _ = predict.predict_images(predict.load_predictor(run), scans)
    assert failed.empty
    pd.testing.assert_frame_equal(answers, expected, atol=1e-4, rtol=0)
    with pytest.raises(RunError, match="give the run's folder"):
        predict.write_heatmaps(predict.load_predictor(file), scans, tmp_path / "heatmaps")
    (tmp_path / "lungs.onnx.json").unlink()
    with pytest.raises(RunError, match="names of its classes"):
        predict.load_predictor(file)
    file.write_bytes(b"not a model")
    with pytest.raises(RunError, match="could not be opened by ONNX"):
        runtimes.open_exported(file, here=True)


def test_a_file_that_is_off_is_refused_and_not_kept(run, monkeypatch, tmp_path, capsys):
    def wrong(model, path, calibration):
        spoiled = keras.models.clone_model(model)
        spoiled.set_weights([weight + 0.05 for weight in model.get_weights()])
        spoiled.export(str(path), format="tf_saved_model", verbose=False)

    monkeypatch.setitem(converters.CONVERTERS, "saved_model", wrong)
    target = tmp_path / "off"
    assert cli.main(["export", str(run), "--format", "saved_model", "--to", str(target)]) == 1
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0
    assert "is not kept: its probabilities differ from Keras'" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "options", "error", "sentence"),
    [
        (("tflite",), {}, ParamsError, "expected one of litert, onnx"),
        (("saved_model",), {"int8": True}, ParamsError, "a SavedModel holds floats"),
        (("onnx",), {"to": "model.tflite"}, ParamsError, "ends in .onnx"),
    ],
)
def test_a_wrong_word_is_one_sentence(run, arguments, options, error, sentence):
    with pytest.raises(error, match=sentence):
        export.export_run(run, *arguments, **options)


def test_agreement_is_counted_by_scan_or_by_label_and_nan_does_not_pass():
    keras_says = np.array([[0.9, 0.1], [0.52, 0.48], [0.2, 0.8]])
    other_says = np.array([[0.8, 0.2], [0.48, 0.52], [0.6, 0.4]])
    found = export.compare(keras_says, other_says, "multiclass")
    assert found["labels_agree"] == pytest.approx(1 / 3)
    assert found["clear_labels_agree"] == pytest.approx(1 / 2)
    assert found["largest_difference"] == pytest.approx(0.4)
    assert found["mean_difference"] == pytest.approx((0.1 + 0.04 + 0.4) / 3)
    found = export.compare(keras_says, other_says, "multilabel")
    assert found["labels_agree"] == pytest.approx(2 / 6)
    assert export._fault(found, int8=True)
    broken = export.compare(keras_says, other_says * np.nan, "multiclass")
    assert export._fault(broken, int8=False)
    assert export._fault(broken, int8=True)


def test_a_missing_runtime_is_one_sentence(tmp_path, monkeypatch):
    for module in ("ai_edge_litert", "ai_edge_litert.interpreter"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "model.tflite").write_bytes(b"")
    with pytest.raises(RunError, match=r"LiteRT needs the package ai_edge_litert.*pip install 'lungkeras\[export\]'"):
        runtimes.open_exported(tmp_path / "model.tflite", here=True)
