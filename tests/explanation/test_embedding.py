"""Features against the logits that follow from them, t-SNE on groups that are apart."""

import keras
import numpy as np
import pytest

from lungkeras.explanation.embedding import embed, features
from lungkeras.models.build import BACKBONES, build_model, penultimate


@pytest.mark.parametrize("backbone", BACKBONES)
def test_logits_are_computed_from_the_features(backbone):
    model = build_model(backbone, 3, "multiclass", image_size=64, seed=0)
    scans = np.random.default_rng(0).integers(0, 256, (5, 64, 64), dtype=np.uint8)
    found = features(model, scans, batch_size=2)
    assert found.shape == (5, penultimate(model).output.shape[1])
    kernel, bias = model.get_layer("logits").get_weights()
    expected = keras.ops.convert_to_numpy(model(scans[..., None]))
    np.testing.assert_allclose(found @ kernel + bias, expected, rtol=1e-3, atol=1e-4)


def test_groups_that_are_apart_stay_apart():
    random = np.random.default_rng(0)
    group = np.repeat([0, 1], 30)
    points = embed(random.normal(size=(60, 16)) + 20 * group[:, None], seed=1)
    assert points.shape == (60, 2)
    centres = np.array([points[group == number].mean(axis=0) for number in (0, 1)])
    nearest = np.linalg.norm(points[:, None] - centres, axis=-1).argmin(axis=1)
    np.testing.assert_array_equal(nearest, group)


@pytest.mark.parametrize("scans", [1, 3, 4, 7])
def test_few_scans_are_embedded_too(scans):
    points = embed(np.random.default_rng(0).normal(size=(scans, 8)))
    assert points.shape == (scans, 2)
    assert np.isfinite(points).all()


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_features_of_a_dead_model_are_embedded_at_one_point(value):
    assert (embed(np.full((10, 8), value)) == 0).all()
