"""Backbones by name: those of keras.applications, with torchvision's batch norm, and KerasHub's.

What each backbone promises is tested in test_models.py, for those in BACKBONES.
"""

import keras
import numpy as np
import pytest
from oracles import import_torchvision

from lungkeras.models import architectures, backbones, build
from lungkeras.report.figures.style import run_colour
from lungkeras.study.params import Params
from lungkeras.study.words import backbone_title
from lungkeras.system.errors import ParamsError, RunError

# Built in a second or two each; the others are marked slow.
QUICK = ("mobilenet", "mobilenet_v2", "resnet50_v2")
SLOW = sorted(set(architectures.APPLICATIONS) - set(QUICK) - set(build.BACKBONES))
SMALLEST = {"inception_v3": 75, "inception_resnet_v2": 75, "xception": 71}


def test_every_image_model_of_keras_applications_has_a_name():
    functions = {name for name, value in vars(keras.applications).items() if callable(value)}
    assert {title.replace("-", "") for title in architectures.APPLICATIONS.values()} == functions


@pytest.mark.parametrize(("wrong", "near"), [("DenseNet121", "densenet121"), ("resnet_50", "resnet50")])
def test_an_unknown_name_gets_the_nearest_as_a_suggestion(wrong, near):
    with pytest.raises(ParamsError, match=f"did you mean {near}"):
        backbones.find_backbone(wrong)
    with pytest.raises(ValueError, match=f"did you mean {near}"):
        Params(backbone=wrong)
    with pytest.raises(ParamsError, match=r"keras_hub\.<preset>"):
        backbones.find_backbone("keras_hub.a/b")


@pytest.mark.parametrize("preset", ["vit_base_patch16_224_imagenet", "deit_tiny_distilled_patch16_224_imagenet"])
def test_a_transformer_of_keras_hub_is_refused_with_the_params(preset):
    with pytest.raises(ValueError, match=r"expected a preset of ResNet, DenseNet or VGG .* transformers"):
        Params(backbone=f"keras_hub.{preset}")


def test_another_backbone_is_a_line_of_params_with_a_title_and_a_colour():
    assert Params(backbone="densenet121", dataset="covid").run == "covid-densenet121-random"
    assert [backbone_title(name) for name in ("densenet121", "resnet34")] == ["DenseNet-121", "ResNet-34"]
    three = {"resnet34", "mobilenet_v3_large", "efficientnet_b1"}
    others = {run_colour(name) for name in set(architectures.TITLES) - three}
    assert not others & {run_colour(name) for name in three}
    assert run_colour("xception") != run_colour("xception", "imagenet")


def _in_torchvision(name):
    options = {"init_weights": False} if name == "inception_v3" else {}
    torch, torchvision = import_torchvision()
    with torch.device("meta"):
        return torch, list(torchvision.models.get_model(name, weights=None, **options).modules())


SHARED = sorted({*backbones.TORCHVISION, *build.BACKBONES, "convnext_tiny"})
CHECKED_QUICKLY = ("densenet121", "efficientnet_b1", "inception_v3", "mobilenet_v2", "mobilenet_v3_small", "resnet34")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in CHECKED_QUICKLY else pytest.mark.slow) for name in SHARED]
)
def test_batch_norm_and_heads_are_those_of_torchvision(name):
    torch, theirs = _in_torchvision(name)
    ours = backbones.find_backbone(name)
    norms = {(round(1 - layer.momentum, 6), layer.eps) for layer in theirs if isinstance(layer, torch.nn.BatchNorm2d)}
    assert norms == ({(ours.momentum, ours.epsilon)} if ours.momentum else set())
    if norms:
        dropouts = [layer.p for layer in theirs if type(layer) is torch.nn.Dropout]
        assert ours.dropout == (dropouts[-1] if dropouts else 0.0)
        linear = [layer for layer in theirs if isinstance(layer, torch.nn.Linear)]
        # InceptionV3's second classifier is there for training alone.
        assert ours.hidden == (linear[-1].in_features if len(linear) > 1 and name != "inception_v3" else 0)


def _run(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


def _check(name):
    size = SMALLEST.get(name, 32)
    model = build.build_model(name, 3, "multiclass", image_size=size, mean=100.0, std=50.0, seed=0)
    assert model.name == name
    for layer in model.layers:
        assert not isinstance(layer, keras.Model)
        assert len(layer._inbound_nodes) == 1, layer.name
    kinds = (keras.layers.Normalization, keras.layers.Rescaling)
    assert [layer.name for layer in model.layers if isinstance(layer, kinds)] == ["standardise"]
    declared = backbones.find_backbone(name)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and declared.momentum:
            assert (layer.momentum, layer.epsilon) == (declared.momentum, declared.epsilon)
    assert len(build.last_convolution(model).output.shape) == 4
    logits = model(np.zeros((2, size, size, 1), np.uint8), training=False)
    assert logits.shape == (2, 3)
    return model


@pytest.mark.parametrize("name", QUICK)
def test_models_of_keras_applications_build_flat_with_one_normalisation(name):
    _check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_all_models_of_keras_applications_build_load_and_move(name, tmp_path):
    model = _check(name)
    build.save_model(model, tmp_path / "best.keras")
    size = model.input_shape[1]
    scans = np.random.default_rng(0).integers(0, 256, (2, size, size, 1), dtype=np.uint8)
    again = build.load_model(tmp_path / "best.keras")
    moved = build.build_model(
        name, 3, "multiclass", image_size=size, mean=100.0, std=50.0, weights=tmp_path / "best.keras"
    )
    moved.get_layer("logits").set_weights(model.get_layer("logits").get_weights())
    expected = _run(model, scans)
    for other in (again, moved):
        received = _run(other, scans)
        np.testing.assert_allclose(received, expected, atol=1e-5 * max(1, np.abs(expected).max()))


def test_images_too_small_are_one_sentence():
    with pytest.raises(ParamsError, match=r"image_size: InceptionV3 can't be built for 64 pixels \(.*75x75"):
        build.build_model("inception_v3", 3, "multiclass", image_size=64)


@pytest.mark.filterwarnings("ignore:Skipping")
@pytest.mark.parametrize("name", [pytest.param("convnext_tiny", marks=pytest.mark.slow), "vgg16"])
def test_weights_of_imagenet_see_the_range_that_they_were_trained_on(name, tmp_path):
    """A grey scan gives the features of keras.applications on the same normalised picture, in its own range."""
    title = architectures.title(name).replace("-", "")
    theirs = getattr(keras.applications, title)(include_top=False, weights=None, input_shape=(32, 32, 3))
    for layer in theirs.layers:
        if layer.name.endswith("layer_scale"):
            layer.set_weights([np.ones(weight.shape) for weight in layer.get_weights()])
    theirs.save(tmp_path / "imagenet.h5")
    mean, std = 120.0, 57.4
    ours = build.build_model(
        name, 3, "multiclass", image_size=32, weights=tmp_path / "imagenet.h5", mean=mean, std=std, seed=0
    )
    scan = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 1), dtype=np.uint8)
    standard = (scan.astype("float32") - mean) / std
    if name == "vgg16":  # keras.applications.vgg16.preprocess_input takes means away, and divides by nothing
        given = np.repeat(standard * std, 3, axis=-1)
    else:  # its Normalization divides by (0.229, 0.224, 0.225) x 255
        factor, offset = np.array([0.229, 0.224, 0.225]) * 255, np.array([0.485, 0.456, 0.406]) * 255
        given = standard * factor + offset
    expected = _run(theirs, given.astype("float32"))
    features = keras.Model(ours.input, build.last_convolution(ours).output)
    received = _run(features, scan)
    np.testing.assert_allclose(received, expected, atol=1e-3 * np.abs(expected).max())

    build.save_model(ours, tmp_path / "best.keras")
    moved = build.build_model(name, 2, "multiclass", image_size=32, weights=tmp_path / "best.keras", mean=mean, std=std)
    features = keras.Model(moved.input, build.last_convolution(moved).output)
    np.testing.assert_allclose(_run(features, scan), received, atol=1e-5 * np.abs(expected).max())


@pytest.fixture
def preset(tmp_path, monkeypatch):
    """The folder of a small KerasHub preset in the working directory; the model that it holds."""
    hub = pytest.importorskip("keras_hub", reason="backbones of KerasHub need the extra [hub]")
    small = hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 96],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        use_pre_activation=False,
        image_shape=(32, 32, 3),
    )
    monkeypatch.chdir(tmp_path)
    small.save_to_preset("small_resnet")
    return small


def test_a_preset_of_keras_hub_is_a_backbone_like_any_other(preset, tmp_path):
    scans = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), dtype=np.uint8)
    for weights in ("random", "imagenet"):
        model = build.build_model("keras_hub.small_resnet", 3, "multiclass", image_size=32, weights=weights, seed=0)
        assert model.name == "keras_hub.small_resnet"
        assert not [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
        assert {len(layer._inbound_nodes) for layer in model.layers} == {1}
    standard = np.repeat((scans.astype("float32") - 127.5) / 64.0, 3, axis=-1)
    features = keras.Model(model.input, build.last_convolution(model).output)
    expected = _run(preset, standard)
    np.testing.assert_allclose(_run(features, scans), expected, atol=1e-4 * np.abs(expected).max())
    build.save_model(model, tmp_path / "best.keras")
    again = build.load_model(tmp_path / "best.keras")
    np.testing.assert_allclose(_run(again, scans), _run(model, scans), atol=1e-5)


def test_a_preset_whose_file_would_be_refused_is_refused_before_it_is_trained(monkeypatch):
    pytest.importorskip("keras_hub", reason="backbones of KerasHub need the extra [hub]")
    images = keras.Input((32, 32, 3))
    larger = keras.Model(images, keras.layers.Conv2D(4, 3)(keras.layers.UpSampling2D()(images)))
    monkeypatch.setattr("keras_hub.models.Backbone.from_preset", lambda *_, **__: larger)
    with pytest.raises(ParamsError, match=r"not loaded: it holds keras\.layers\.UpSampling2D"):
        build.build_model("keras_hub.small_resnet", 3, "multiclass", image_size=32)


def test_an_absent_preset_is_one_sentence(tmp_path, monkeypatch):
    pytest.importorskip("keras_hub", reason="backbones of KerasHub need the extra [hub]")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"architecture of keras_hub\.no_such_preset could not be loaded") as caught:
        build.build_model("keras_hub.no_such_preset", 3, "multiclass", image_size=32)
    assert "\n" not in str(caught.value)
