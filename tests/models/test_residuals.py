"""Zero-initialised residual branches: each block is the identity before training, as torchvision's option makes it."""

import keras
import numpy as np
import pytest

from lungkeras.models.build import build_model
from lungkeras.models.files import save_model
from lungkeras.models.residuals import zero_init_residual

# torchvision: BasicBlocks of resnet34; inverted residuals with use_res_connect of the other two
BLOCKS = {"resnet34": 16, "mobilenet_v3_large": 10, "efficientnet_b1": 16}


@pytest.mark.parametrize("backbone", BLOCKS)
def test_each_addition_gives_its_shortcut_before_training(backbone):
    model = build_model(backbone, 3, "multiclass", image_size=32, seed=0, zero_init_residual=True)
    additions = [layer for layer in model.layers if isinstance(layer, keras.layers.Add)]
    assert len(additions) == BLOCKS[backbone]
    inner = keras.Model(model.input, [[layer.output, *layer.input] for layer in additions])
    scans = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), "uint8")
    for tensors in inner(scans):
        added, *inputs = map(keras.ops.convert_to_numpy, tensors)
        sizes = sorted(np.abs(each).max() for each in inputs)
        assert sizes[0] == 0.0 < sizes[1]
        np.testing.assert_array_equal(added, inputs[0] + inputs[1])


def test_without_it_every_scale_is_one():
    model = build_model("resnet34", 3, "multiclass", image_size=32, seed=0)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert all((keras.ops.convert_to_numpy(norm.gamma) == 1).all() for norm in norms)


def test_other_weights_are_those_of_the_same_seed():
    plain, changed = (
        build_model("mobilenet_v3_large", 3, "multiclass", image_size=32, seed=4, zero_init_residual=zero)
        for zero in (False, True)
    )
    differing = {
        one.path
        for one, other in zip(plain.weights, changed.weights, strict=True)
        if not np.array_equal(*map(keras.ops.convert_to_numpy, (one, other)))
    }
    assert len(differing) == 10
    assert all(path.endswith("/gamma") for path in differing)


def test_a_transferred_model_keeps_its_own_scales(tmp_path):
    source = build_model("resnet34", 3, "multiclass", image_size=32, seed=0)
    save_model(source, tmp_path / "best.keras")
    model = build_model(
        "resnet34", 7, "multilabel", image_size=32, weights=tmp_path / "best.keras", zero_init_residual=True
    )
    assert all(
        (keras.ops.convert_to_numpy(layer.gamma) == 1).all() for layer in model.layers if hasattr(layer, "gamma")
    )


def test_the_branch_is_found_on_either_side_and_behind_dropout():
    scans = keras.Input((4, 4, 2))
    branch = keras.layers.BatchNormalization(name="branch")(keras.layers.Conv2D(2, 1)(scans))
    dropped = keras.layers.Dropout(0.5)(branch)
    last = keras.layers.BatchNormalization(name="last")(keras.layers.Conv2D(2, 1)(keras.layers.Add()([dropped, scans])))
    unscaled = keras.layers.BatchNormalization(scale=False)(keras.layers.Conv2D(2, 1)(last))
    model = keras.Model(scans, keras.layers.Add()([last, unscaled]))
    assert zero_init_residual(model) == 1
    assert not keras.ops.convert_to_numpy(model.get_layer("branch").gamma).any()
    assert keras.ops.convert_to_numpy(model.get_layer("last").gamma).all()
