"""What every backbone promises: one flat graph, one normalisation, files that open anywhere, features that move."""

import functools
import subprocess
import sys

import keras
import numpy as np
import pytest

from lungkeras.models import build, layers
from lungkeras.system.errors import ParamsError, RunError

SIZE = 32
MEAN, STD = 120.0, 55.0
# Momentum and epsilon as in torchvision, in Keras' terms.
BATCH_NORM = {
    "resnet34": (0.9, 1e-5),
    "mobilenet_v3_large": (0.99, 1e-3),
    "efficientnet_b1": (0.9, 1e-5),
    "densenet121": (0.9, 1e-5),
}
FIRST_CONVOLUTION = {
    "resnet34": "conv1",
    "mobilenet_v3_large": "conv",
    "efficientnet_b1": "stem_conv",
    "densenet121": "conv1_conv",
}
# Channels of the last map of features, and of what the logits are computed from.
WIDTHS = {
    "resnet34": (512, 512),
    "mobilenet_v3_large": (960, 1280),
    "efficientnet_b1": (1280, 1280),
    "densenet121": (1024, 1024),
}
SLOW = ("densenet121",)  # of the extended study alone
each_backbone = pytest.mark.parametrize(
    "backbone", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in build.BACKBONES]
)


def _build(backbone, **options):
    options = {"image_size": SIZE, "mean": MEAN, "std": STD, "seed": 0, **options}
    return build.build_model(backbone, ("covid", "viral_pneumonia", "normal"), "multiclass", **options)


def _randomise(model, seed=0):
    """Gives every weight and moving statistic a value that a graph in the wrong order would not survive."""
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Variances near 0.001 let a difference in epsilon show.
            channels = layer.gamma.shape[0]
            moments = generator.normal(0, 0.1, channels), generator.uniform(1e-3, 1, channels)
            layer.set_weights([generator.normal(1, 0.1, channels), generator.normal(0, 0.1, channels), *moments])
    return model


@pytest.fixture(scope="module")
def built():
    """A function: backbone -> a model with random weights and moving statistics; not to be changed."""
    return functools.cache(lambda backbone: _randomise(_build(backbone)))


@pytest.fixture(scope="module")
def saved(built, tmp_path_factory):
    """A function: backbone -> the file of its model."""
    folder = tmp_path_factory.mktemp("saved")

    @functools.cache
    def save(backbone):
        build.save_model(built(backbone), folder / f"{backbone}.keras")
        return folder / f"{backbone}.keras"

    return save


@pytest.fixture(scope="module")
def scans():
    return np.random.default_rng(1).integers(0, 256, (5, SIZE, SIZE, 1), dtype=np.uint8)


def _run(model, images):
    """The outputs in inference, as an array; called directly, since predict would trace a graph first."""
    return keras.ops.convert_to_numpy(model(images, training=False))


def _assert_close(received, expected):
    np.testing.assert_allclose(received, expected, atol=3e-5 * np.abs(expected).max())


def _norms(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


@each_backbone
def test_scans_go_in_and_logits_come_out(backbone, built, scans):
    model = built(backbone)
    assert model.name == backbone
    assert model.input_shape == (None, SIZE, SIZE, 1)
    assert model.input.dtype == "uint8"
    logits = _run(model, scans)
    assert logits.shape == (5, 3)
    assert logits.dtype == np.float32
    assert model.get_layer("logits").activation is keras.activations.linear


@each_backbone
def test_the_graph_is_flat_and_each_layer_is_called_once(backbone, built):
    for layer in built(backbone).layers:
        assert not isinstance(layer, keras.Model)
        assert len(layer._inbound_nodes) == 1, layer.name


@each_backbone
def test_batch_norm_is_fused_with_the_numbers_of_torchvision(backbone, built):
    norms = _norms(built(backbone))
    assert {type(norm) for norm in norms} == {layers.BatchNormalization}
    assert {(norm.momentum, norm.epsilon) for norm in norms} == {BATCH_NORM[backbone]}


@pytest.mark.parametrize("dropout", [True, False])
def test_dropout_and_drop_connect_act_unless_they_are_switched_off(dropout):
    model = _build("efficientnet_b1", dropout=dropout)
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert len(rates) > 1
    assert all((rate > 0) == dropout for rate in rates)


def test_a_short_run_may_set_another_momentum_and_seed(built):
    model = _build("mobilenet_v3_large", batch_norm_momentum=0.9, seed=1)
    assert {(norm.momentum, norm.epsilon) for norm in _norms(model)} == {(0.9, 1e-3)}
    kernels = [either.get_layer("conv").get_weights()[0] for either in (model, built("mobilenet_v3_large"))]
    assert not np.array_equal(*kernels)


@each_backbone
def test_the_statistics_of_the_dataset_are_applied_exactly_once(backbone, built):
    model = built(backbone)
    first = keras.Model(model.input, model.get_layer(FIRST_CONVOLUTION[backbone]).input)
    received = _run(first, np.full((1, SIZE, SIZE, 1), 200, np.uint8))
    inside = received[:, 8:-8, 8:-8]
    assert inside.shape[-1] == 3
    np.testing.assert_allclose(inside, (200 - MEAN) / STD, rtol=1e-5)


@each_backbone
def test_the_layers_to_explain_are_found(backbone, built):
    model = built(backbone)
    convolution, features = build.last_convolution(model), build.penultimate(model)
    channels, width = WIDTHS[backbone]
    assert convolution.output.shape == (None, 1, 1, channels)
    assert isinstance(convolution, keras.layers.Activation | keras.layers.ReLU)
    assert features.output.shape == (None, width)
    assert model.get_layer("logits").kernel.shape == (width, 3)


@each_backbone
def test_a_loaded_model_is_the_saved_one(backbone, built, saved, scans):
    again = build.load_model(saved(backbone))
    for model in (built(backbone), again):
        assert {type(norm) for norm in _norms(model)} == {layers.BatchNormalization}
    _assert_close(_run(again, scans), _run(built(backbone), scans))


@pytest.mark.parametrize(
    "backbones",
    [["resnet34"], pytest.param(["mobilenet_v3_large", "efficientnet_b1", "densenet121"], marks=pytest.mark.slow)],
)
def test_saved_models_open_without_lungkeras(backbones, built, saved, scans, tmp_path):
    script = """
import sys, keras, numpy
for path in sys.argv[1:]:
    model = keras.models.load_model(path)
    logits = model(numpy.load("scans.npy"), training=False)
    numpy.save(f"{model.name}.npy", keras.ops.convert_to_numpy(logits))
assert not [name for name in sys.modules if name.startswith("lungkeras")]
"""
    np.save(tmp_path / "scans.npy", scans)
    files = [saved(backbone) for backbone in backbones]
    subprocess.run([sys.executable, "-P", "-c", script, *files], cwd=tmp_path, check=True)
    for backbone in backbones:
        _assert_close(np.load(tmp_path / f"{backbone}.npy"), _run(built(backbone), scans))


def test_a_saved_model_holds_neither_loss_nor_optimizer(built, tmp_path):
    def loss_of_ours(labels, logits):
        return keras.ops.mean((labels - logits) ** 2)

    origin = built("mobilenet_v3_large")
    model = keras.Model(origin.input, origin.output)
    model.compile("adam", loss_of_ours)
    build.save_model(model, tmp_path / "best.keras")
    assert model.compiled
    assert not keras.models.load_model(tmp_path / "best.keras").compiled


def test_a_missing_or_broken_model_is_one_sentence(tmp_path, saved):
    with pytest.raises(RunError, match=r"no model .*best\.keras"):
        build.load_model(tmp_path / "best.keras")
    whole = saved("mobilenet_v3_large").read_bytes()
    for broken in (b"", b"not a model", whole[: len(whole) // 2]):
        (tmp_path / "best.keras").write_bytes(broken)
        with pytest.raises(RunError, match="could not be read as a Keras model") as caught:
            build.load_model(tmp_path / "best.keras")
        assert "\n" not in str(caught.value)


def test_one_seed_gives_one_model_whatever_the_global_generators_are(built):
    keras.utils.set_random_seed(6)
    again, origin = _build("mobilenet_v3_large"), built("mobilenet_v3_large")
    for layer in origin.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D | keras.layers.Dense):
            for ours, theirs in zip(again.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
                np.testing.assert_array_equal(ours, theirs)
    assert again.get_layer("dropout").seed == origin.get_layer("dropout").seed is not None


def test_no_two_layers_have_the_same_initial_weights(built):
    kernels = [layer.get_weights()[0] for layer in built("resnet34").layers if isinstance(layer, keras.layers.Conv2D)]
    alike = [kernel for kernel in kernels if kernel.shape == (3, 3, 64, 64)]
    assert len(alike) == 6
    assert len({kernel.tobytes() for kernel in alike}) == 6


@pytest.mark.parametrize("backbone", ["resnet34", pytest.param("efficientnet_b1", marks=pytest.mark.slow)])
def test_transfer_takes_all_but_the_logits(backbone, built, saved):
    model = build.build_model(
        backbone, 7, "multilabel", image_size=SIZE, mean=80.0, std=30.0, weights=str(saved(backbone)), seed=4
    )
    assert model.get_layer("logits").output.shape == (None, 7)
    for layer in built(backbone).layers:
        if layer.weights and layer.name != "logits":
            for ours, theirs in zip(model.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
                np.testing.assert_array_equal(ours, theirs)
    standardise = model.get_layer("standardise")
    assert (standardise.scale, standardise.offset) == pytest.approx((1 / 30.0, -80.0 / 30.0))


def test_transfer_from_another_backbone_is_refused(saved):
    with pytest.raises(RunError, match="holds resnet34, which does not fit mobilenet_v3_large"):
        _build("mobilenet_v3_large", weights=saved("resnet34"))


@pytest.mark.parametrize(
    ("arguments", "options", "sentence"),
    [
        (("resnet", 3, "multiclass"), {}, "did you mean resnet34"),
        (("resnet34", 3, "multi"), {}, "task: expected"),
        (("resnet34", 1, "multiclass"), {}, "needs 2 or more"),
        (("resnet34", 3, "multiclass"), {"image_size": 16}, "32 pixels or more"),
        (("resnet34", 3, "multiclass"), {"std": 0.0}, "std: expected"),
        (("resnet34", 3, "multiclass"), {"weights": "imagnet"}, "weights: expected random, imagenet"),
    ],
)
def test_a_wrong_argument_is_one_sentence(arguments, options, sentence):
    with pytest.raises(ParamsError, match=sentence):
        build.build_model(*arguments, **{"image_size": SIZE, **options})


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_absent_or_foreign_weights_are_one_sentence(tmp_path):
    with pytest.raises(RunError, match="there is no file"):
        _build("resnet34", weights=tmp_path / "best.keras")
    foreign = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save_weights(foreign)
    for backbone in ("resnet34", "mobilenet_v3_large"):
        with pytest.raises(RunError, match="does not fit"):
            _build(backbone, weights=foreign)


def test_logits_are_float32_under_mixed_precision(scans):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = _build("mobilenet_v3_large")
    finally:
        keras.config.set_dtype_policy("float32")
    logits = _run(model, scans)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
