"""ImageNet weights, by name and by file, give the features that keras.applications and torchvision give.

No weights are fetched: a file of random ones stands for the published one, and keras' download returns it.
"""

import math
import sys

import keras
import numpy as np
import pytest
from oracles import import_torchvision

from lungkeras.models import build
from lungkeras.system.errors import RunError

SIZE = 64
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
APPLICATIONS = {
    "mobilenet_v3_large": "MobileNetV3Large",
    "efficientnet_b1": "EfficientNetB1",
    "densenet121": "DenseNet121",
}


def _application(backbone, weights):
    return getattr(keras.applications, APPLICATIONS[backbone])(
        include_top=False, weights=weights, input_shape=(SIZE, SIZE, 3)
    )


def _draw_weights(model):
    generator = np.random.default_rng(2)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            # The published file holds standard deviations where variances belong (tensorflow issue 49930).
            layer.set_weights([MEAN, STD, np.array(0)])
        elif isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, _ = layer.get_weights()
            layer.set_weights(
                [gamma, beta, generator.normal(0, 0.05, mean.shape), generator.uniform(1e-3, 0.1, mean.shape)]
            )
    return model


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow) if name == "densenet121" else name for name in APPLICATIONS],
)
def published(request, tmp_path_factory):
    """A backbone and a file of weights in the form in which keras.applications publishes them."""
    path = tmp_path_factory.mktemp("imagenet") / f"{request.param}.h5"
    _draw_weights(_application(request.param, None)).save(path)
    return request.param, path


@pytest.fixture
def downloads(monkeypatch):
    """A function: path -> every download of Keras returns it."""

    def give(path):
        monkeypatch.setattr(sys.modules["keras.src.utils.file_utils"], "get_file", lambda *_, **__: str(path))
        monkeypatch.setattr(keras.utils, "get_file", lambda *_, **__: str(path))

    return give


def _run(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


def _features(model, images):
    inputs = model.get_layer("grey_to_rgb").output
    return _run(keras.Model(inputs, build.last_convolution(model).output), images)


@pytest.mark.filterwarnings("ignore:`input_shape` is undefined")
def test_name_and_file_give_the_features_of_keras_applications(published, downloads):
    backbone, path = published
    downloads(path)
    images = np.random.default_rng(3).integers(0, 256, (2, SIZE, SIZE, 3)).astype("float32")
    normalised = images / 127.5 - 1 if backbone == "mobilenet_v3_large" else (images / 255 - MEAN) / STD
    given = normalised if backbone == "densenet121" else images  # the others normalise for themselves
    expected = _run(_application(backbone, "imagenet"), given)
    for weights in ("imagenet", str(path)):
        model = build.build_model(backbone, 3, "multiclass", image_size=SIZE, weights=weights, seed=0)
        received = _features(model, normalised.astype("float32"))
        np.testing.assert_allclose(received, expected, atol=1e-4 * np.abs(expected).max(), err_msg=weights)
        norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
        assert {norm.epsilon for norm in norms} == {1.001e-5 if backbone == "densenet121" else 1e-3}
        assert {norm.momentum for norm in norms} == {build.BACKBONES[backbone].momentum}


@pytest.mark.slow
def test_imagenet_features_survive_saving_and_transfer(tmp_path):
    path = tmp_path / "imagenet.weights.h5"
    _draw_weights(_application("efficientnet_b1", None)).save_weights(path)
    model = build.build_model("efficientnet_b1", 3, "multiclass", image_size=SIZE, weights=path, seed=0)
    build.save_model(model, tmp_path / "best.keras")
    moved = build.build_model("efficientnet_b1", 2, "multiclass", image_size=SIZE, weights=tmp_path / "best.keras")
    images = np.random.default_rng(5).normal(size=(2, SIZE, SIZE, 3)).astype("float32")
    expected = _features(model, images)
    np.testing.assert_allclose(_features(moved, images), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("backbone", build.BACKBONES)
def test_without_a_network_one_sentence_says_what_to_do(backbone, monkeypatch):
    def fail(*_, **__):
        raise Exception("URL fetch failure on https://example.org/weights.h5: None -- no route to host")

    monkeypatch.setattr(sys.modules["keras.src.utils.file_utils"], "get_file", fail)
    monkeypatch.setattr(keras.utils, "get_file", fail)
    with pytest.raises(RunError, match=r"URL fetch failure on .*give its path as weights"):
        build.build_model(backbone, 3, "multiclass", image_size=SIZE, weights="imagenet")


def _write_safetensors(path, tensors):
    import json

    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, array in tensors.items():
        kind = "F32" if array.dtype == np.float32 else "I64"
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for array in tensors.values()))


def test_resnet34_gives_the_features_of_torchvision(tmp_path, downloads):
    torch, torchvision = import_torchvision()
    torch.manual_seed(0)
    theirs = torchvision.models.resnet34().eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.01, 1.0)
            torch.nn.init.normal_(module.running_mean, 0.0, 0.1)
    path = tmp_path / "resnet34.safetensors"
    _write_safetensors(path, {name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    downloads(path)
    images = np.random.default_rng(6).normal(size=(2, SIZE + 3, SIZE + 3, 3)).astype("float32")
    with torch.no_grad():
        trunk = torch.nn.Sequential(*list(theirs.children())[:-2])
        expected = trunk(torch.tensor(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    for weights in ("imagenet", path):
        model = build.build_model("resnet34", 3, "multiclass", image_size=SIZE + 3, weights=weights, seed=0)
        np.testing.assert_allclose(_features(model, images), expected, atol=1e-4 * math.ceil(np.abs(expected).max()))
