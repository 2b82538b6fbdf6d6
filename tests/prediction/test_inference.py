"""Model files asked without Keras: logits and slopes are those of Keras, and what is not known is left to it."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from lungkeras.explanation import gradcam
from lungkeras.explanation.gradients import gradient_of
from lungkeras.models.build import build_model
from lungkeras.models.files import save_model
from lungkeras.prediction import inference, keras_layers, onnx_activations, onnx_model
from lungkeras.prediction.predict import load_predictor, predict_images
from lungkeras.scores import metrics
from lungkeras.system import files
from lungkeras.system.errors import RunError
from lungkeras.system.processes import variables

SIZE = 64


def random_scans(count=6):
    return np.random.default_rng(1).integers(0, 256, (count, SIZE, SIZE), dtype=np.uint8)


def written(folder, backbone):
    """A model whose batch normalisations have learned something, and its file."""
    model, random = build_model(backbone, 3, "multiclass", image_size=SIZE, seed=0), np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, *_, variance = layer.get_weights()
            shape = gamma.shape
            moved = [gamma * random.uniform(0.5, 1, shape), random.normal(0, 0.1, shape), random.normal(0, 0.1, shape)]
            layer.set_weights([*moved, variance * random.uniform(1, 2, shape)])
    save_model(model, folder / "best.keras")
    files.write_json(folder / "metrics.json", {"classes": ["a", "b", "c"], "task": "multiclass"})
    return model


@pytest.mark.backend
@pytest.mark.parametrize("backbone", ["mobilenet_v3_large", "efficientnet_b1", "resnet34", "densenet121"])
def test_logits_and_heat_maps_are_those_of_keras(tmp_path, backbone):
    model, scans = written(tmp_path, backbone), random_scans()
    network = inference.Network(tmp_path / "best.keras")
    expected = np.asarray(model.predict(scans[..., None], verbose=0))
    np.testing.assert_allclose(network(scans), expected, atol=1e-5 * max(1, np.abs(expected).max()))
    chosen = np.arange(len(scans)) % 3
    for method, maps in gradcam.heat_maps(model, scans, chosen).items():
        np.testing.assert_allclose(gradcam.heat_maps(network, scans, chosen)[method], maps, atol=2e-3)


@pytest.mark.parametrize("name", sorted(onnx_activations.ACTIVATIONS))
def test_slopes_pass_every_layer_that_is_known(tmp_path, name):
    scans = keras.Input((SIZE, SIZE, 1), dtype="uint8", name="scan")
    x = explained = keras.layers.Conv2D(6, 3, strides=2, padding="same", name="explained")(
        keras.layers.Rescaling(1 / 64, -2.0)(scans)
    )
    x = keras.layers.Activation(name)(keras.layers.BatchNormalization()(x))
    x = keras.layers.MaxPooling2D(2)(x)
    y = keras.layers.DepthwiseConv2D(5, strides=2, padding="valid")(keras.layers.ZeroPadding2D(((1, 2), (0, 3)))(x))
    y = keras.layers.Conv2D(8, 3, groups=2, padding="same", activation=name)(y)
    gate = keras.layers.Reshape((1, 1, 8))(keras.layers.GlobalAveragePooling2D()(y)) * 0.5 + 0.25
    y = keras.layers.Multiply()([gate, y])
    y = keras.layers.Concatenate()([y, keras.layers.Add()([y, y])])
    y = keras.layers.AveragePooling2D(2)(y)
    y = keras.layers.Dense(5, activation=name)(keras.layers.GlobalAveragePooling2D()(y))
    model = keras.Model(scans, keras.layers.Dense(3, name="logits")(y))
    save_model(model, tmp_path / "best.keras")
    plan, images = keras_layers.read_model(tmp_path / "best.keras"), random_scans(3)
    session = inference.runtimes.onnx_session(onnx_model.write_model(plan, "explained"))
    chosen = np.eye(3, dtype=np.float32)
    logits, activations, slopes = session.run(None, {"scan": images[..., None], "chosen": chosen})
    np.testing.assert_allclose(logits, model.predict(images[..., None], verbose=0), atol=1e-5)
    expected = np.asarray(keras.Model(scans, explained).predict(images[..., None], verbose=0))
    np.testing.assert_allclose(activations, expected, atol=1e-5)
    head = keras.Model(explained, model.output)
    np.testing.assert_allclose(slopes, gradient_of(head)(expected, chosen), atol=1e-6)


def test_a_layer_that_is_not_known_is_left_to_keras(tmp_path):
    scans = keras.Input((SIZE, SIZE, 1), dtype="uint8", name="scan")
    x = keras.layers.LayerNormalization()(keras.layers.Rescaling(1 / 64)(scans))
    model = keras.Model(scans, keras.layers.Dense(3, name="logits")(keras.layers.GlobalAveragePooling2D()(x)))
    save_model(model, tmp_path / "best.keras")
    with pytest.raises(keras_layers.Unknown, match="LayerNormalization"):
        inference.Network(tmp_path / "best.keras")
    assert inference.open_network(tmp_path / "best.keras", "multiclass") is None
    assert load_predictor(tmp_path, with_keras=False).computed_by.startswith("Keras on ")


def test_a_model_is_compared_with_keras_once_and_again_when_it_changes(tmp_path, monkeypatch):
    written(tmp_path, "mobilenet_v3_large")
    asked = []
    compare = inference._difference_from_keras
    monkeypatch.setattr(inference, "_difference_from_keras", lambda *given: asked.append(1) or compare(*given))
    for _ in range(2):
        assert inference.open_network(tmp_path / "best.keras", "multiclass") is not None
    assert len(asked) == 1
    checked = json.loads((tmp_path / "best.checked.json").read_text())
    assert checked["largest_difference"] <= 1e-4
    (tmp_path / "best.keras").unlink()
    save_model(build_model("mobilenet_v3_large", 3, "multiclass", image_size=SIZE, seed=5), tmp_path / "best.keras")
    assert inference.open_network(tmp_path / "best.keras", "multiclass") is not None
    assert len(asked) == 2


def test_a_model_that_answers_other_than_keras_is_left_to_it(tmp_path, monkeypatch):
    written(tmp_path, "mobilenet_v3_large")
    monkeypatch.setitem(onnx_activations.ACTIVATIONS, "hard_silu", onnx_activations.ACTIVATIONS["relu"])
    assert inference.open_network(tmp_path / "best.keras", "multiclass") is None
    assert json.loads((tmp_path / "best.checked.json").read_text())["agrees"] is False


def test_a_refused_file_reaches_no_runtime(tmp_path):
    (tmp_path / "best.keras").write_bytes(b"no archive")
    with pytest.raises(RunError, match=r"best\.keras"):
        inference.open_network(tmp_path / "best.keras", "multiclass")


def test_a_checked_model_is_asked_without_keras(tmp_path):
    written(tmp_path, "mobilenet_v3_large")
    import cv2

    scan = tmp_path / "scan.png"
    cv2.imwrite(str(scan), random_scans()[0])
    table, _ = predict_images(load_predictor(tmp_path, with_keras=False), [scan])
    code = (
        "import sys, lungkeras.cli\n"
        f"status = lungkeras.cli.main(['predict', {str(tmp_path)!r}, {str(scan)!r}, '--json', '--heatmaps', "
        f"{str(tmp_path / 'maps')!r}])\n"
        "sys.exit(status or ' '.join({'keras', 'tensorflow', 'torch', 'jax', 'sklearn'} & set(sys.modules)) or 0)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=variables())
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["computed_by"] == "ONNX Runtime"
    assert answer["predictions"][0]["predicted"] == table["predicted"][0]
    assert (tmp_path / "maps" / "scan.png").is_file()
    keras_table, _ = predict_images(load_predictor(tmp_path), [scan])
    columns = [f"probability_{name}" for name in "abc"]
    np.testing.assert_allclose(table[columns], keras_table[columns], atol=1e-4)
    assert metrics.decide(table[columns].to_numpy(), "multiclass").sum() == 1
