"""Weights randomised from the logits down: what is randomised when, and how alike the maps are that come of it."""

import keras
import numpy as np
import pytest
from boxed_study import CLASSES, NAME, boxed_study, small_network

from lungkeras.explanation import randomisation
from lungkeras.models.build import build_model

SIZE = 64


@pytest.fixture(scope="module", params=["resnet34", "mobilenet_v3_large"])
def backbone(request) -> keras.Model:
    return build_model(request.param, 3, "multiclass", image_size=SIZE, seed=0)


def weights(model: keras.Model) -> dict[str, list[np.ndarray]]:
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def same_weights(first: dict, second: dict) -> bool:
    pairs = [zip(first[name], second[name], strict=True) for name in first]
    return first.keys() == second.keys() and all(np.array_equal(*pair) for part in pairs for pair in part)


def test_the_stages_of_a_backbone_are_its_head_and_its_grids_from_the_top(backbone):
    found = randomisation.stages(backbone)
    assert list(found) == ["head", "2 × 2", "4 × 4", "8 × 8", "16 × 16", "32 × 32"]
    assert "logits" in found["head"] and len(found["head"]) <= 2
    named = [name for names in found.values() for name in names]
    assert sorted(named) == sorted(weights(backbone))


def test_a_renewed_model_has_other_weights_of_the_same_law_and_leaves_the_first_as_it_was():
    model = small_network(seed=7)
    before = weights(model)
    fresh, same, other = (randomisation.renewed(model, seed) for seed in (0, 0, 1))
    assert same_weights(before, weights(model))
    for name, drawn in weights(fresh).items():
        for new, again, otherwise, old in zip(
            drawn, weights(same)[name], weights(other)[name], before[name], strict=True
        ):
            np.testing.assert_array_equal(new, again)
            if new.ndim > 1:
                assert abs(np.corrcoef(new.ravel(), old.ravel())[0, 1]) < 0.35, name
                assert not np.array_equal(new, otherwise)
                assert new.std() == pytest.approx(old.std(), rel=0.35), name


def test_the_seed_that_a_layer_was_made_with_does_not_bring_its_weights_back():
    kernel = keras.initializers.HeNormal(seed=3)
    scans = keras.Input((32, 32, 1), dtype="uint8")
    average = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, kernel_initializer=kernel)(scans))
    model = keras.Model(scans, keras.layers.Dense(2, kernel_initializer=kernel, name="logits")(average))
    for old, new in zip(model.get_weights(), randomisation.renewed(model).get_weights(), strict=True):
        assert not np.array_equal(old, new) or not old.any()


def test_each_step_of_the_cascade_randomises_one_more_stage_of_a_copy(monkeypatch):
    models, *_ = boxed_study()
    model, seen = models[NAME], []
    clone = randomisation.renewed(model)
    before, new = weights(model), weights(clone)

    def record(model, images, classes, methods):
        seen.append({name: [w.copy() for w in held] for name, held in weights(model).items()})
        return {method: np.zeros((len(images), 32, 32), np.float32) for method in methods}

    monkeypatch.setattr(randomisation, "heat_maps", record)
    steps, _ = randomisation.cascade(model, clone, np.zeros((1, 32, 32), np.uint8), [0])
    assert steps == ["trained", "head", "8 × 8", "16 × 16", "32 × 32"]
    groups = list(randomisation.stages(model).values())
    for step, held in enumerate(seen):
        changed = {name for name in held if not np.array_equal(held[name][0], before[name][0])}
        assert changed == {name for names in groups[:step] for name in names}
    assert same_weights(before, weights(model)) and same_weights(new, seen[-1])


@pytest.fixture(scope="module")
def maps() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    first = rng.random((4, 40, 48), np.float32)
    second = np.clip(first + rng.normal(0, [[[0.0]], [[0.05]], [[0.3]], [[1.0]]], first.shape), 0, 1).astype(np.float32)
    return first, second


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow is the oracle")
def test_structural_similarity_is_that_of_tensorflow(maps):
    import tensorflow as tf

    first, second = maps
    found = randomisation.structural_similarity(first, second)
    expected = tf.image.ssim(first[..., None], second[..., None], max_val=1.0).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found[0] == pytest.approx(1) and (np.diff(found) < 0).all()


def test_rank_correlation_is_that_of_scipy_and_none_for_a_flat_map(maps):
    from scipy.stats import spearmanr

    first, second = (np.round(part, 1) for part in maps)  # with ties
    expected = [spearmanr(one.ravel(), other.ravel()).statistic for one, other in zip(first, second, strict=True)]
    np.testing.assert_allclose(randomisation.rank_correlation(first, second), expected)
    assert np.isnan(randomisation.rank_correlation(first[:1], np.ones_like(first[:1]))).all()


def test_a_few_scans_are_drawn_from_the_classes_in_turn():
    *_, prepared, _ = boxed_study()
    scans = randomisation.some_scans(prepared, 7)
    assert scans["scan"].is_unique and scans["class"].value_counts().to_dict() == {
        CLASSES[0]: 3,
        CLASSES[1]: 2,
        CLASSES[2]: 2,
    }
    test = prepared.split("test")
    for row in scans.to_dict("records"):
        assert test.loc[row["place"], "scan"] == row["scan"] and test.loc[row["place"], row["class"]] == 1
    assert len(randomisation.some_scans(prepared, 1000)) == len(test)


def test_maps_of_a_model_that_learned_fall_to_those_of_other_scans():
    models, runs, prepared, _ = boxed_study()
    clones = {NAME: randomisation.renewed(models[NAME])}
    alike, found, shown = randomisation.randomise_study(models, runs, {"pneumonia": prepared}, clones)
    assert list(alike.columns) == randomisation.SIMILARITIES and list(found.columns) == randomisation.SUMMARY
    for method in randomisation.METHODS:
        own = found[found["method"] == method].set_index("step")
        assert own.loc[0, "ssim"] == pytest.approx(1) and own.loc[0, "rank_correlation"] == pytest.approx(1)
        assert own["ssim"].iloc[-1] < 0.3 and own["ssim_low"].iloc[-1] < own["other_ssim"].iloc[-1] + 0.1
        scans = alike[alike["method"] == method]
        assert own["ssim"].tolist() == pytest.approx(scans.groupby("step")["ssim"].mean().tolist())
    assert shown["pneumonia"]["maps"].shape == (5, 32, 32)


def test_a_map_that_does_not_look_at_the_weights_stays_as_it_was(monkeypatch):
    """What the test must tell apart: an edge detector passes for an explanation of any model."""
    models, runs, prepared, _ = boxed_study()

    def edges(model, images, classes, methods):
        steps = np.abs(np.diff(images.astype(np.float32), axis=2, append=0))
        return {method: steps / steps.max(axis=(1, 2), keepdims=True) for method in methods}

    monkeypatch.setattr(randomisation, "heat_maps", edges)
    clones = {NAME: randomisation.renewed(models[NAME])}
    _, found, _ = randomisation.randomise_study(models, runs, {"pneumonia": prepared}, clones)
    last = found[found["step"] == found["step"].max()]
    assert (last["ssim"] > 0.999).all() and (last["other_ssim"] < 0.5).all()
