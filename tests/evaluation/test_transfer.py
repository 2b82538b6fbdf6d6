"""Test scans that transferred weights have seen: copies are planted, and the counts and scores are as planted."""

from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from lungkeras.datasets.scans.decoding import decode_grey
from lungkeras.evaluation import transfer
from lungkeras.evaluation.shared_scans import Collection, beside
from lungkeras.preparation.prints import Fingerprints
from lungkeras.report import comparison_tables, tables
from lungkeras.report.summary import headlines
from lungkeras.study.runs import Run

CLASSES = {
    "pneumonia": ("bacterial_pneumonia", "viral_pneumonia", "normal"),
    "covid": ("covid", "viral_pneumonia", "normal"),
}
EACH, PLANTED = 30, 4


def drawn(dataset: str, scans: list[np.ndarray]) -> tuple[SimpleNamespace, Fingerprints]:
    """Scans in thirds of train, val and test, of the classes in turn, and ttransferred fingerprints."""
    prints = Fingerprints.empty(len(scans))
    for row, scan in enumerate(scans):
        prints.take(row, scan)
    names = [f"{dataset}-{row:02}.png" for row in range(len(scans))]
    records = pd.DataFrame({"scan": names, "patient": names, "split": np.repeat(["train", "val", "test"], EACH // 3)})
    return SimpleNamespace(name=dataset, records=records, classes=CLASSES[dataset]), prints


def searched(scans: dict[str, list[np.ndarray]]) -> dict[str, Collection]:
    """The collections of these scans, in which copies have been searched for."""
    prepared, prints = zip(*(drawn(name, own) for name, own in scans.items()), strict=True)
    return beside(dict(zip(scans, prepared, strict=True)), dict(zip(scans, prints, strict=True)))


@pytest.fixture(scope="module")
def scans(phantom_source):
    """Of covid's test scans, four are copies of scans that pneumonia trains on, and two of scans that it tests."""
    files = {name: sorted(path for path in phantom_source(name).rglob("*.*g") if path.suffix in (".png", ".jpeg"))
             for name in CLASSES}  # fmt: skip
    scans = {name: [decode_grey(file) for file in found[:EACH]] for name, found in files.items()}
    for place in range(PLANTED):
        source = scans["pneumonia"][[0, 1, 12, 13][place]]
        scans["covid"][20 + place] = cv2.resize(source, (280, 280), interpolation=cv2.INTER_AREA)
    for place in range(2):
        scans["covid"][25 + place] = scans["pneumonia"][20 + place].copy()
    return scans


@pytest.fixture(scope="module")
def collections(scans):
    return searched(scans)


def run_of(collection: Collection, name: str, weights: str) -> Run:
    """A run that is right of the planted copies alone."""
    dataset, classes = name.split("-")[0], collection.prepared.classes
    frame = collection.records[collection.records["split"] == "test"].reset_index(drop=True)
    truth = np.arange(len(frame)) % 3
    decided = np.where(np.arange(len(frame)) < PLANTED, truth, (truth + 1) % 3)
    for place, word in enumerate(classes):
        frame[f"label_{word}"] = (truth == place).astype(int)
        frame[f"probability_{word}"] = np.where(decided == place, 0.9, 0.05).astype(np.float32)
    params = {"dataset": dataset, "backbone": "resnet34", "weights": weights}
    return Run(name, params, pd.DataFrame(), frame, {}, classes, "multiclass")


def test_copies_of_what_the_weights_were_learned_from_are_counted_and_left_out_of_a_second_score(collections):
    source = run_of(collections["pneumonia"], "pneumonia-resnet34-random", "random")
    transferred = run_of(collections["covid"], "covid-resnet34-transfer", "pneumonia-resnet34-random/best.keras")
    runs = {run.name: run for run in (source, transferred)}
    (row,) = transfer.transferred(runs, collections).to_dict("records")
    assert (row["run"], row["sources"], row["test_scans"], row["copies"]) == (
        transferred.name,
        "pneumonia",
        10,
        PLANTED,
    )
    assert "holds 1,345 viral and 1,341 normal scans of the folder train of Chest X-ray pneumonia" in row["note"]
    truth = np.arange(10) % 3
    decided = np.where(np.arange(10) < PLANTED, truth, (truth + 1) % 3)
    assert row["macro_f1"] == pytest.approx(f1_score(truth, decided, average="macro"))
    assert row["macro_f1_without"] == 0 < row["macro_f1_without_high"]
    assert row["macro_f1_low"] < row["macro_f1"] < row["macro_f1_high"]


def test_a_run_whose_weights_know_no_copy_says_0_and_one_that_can_not_be_traced_says_so(scans, collections):
    source = run_of(collections["covid"], "covid-resnet34-random", "random")
    transferred = run_of(collections["pneumonia"], "pneumonia-resnet34-transfer", "covid-resnet34-random/best.keras")
    imagenet = run_of(collections["covid"], "covid-resnet34-imagenet", "imagenet")
    untraced = run_of(collections["covid"], "covid-resnet34-transfer", "elsewhere/best.keras")
    runs = {run.name: run for run in (source, transferred, imagenet, untraced)}
    none = {name: own for name, own in collections.items() if name == "covid"}
    bars = [np.roll(np.eye(64, dtype=np.uint8) * 200, place, axis=0) for place in range(EACH)]
    clean = searched(scans | {"covid": bars})
    found = transfer.transferred(runs, clean).set_index("run")
    assert found.loc[transferred.name, "copies"] == found.loc[imagenet.name, "copies"] == 0
    assert found.loc[transferred.name, "macro_f1"] == found.loc[transferred.name, "macro_f1_without"]
    assert pd.isna(found.loc[untraced.name, "copies"]) and found.loc[untraced.name, "note"] == transfer.UNTRACED
    without = transfer.transferred({transferred.name: transferred}, none, runs).set_index("run").loc[transferred.name]
    assert pd.isna(without["copies"]) and "no fingerprints of pneumonia" in without["note"]
    assert list(transfer.transferred({source.name: source}, collections).columns) == transfer.COLUMNS


def test_the_report_says_it_at_the_score():
    runs = ["covid-efficientnet_b1-transfer", "covid-resnet34-transfer"]
    known = pd.DataFrame({"run": runs, "dataset": "covid", "sources": "xray8", "test_scans": 20, "copies": [3, 0]})
    known = known.reindex(columns=transfer.COLUMNS)
    scores = known[["run", "dataset"]].assign(macro_f1=0.8, macro_f1_low=0.7, macro_f1_high=0.9, learning_rate=0.01)
    rows = tables.table_3(scores, transfer=known)["bodies"][0]["rows"]
    assert rows[0][0]["text"].endswith(", learned from copies of 3 test scans") and "copies" not in rows[1][0]["text"]
    chosen = scores.iloc[:1].assign(backbone="efficientnet_b1", weights="transfer", linear_macro_f1=0.5)
    (card,) = headlines(chosen, chosen.assign(published_macro_f1=0.9), None, known)
    assert card["alike"] == " Its weights were learned from copies of 3 of its test scans."
    copies = [row[3]["text"] for row in comparison_tables.transfer(known)["bodies"][0]["rows"]]
    assert copies == ["3", "0"]
