"""Score-CAM, saliency and SmoothGrad on models whose maps are known beforehand."""

import keras
import numpy as np
import pytest

from lungkeras.explanation import other_methods
from lungkeras.explanation.other_methods import METHODS, other_heat_maps
from lungkeras.models.build import build_model
from lungkeras.system.errors import ParamsError, RunError

SIZE = 32
NEEDED = pytest.mark.skipif(
    not other_methods.available(), reason="needs lungkeras[tf-keras-vis], and Keras on TensorFlow"
)


@pytest.fixture(scope="module")
def scans() -> np.ndarray:
    """Black, with a bright square above in the first and below in the second."""
    scans = np.zeros((2, SIZE, SIZE), np.uint8)
    scans[0, 4:12, 4:12] = scans[1, 20:28, 20:28] = 255
    return scans


def bright_above_and_below() -> keras.Model:
    """Two logits: how much of the upper half is bright, and how much of the lower."""
    images = keras.Input((SIZE, SIZE, 1), dtype="uint8")
    grey = keras.layers.Rescaling(1 / 255, name="scaled")(images)
    channels = keras.layers.Conv2D(2, 1, use_bias=False, name="channels")(grey)
    above = keras.layers.Cropping2D(((0, SIZE // 2), (0, 0)))(channels)
    below = keras.layers.Cropping2D(((SIZE // 2, 0), (0, 0)))(channels)
    each = [keras.layers.GlobalAveragePooling2D()(half) for half in (above, below)]
    logits = keras.layers.Dense(2, use_bias=False, name="logits")(keras.layers.Concatenate()(each))
    model = keras.Model(images, logits)
    model.set_weights([np.array([1.0, -1.0]).reshape(1, 1, 1, 2), 9 * np.array([[1, 0], [0, 0], [0, 1], [0, 0]])])
    return model


@NEEDED
@pytest.mark.parametrize("method", ["saliency", "smooth_grad"])
def test_only_the_half_that_a_logit_reads_is_salient(method, scans):
    found = other_heat_maps(bright_above_and_below(), scans, [0, 1], (method,), samples=3)[method]
    expected = np.zeros(scans.shape, np.float32)
    expected[0, : SIZE // 2] = expected[1, SIZE // 2 :] = 1
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32


@NEEDED
@pytest.mark.parametrize("method", ["score_cam", "faster_score_cam"])
def test_score_cam_is_the_channels_weighed_by_the_answers_to_the_scans_that_they_cover(method, scans):
    model = bright_above_and_below()
    found = other_heat_maps(model, scans, [0, 1], (method,), layer="channels")[method]
    for place, column in enumerate((0, 1)):
        grey = scans[place] / np.float32(255)
        weights = []
        for channel in (grey, -grey):
            cover = (channel - channel.min()) / (np.ptp(channel) + 1e-7)
            logits = model.predict(np.rint(255 * grey * cover).astype(np.uint8)[None, ..., None], verbose=0)[0]
            weights.append(np.exp(logits[column]) / np.exp(logits).sum())
        expected = np.maximum(grey * (weights[0] - weights[1]), 0)
        np.testing.assert_allclose(found[place], expected / expected.max(), atol=1e-3)


@NEEDED
def test_maps_of_a_backbone_cover_the_scan_repeat_by_seed_and_leave_numpys_draws_alone(scans):
    model = build_model("mobilenet_v3_large", 3, "multiclass", image_size=SIZE, seed=0)
    asked = ("faster_score_cam", "saliency", "smooth_grad")
    np.random.seed(5)  # noqa: NPY002
    found = other_heat_maps(model, scans, 1, asked, samples=2)
    drawn = np.random.random()  # noqa: NPY002
    again = other_heat_maps(model, scans, [1, 1], ("smooth_grad",), samples=2)
    other = other_heat_maps(model, scans, 1, ("smooth_grad",), samples=2, seed=1)
    np.random.seed(5)  # noqa: NPY002
    assert drawn == np.random.random()  # noqa: NPY002
    assert tuple(found) == asked
    for maps in found.values():
        assert maps.shape == scans.shape and maps.min() >= 0 and set(maps.max(axis=(1, 2))) <= {0.0, 1.0}
    np.testing.assert_allclose(found["smooth_grad"], again["smooth_grad"], atol=1e-5)
    assert np.abs(found["smooth_grad"] - other["smooth_grad"]).max() > 0.01


@NEEDED
def test_an_unknown_method_or_layer_is_answered_with_those_that_are_there(scans):
    with pytest.raises(ParamsError, match=r"^methods: expected some of score_cam, .* received 'lime'"):
        other_heat_maps(bright_above_and_below(), scans, 0, ("lime",))
    with pytest.raises(ParamsError, match=r"^layer: .*received 'nowhere'.* channels"):
        other_heat_maps(bright_above_and_below(), scans, 0, layer="nowhere")


def test_without_tf_keras_vis_the_extra_is_named(scans, monkeypatch):
    monkeypatch.setattr(other_methods.importlib.util, "find_spec", lambda name: None)
    assert not other_methods.available()
    with pytest.raises(RunError, match=r"pip install 'lungkeras\[tensorflow,tf-keras-vis\]'"):
        other_heat_maps(bright_above_and_below(), scans, 0, tuple(METHODS)[:1])
