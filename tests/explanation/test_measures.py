"""Numbers of maps and features whose answers are known."""

import keras
import numpy as np
import pandas as pd
import pytest

from lungkeras.explanation import measures
from lungkeras.explanation.embedding import features
from lungkeras.preparation.folder import Prepared
from lungkeras.scores import metrics
from lungkeras.study.runs import Run
from lungkeras.training.outputs import outputs

CLASSES = ("bacterial_pneumonia", "viral_pneumonia", "normal")
SIZE = 32


def test_a_map_on_one_side_is_all_asymmetry_and_one_on_both_is_none():
    maps = np.zeros((4, 10, 10), np.float32)
    maps[0, :, :5] = 1.0
    maps[1] = 0.4
    maps[2, -1, 2] = maps[2, -1, 7] = 1.0
    found = measures.map_measures(maps)
    np.testing.assert_allclose(found["asymmetry"], [1, 0, 0, np.nan])
    np.testing.assert_allclose(found["area"], [0.5, 0, 0.02, np.nan])
    np.testing.assert_allclose(found["row"], [0.5, 0.5, 0.95, np.nan], atol=1e-6)


def test_purity_is_the_share_of_neighbours_with_the_same_label():
    vectors = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
    assert measures.neighbour_purity(vectors, np.array(list("aaabbb")), 2).tolist() == [1] * 6
    assert measures.neighbour_purity(vectors, np.array(list("ababab")), 2)[0] == 0.5
    assert np.isnan(measures.neighbour_purity(vectors[:1], np.array(["a"]))).all()


@pytest.fixture(scope="module")
def study():
    """Two small models, their runs, and a prepared test split."""
    random = np.random.default_rng(0)
    labels = np.eye(3, dtype=int)[np.arange(12) % 3]
    images = random.integers(0, 90, (12, SIZE, SIZE)) + 70 * labels.argmax(axis=1)[:, None, None]
    records = pd.DataFrame(labels, columns=list(CLASSES))
    records = records.assign(
        scan=[f"{n}.png" for n in range(12)], patient=[f"p{n // 2}" for n in range(12)], split="test"
    )
    prepared = Prepared(
        "pneumonia", "multiclass", CLASSES, SIZE, 127.0, 64.0, records, {"test": images.astype(np.uint8)}
    )
    models, runs = {}, {}
    for seed, name in enumerate(("pneumonia-resnet34-random", "pneumonia-mobilenet_v3_large-random")):
        keras.utils.set_random_seed(seed)
        scans = keras.Input((SIZE, SIZE, 1), dtype="uint8")
        x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(keras.layers.Rescaling(1 / 64, -2.0)(scans))
        x = keras.layers.GlobalAveragePooling2D()(x)
        models[name] = keras.Model(scans, keras.layers.Dense(3, name="logits")(x))
        given = metrics.probabilities(outputs(models[name], prepared.images["test"]), "multiclass")
        predictions = records[["scan", "patient", "split"]].copy()
        for place, word in enumerate(CLASSES):
            predictions[f"label_{word}"], predictions[f"probability_{word}"] = labels[:, place], given[:, place]
        runs[name] = Run(name, {"dataset": "pneumonia"}, pd.DataFrame(), predictions, {}, CLASSES, "multiclass")
    return models, runs, prepared


def test_each_test_scan_has_one_row_per_model(study):
    models, _, prepared = study
    vectors = {name: features(model, prepared.images["test"]) for name, model in models.items()}
    found = measures.feature_measures(vectors, prepared)
    assert list(found.columns) == measures.FEATURE_COLUMNS
    assert found["run"].value_counts().to_dict() == dict.fromkeys(models, 12)
    assert found["purity"].between(0, 1).all() and found["silhouette"].between(-1, 1).all()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="Grad-CAM is that of tf-keras-vis")
def test_heat_maps_are_measured_and_compared(study, monkeypatch):
    models, runs, prepared = study
    monkeypatch.setattr(measures, "SCANS_AT_ONCE", 5)
    found, agreement = measures.heatmap_measures(models, runs, prepared)
    assert list(found.columns) == measures.HEATMAP_COLUMNS and len(found) == 24
    assert set(found["correct"]) <= {0, 1}
    assert list(agreement.columns) == measures.AGREEMENT_COLUMNS
    assert agreement[["first", "second"]].drop_duplicates().to_numpy().tolist() == [sorted(models)]
    assert agreement["correlation"].dropna().between(-1, 1).all()
    same = measures.heatmap_measures({name: next(iter(models.values())) for name in models}, runs, prepared)[1]
    np.testing.assert_allclose(same["correlation"].dropna(), 1, atol=1e-5)
