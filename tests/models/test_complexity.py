"""Table 2, counted from our models, against torchvision's modules, its published numbers, KerasHub and KerasCV."""

import functools
import re

import keras
import numpy as np
import pytest
from oracles import import_torchvision

from lungkeras.models import build
from lungkeras.models.complexity import weighted_layers
from lungkeras.models.resnet import resnet34

# As published on torchvision's page: input size, parameters, multiply-accumulates (thousand millions, called GFLOPS).
PUBLISHED = {
    "resnet34": (224, 21_797_672, 3.66),
    "mobilenet_v3_large": (224, 5_483_032, 0.217),
    "efficientnet_b1": (240, 7_794_184, 0.687),
    "densenet121": (224, 7_978_856, 2.834),
}
DEPTH = {"resnet34": 34, "mobilenet_v3_large": 18, "efficientnet_b1": 25, "densenet121": 121}


@pytest.fixture(scope="module")
def thousand_classes():
    """A function: backbone -> a model with 1,000 classes at torchvision's size."""
    return functools.cache(
        lambda backbone: build.build_model(backbone, 1000, "multiclass", image_size=PUBLISHED[backbone][0])
    )


@pytest.mark.parametrize("backbone", PUBLISHED)
def test_counts_are_those_that_torchvision_publishes(backbone, thousand_classes):
    _, parameters, operations = PUBLISHED[backbone]
    model = thousand_classes(backbone)
    assert build.count_parameters(model) == parameters
    assert build.count_multiply_accumulates(model) / 1e9 == pytest.approx(operations, rel=2e-3)
    assert build.count_layers(model) == DEPTH[backbone]


@pytest.mark.parametrize("backbone", PUBLISHED)
def test_multiply_accumulates_are_those_of_torchvisions_modules(backbone, thousand_classes):
    torch, torchvision = import_torchvision()
    counts = []

    def count(module, _, output):
        pixels = output.shape[2:].numel() if output.ndim == 4 else 1
        counts.append(module.weight.numel() * pixels)

    with torch.device("meta"):
        model = torchvision.models.get_model(backbone).eval()
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.register_forward_hook(count)
        size = PUBLISHED[backbone][0]
        model(torch.empty(1, 3, size, size))
    assert build.count_multiply_accumulates(thousand_classes(backbone)) == sum(counts)
    assert len(weighted_layers(thousand_classes(backbone))) == len(counts)


def _resnet34(size):
    images = keras.Input((size, size, 3))
    return resnet34(images)


def test_resnet34_without_head_has_its_published_size():
    assert build.count_parameters(_resnet34(64)) == 21_284_672


def test_resnet34_gives_the_features_of_keras_hub():
    hub = pytest.importorskip("keras_hub", reason="the extra [hub] is a judge of our ResNet-34")
    theirs = hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        use_pre_activation=False,
        image_shape=(64, 64, 3),
    )
    ours = _resnet34(64)
    generator = np.random.default_rng(0)
    for layer in ours.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([generator.uniform(0.5, 1.0, weight.shape) for weight in layer.get_weights()])
    assert build.count_parameters(theirs) == build.count_parameters(ours)
    for layer in theirs.layers:
        if layer.weights:
            layer.set_weights(ours.get_layer(_our_name(layer.name)).get_weights())
    images = generator.normal(size=(2, 64, 64, 3)).astype("float32")
    expected, received = (keras.ops.convert_to_numpy(model(images, training=False)) for model in (theirs, ours))
    np.testing.assert_allclose(received, expected, atol=1e-5 * np.abs(expected).max())


def _our_name(name):
    """KerasHub's stack1_block0_2_conv is our layer2_0_conv2; its number 0 is the projection."""
    found = re.fullmatch(r"stack(\d)_block(\d)_(\d)_(conv|bn)", name)
    if not found:
        return {"conv1_conv": "conv1", "conv1_bn": "bn1"}[name]
    stack, block, number, kind = found.groups()
    place = f"layer{int(stack) + 1}_{block}"
    return f"{place}_downsample_{int(kind == 'bn')}" if number == "0" else f"{place}_{kind}{number}"


def test_resnet34_has_the_size_and_shapes_of_keras_cv():
    cv = pytest.importorskip("keras_cv", reason="the extra [keras-cv] is a judge of our ResNet-34's size and shapes")
    theirs = cv.models.ResNetBackbone(
        stackwise_filters=[64, 128, 256, 512],
        stackwise_blocks=[3, 4, 6, 3],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=False,
        block_type="basic_block",
        input_shape=(64, 64, 3),
    )
    ours = _resnet34(64)
    assert build.count_parameters(theirs) == build.count_parameters(ours)
    assert theirs.output.shape == ours.output.shape
