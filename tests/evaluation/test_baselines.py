"""Baselines on datasets whose answer is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from lungkeras.evaluation import baselines
from lungkeras.preparation.folder import Prepared

CLASSES = {"covid": ("covid", "viral_pneumonia", "normal"), "xray8": ("effusion", "mass", "no_finding")}


def dataset(name: str, scans: int = 90, tell: bool = True) -> Prepared:
    """Noise as images; the view tells the first class where `tell`."""
    random = np.random.default_rng(0)
    task = "multilabel" if name == "xray8" else "multiclass"
    frames, images = [], {}
    for split in ("train", "val", "test"):
        first = random.random(scans) < 0.5
        labels = np.eye(3, dtype=int)[np.where(first, 0, random.integers(1, 3, scans))]
        if task == "multilabel":
            labels = np.stack([first, random.random(scans) < 0.3, ~first], axis=1).astype(int)
        frame = pd.DataFrame(labels, columns=list(CLASSES[name])).assign(split=split, patient=np.arange(scans) // 2)
        view = np.where(first if tell else random.random(scans) < 0.5, "AP", "PA")
        frames.append(frame.assign(view=view, age=pd.array([None, *random.integers(20, 90, scans - 1)], "Int64")))
        images[split] = random.integers(0, 256, (scans, 8, 8), dtype=np.uint8)
    return Prepared(name, task, CLASSES[name], 8, 127.0, 64.0, pd.concat(frames, ignore_index=True), images)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return baselines.trivial_baselines([dataset("covid"), dataset("xray8")]).set_index(["dataset", "baseline"])


def test_each_dataset_has_the_baselines_that_make_sense(table):
    assert list(table.loc["covid"].index) == ["majority", "metadata", "linear"]
    assert list(table.loc["xray8"].index) == ["majority", "every class", "metadata", "linear"]
    assert (table["macro_f1_low"] <= table["macro_f1"]).all() and (table["macro_f1"] <= table["macro_f1_high"]).all()


def test_majority_and_every_class_score_as_worked_out_by_hand(table):
    first = int(dataset("covid").labels("test")[:, 0].sum())
    assert table.loc[("covid", "majority"), "macro_f1"] == pytest.approx(2 * first / (90 + first) / 3, abs=1e-12)
    assert table.loc[("covid", "majority"), "macro_auroc"] == 0.5
    labels = dataset("xray8").labels("test")
    expected = f1_score(labels, np.ones_like(labels), average="macro")
    assert table.loc[("xray8", "every class"), "macro_f1"] == pytest.approx(expected, abs=1e-12)


def test_metadata_find_a_class_that_the_view_tells_and_nothing_else(table):
    assert table.loc[("xray8", "metadata"), "macro_auroc"] > 0.75
    silent = dataset("xray8", tell=False)
    found = baselines.trivial_baselines([silent]).set_index("baseline").loc["metadata"]
    assert found["macro_auroc_low"] < 0.5 < found["macro_auroc_high"]


def test_without_metadata_there_is_no_such_baseline():
    prepared = dataset("covid")
    prepared.records.drop(columns=["view", "age"], inplace=True)  # noqa: PD002
    assert "metadata" not in baselines.trivial_baselines([prepared])["baseline"].tolist()


def test_baselines_learn_from_the_known_labels_alone():
    prepared = dataset("xray8")
    labels = prepared.records["effusion"].astype(float)
    hidden = prepared.records["split"].eq("train") & (prepared.records.index % 4 == 0)
    wrong = replace(prepared, records=prepared.records.assign(effusion=labels.mask(hidden, 1 - labels)))
    ignored = replace(prepared, records=prepared.records.assign(effusion=labels.mask(hidden, -1.0)))
    known = baselines.metadata_probabilities(ignored)
    assert np.abs(known[:, 0] - baselines.metadata_probabilities(wrong)[:, 0]).max() > 0.05
    np.testing.assert_array_equal(known[:, 1:], baselines.metadata_probabilities(prepared)[:, 1:])
    scores = baselines.trivial_baselines([ignored]).set_index("baseline")
    assert scores.loc[baselines.METADATA, "macro_auroc"] > 0.6
    assert scores[["macro_f1", "macro_auroc"]].notna().all(axis=None)
    zeros = replace(ignored, uncertain="zeros")
    expected = baselines.metadata_probabilities(
        replace(prepared, records=prepared.records.assign(effusion=labels.mask(hidden, 0)))
    )
    np.testing.assert_array_equal(baselines.metadata_probabilities(zeros), expected)


@pytest.mark.parametrize("left", ["view", "age"])
def test_words_or_numbers_alone_are_metadata_too(left):
    prepared = dataset("covid")
    prepared.records.drop(columns=[name for name in ("view", "age") if name != left], inplace=True)  # noqa: PD002
    assert "metadata" in baselines.trivial_baselines([prepared])["baseline"].tolist()
