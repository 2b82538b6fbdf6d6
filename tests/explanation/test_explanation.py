"""Grad-CAM, Grad-CAM++ and LayerCAM against maps that are known beforehand."""

import cv2
import keras
import numpy as np
import pytest

from lungkeras.explanation.gradcam import (
    cuts,
    explained_layer,
    grad_cam,
    grad_cam_plus_plus,
    heat_maps,
    layer_cam,
    overlay,
)
from lungkeras.models.build import BACKBONES, build_model, last_convolution
from lungkeras.system.errors import ParamsError

SIZE = 64


def bright_or_dark() -> keras.Model:
    """Two logits: the mean of what is brighter than the mid grey, and of what is darker."""
    scans = keras.Input((SIZE, SIZE, 1), dtype="uint8")
    grey = keras.layers.Rescaling(1 / 127.5, -1.0)(scans)
    channels = keras.layers.Conv2D(2, 1, activation="relu", use_bias=False)(grey)
    average = keras.layers.GlobalAveragePooling2D()(channels)
    model = keras.Model(scans, keras.layers.Dense(2, use_bias=False, name="logits")(average))
    model.set_weights([np.array([1.0, -1.0]).reshape(1, 1, 1, 2), np.eye(2)])
    return model


@pytest.fixture(scope="module")
def scans() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE), dtype=np.uint8)


@pytest.fixture(scope="module", params=BACKBONES)
def model(request) -> keras.Model:
    return build_model(request.param, 3, "multiclass", image_size=SIZE, seed=0)


def test_the_map_of_a_logit_is_the_channel_that_makes_it(scans):
    found = grad_cam(bright_or_dark(), scans, [0, 1, 0, 1, 0], batch_size=2)
    sign = np.array([1, -1, 1, -1, 1]).reshape(-1, 1, 1)
    expected = np.maximum(sign * (scans / 127.5 - 1), 0)
    np.testing.assert_allclose(found, expected / expected.max(axis=(1, 2), keepdims=True), atol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize("explain", [grad_cam, grad_cam_plus_plus, layer_cam])
def test_a_map_without_evidence_stays_zero(explain):
    white = np.full((2, SIZE, SIZE), 255, np.uint8)
    found = explain(bright_or_dark(), white, [0, 1])
    assert (found[0] == 1).all()
    assert (found[1] == 0).all()


def test_one_pass_gives_the_maps_of_all_methods(scans):
    found = heat_maps(bright_or_dark(), scans, [0, 1, 0, 1, 0])
    explainers = {"grad_cam": grad_cam, "grad_cam_plus_plus": grad_cam_plus_plus, "layer_cam": layer_cam}
    assert found.keys() == explainers.keys()
    for method, explain in explainers.items():
        np.testing.assert_array_equal(found[method], explain(bright_or_dark(), scans, [0, 1, 0, 1, 0]))


def test_one_class_can_be_explained_for_all_images(scans):
    model = bright_or_dark()
    np.testing.assert_array_equal(grad_cam(model, scans, 1), grad_cam(model, scans[..., None], [1] * 5))


def test_no_image_gives_no_map():
    assert grad_cam(bright_or_dark(), np.zeros((0, SIZE, SIZE), np.uint8), []).shape == (0, SIZE, SIZE)


def test_maps_of_a_backbone_cover_the_image(model, scans):
    found = grad_cam(model, scans, [0, 1, 2, 0, 1], batch_size=3)
    assert found.shape == scans.shape
    assert found.min() >= 0
    assert set(found.max(axis=(1, 2))) <= {0.0, 1.0}
    assert found.max() == 1


LAYERS = {  # name and grid at 64, at 224 pixels
    "resnet34": (("layer2_3_relu2", 8), ("layer4_2_relu2", 7)),
    "mobilenet_v3_large": ((None, 8), (None, 7)),
    "efficientnet_b1": (("block4a_expand_activation", 8), ("top_activation", 7)),
}


@pytest.mark.parametrize("backbone", LAYERS)
@pytest.mark.parametrize("size", [64, 224])
def test_the_last_layer_with_a_grid_of_seven_cells_or_more_is_explained(backbone, size):
    model = build_model(backbone, 3, "multiclass", image_size=size, seed=0)
    name, side = LAYERS[backbone][size == 224]
    layer = explained_layer(model)
    assert layer.output.shape[1:3] == (side, side)
    assert isinstance(layer, keras.layers.Activation | keras.layers.ReLU), "padding has more cells, and sees no more"
    assert name in (None, layer.name)
    if size == 224:
        assert layer is last_convolution(model)


def test_logits_follow_from_each_cut_alone(model, scans):
    expected = keras.ops.convert_to_numpy(model(scans[..., None], training=False))
    found = cuts(model)
    assert explained_layer(model) in found and last_convolution(model) in found
    for layer in found[:: len(found) // 4]:
        activations = keras.Model(model.input, layer.output)(scans[..., None], training=False)
        logits = keras.Model(layer.output, model.output)(activations, training=False)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(logits), expected, rtol=1e-4, atol=1e-4)


def test_a_branch_that_does_not_lead_to_all_logits_can_not_be_explained(scans):
    images = keras.Input((SIZE, SIZE, 1), dtype="uint8")
    stem = keras.layers.Conv2D(2, 3, strides=8, name="stem")(keras.layers.Rescaling(1 / 255)(images))
    branch = keras.layers.Conv2D(2, 1, activation="relu", name="branch")(stem)
    joined = keras.layers.Add(name="joined")([stem, branch])
    padded = keras.layers.ZeroPadding2D(name="padded")(joined)
    average = keras.layers.GlobalAveragePooling2D()(padded)
    model = keras.Model(images, keras.layers.Dense(2, name="logits")(average))
    assert [layer.name for layer in cuts(model)][1:] == ["stem", "joined"]
    assert explained_layer(model).name == "joined"
    assert grad_cam(model, scans, 0, layer="stem").shape == scans.shape
    for name in ("branch", "logits", "nowhere"):
        with pytest.raises(ParamsError, match=f"all later layers depend on, received '{name}'.*stem, joined"):
            grad_cam(model, scans, 0, layer=name)


def test_without_such_a_grid_the_finer_of_the_last_two_stages_is_explained():
    images = keras.Input((SIZE, SIZE, 1))
    x = images
    for place, strides in enumerate((16, 1, 2, 1, 2)):  # 4 x 4 twice, 2 x 2 twice, 1 x 1
        x = keras.layers.Conv2D(2, 1, strides=strides, name=f"convolution_{place}")(x)
    average = keras.layers.GlobalAveragePooling2D()(x)
    assert explained_layer(keras.Model(images, average)).name == "convolution_3"
    flat = keras.layers.Dense(2)(keras.layers.Flatten()(keras.Input((SIZE, SIZE))))
    with pytest.raises(ParamsError, match="no layer with an output of"):
        explained_layer(keras.Model(flat._keras_history.operation._inbound_nodes[0].input_tensors[0], flat))


@pytest.mark.parametrize("place", ["chosen", "last"])
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf-keras-vis needs TensorFlow")
def test_maps_of_a_backbone_are_those_of_the_oracle_tf_keras_vis(model, scans, place):
    gradcam = pytest.importorskip("tf_keras_vis.gradcam", reason="tf-keras-vis, of the extra [test], is the oracle")
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    from tf_keras_vis.layercam import Layercam

    layer = {"chosen": explained_layer, "last": last_convolution}[place](model)
    convolution = layer.output
    head = keras.Model(convolution, model.output)
    activations = keras.Model(model.input, convolution)(scans[..., None], training=False)
    found = heat_maps(model, scans, batch_size=2, layer=layer.name if place == "last" else None)
    oracles = {"grad_cam": gradcam.Gradcam, "grad_cam_plus_plus": GradcamPlusPlus, "layer_cam": Layercam}
    for method, oracle in oracles.items():
        for place in range(3):
            coarse = oracle(head, clone=False)(
                lambda logits, place=place: [row[place] for row in logits],
                activations,
                penultimate_layer=head.layers[0],
                seek_penultimate_conv_layer=False,
                expand_cam=False,
                normalize_cam=False,
            )
            enlarged = np.stack([cv2.resize(np.asarray(each), (SIZE, SIZE)) for each in np.asarray(coarse, np.float32)])
            most = enlarged.max(axis=(1, 2), keepdims=True)
            expected = np.divide(enlarged, most, out=np.zeros_like(enlarged), where=most > 0)
            # Grad-CAM++ divides by 2 + slope x sum, which on a fine grid comes near 0.
            near = 1e-3 if method == "grad_cam_plus_plus" else 1e-5
            np.testing.assert_allclose(found[method][:, place], expected, atol=near)


def test_every_class_of_every_scan_is_explained_at_once(model, scans):
    found = grad_cam(model, scans, batch_size=3)
    assert found.shape == (5, 3, SIZE, SIZE)
    for place in range(3):
        np.testing.assert_allclose(found[:, place], grad_cam(model, scans, place, batch_size=5), atol=1e-4)


def test_maps_of_a_backbone_are_those_of_its_definition(model, scans):
    """Activations weighted by the slope of the logit in each channel, as a small step of the channel tells."""
    layer = last_convolution(model)
    convolution = layer.output
    head = keras.Model(convolution, model.output)
    activations = keras.ops.convert_to_numpy(keras.Model(model.input, convolution)(scans[:1, ..., None]))
    steps = 1e-2 * np.eye(activations.shape[-1], dtype=np.float32)[:, None, None, :]
    there, back = (keras.ops.convert_to_numpy(head(activations + sign * steps))[:, 2] for sign in (1, -1))
    coarse = np.maximum((activations[0] * (there - back)).sum(axis=-1), 0)
    found = grad_cam(model, scans[:1], 2, layer=layer.name)[0]
    # Linear enlarging keeps the grid's corners.
    corners = np.ix_([0, -1], [0, -1])
    np.testing.assert_allclose(found[corners] * coarse.max(), coarse[corners], atol=0.02 * coarse.max())


def test_overlay_leaves_the_scan_where_the_map_is_zero(scans):
    heatmap = np.zeros((SIZE, SIZE), np.float32)
    heatmap[:, 32:] = 1
    found = overlay(scans[0], heatmap)
    assert found.shape == (SIZE, SIZE, 3)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[:, :32], np.repeat(scans[0][:, :32, None], 3, axis=2))
    warmth = found[:, 32:].astype(float).mean(axis=(0, 1))
    assert warmth[0] > warmth[2], "inferno's highest colour is yellow: more red than blue"
