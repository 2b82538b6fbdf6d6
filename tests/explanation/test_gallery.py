"""The gallery: scans as they lie in the source, and the scan that models are most sure of."""

import keras
import numpy as np
import pandas as pd
import pytest

from lungkeras.datasets.scans.decoding import decode_grey
from lungkeras.explanation import gallery
from lungkeras.preparation.folder import load_prepared
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.study.runs import Run


@pytest.fixture(scope="module")
def prepared(phantom_source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "pneumonia"
    prepare_dataset("pneumonia", phantom_source("pneumonia"), folder, size=32)
    return load_prepared(folder)


def test_an_example_of_each_class_is_the_scan_in_the_source(prepared, phantom_source):
    found = gallery.examples(prepared)
    assert list(found) == list(prepared.classes)
    train = prepared.split("train")
    for name, image in found.items():
        path = train[train[name] == 1]["path"].iloc[0]
        np.testing.assert_array_equal(image, decode_grey(phantom_source("pneumonia") / path))


def test_no_scan_is_the_example_of_two_classes_if_another_exists(prepared):
    from dataclasses import replace

    bacterial, viral, normal = prepared.classes
    records = prepared.records.copy()
    train = records.index[records["split"] == "train"]
    records.loc[train, list(prepared.classes)] = 0
    records.loc[train[0], [bacterial, viral]] = records.loc[train[1], [bacterial, viral]] = 1
    records.loc[train[2], normal] = 1
    found = gallery.examples(replace(prepared, records=records, source="/no/such/folder"))
    for name, place in zip(prepared.classes, (0, 1, 2), strict=True):
        np.testing.assert_array_equal(found[name], prepared.images["train"][place])


def test_without_the_source_the_prepared_scan_is_shown(prepared):
    from dataclasses import replace

    moved = replace(prepared, source="/no/such/folder")
    assert all(image.shape == (32, 32) for image in gallery.examples(moved).values())
    assert list(gallery.steps(moved)) == ["resized"]


def test_the_explained_scan_has_the_highest_mean_confidence(prepared):
    images = keras.Input((32, 32, 1), dtype="uint8")
    maps = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(images))
    model = keras.Model(images, keras.layers.Dense(3, name="logits")(keras.layers.GlobalAveragePooling2D()(maps)))
    labels = prepared.labels("test").astype(int)
    probabilities = np.full(labels.shape, 0.2, np.float32)
    most_confident = {column: int(np.flatnonzero(labels[:, column])[-1]) for column in range(3)}
    for column, place in most_confident.items():
        probabilities[place, column] = 0.9
    predictions = pd.DataFrame({"split": "test", "scan": "", "patient": ""}, index=range(len(labels)))
    for column, name in enumerate(prepared.classes):
        predictions[f"label_{name}"], predictions[f"probability_{name}"] = labels[:, column], probabilities[:, column]
    run = Run("pneumonia-resnet34-random", {}, pd.DataFrame(), predictions, {}, prepared.classes, "multiclass")
    scans, heatmaps, given = gallery.explanations({run.name: model}, {run.name: run}, prepared)
    for column, name in enumerate(prepared.classes):
        np.testing.assert_array_equal(scans[name], prepared.images["test"][most_confident[column]])
        assert given[run.name][name] == pytest.approx(0.9)
        assert heatmaps[run.name][name].shape == (32, 32)
