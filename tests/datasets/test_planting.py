"""Planted sources: what is planted is there, the truth says so, and nothing else has changed."""

import cv2
import numpy as np
import pytest
from folder_contents import contents
from layouts import STUDY

from lungkeras.datasets.phantoms.phantom import draw_source
from lungkeras.datasets.phantoms.planting import COPIES, parse_plants
from lungkeras.datasets.phantoms.truth import TRUTH, read_truth
from lungkeras.datasets.registry import DATASETS, read_records
from lungkeras.datasets.scans.decoding import decode_grey
from lungkeras.system.errors import SourceError

SCANS = 60
ALL = ["marker=0.8", "duplicates=2", "noise=0.1", "sources=3", "strata=0.5"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    def draw(dataset: str, *plants: str, scans: int = SCANS):
        return draw_source(dataset, tmp_path_factory.mktemp("planted") / "source", scans=scans, plants=plants)

    return draw


def images(source) -> dict[str, bytes]:
    return {name: scan for name, scan in contents(source).items() if name.endswith((".png", ".jpeg"))}


@pytest.mark.parametrize("dataset", STUDY)
def test_the_seed_alone_decides_every_byte_of_a_planted_source(dataset, planted):
    one, again = planted(dataset, *ALL, scans=30), planted(dataset, *reversed(ALL), scans=30)
    assert {**contents(one), "PHANTOM.txt": b""} == {**contents(again), "PHANTOM.txt": b""}
    assert len(read_records(dataset, one)) == 30
    assert set(read_truth(one)["path"]) == set(images(one))


@pytest.mark.parametrize("dataset", STUDY)
def test_clean_adds_the_truth_and_changes_no_scan(dataset, planted, phantom_source):
    source = planted(dataset, "clean")
    assert images(source) == images(phantom_source(dataset))
    assert not (phantom_source(dataset) / TRUTH).exists()
    truth = read_truth(source)
    assert (truth["label"] == truth["shown"]).all()
    sick = ~truth["label"].isin(["normal", "no_finding", "cardiomegaly"])
    assert (truth["boxes"] != "").equals(sick)


def test_a_marker_lies_on_its_share_of_one_class_and_on_the_rest_of_the_others(planted, phantom_source):
    source = planted("pneumonia", "marker=0.8")
    truth = read_truth(source)
    carried = truth["marker"].ne("").groupby(truth["label"]).agg(["sum", "size"])
    assert carried.loc["bacterial_pneumonia", "sum"] == round(0.8 * carried.loc["bacterial_pneumonia", "size"])
    others = carried.drop("bacterial_pneumonia").sum()
    assert others["sum"] == round(0.2 * others["size"])
    changed = {name for name, digest in images(source).items() if images(phantom_source("pneumonia"))[name] != digest}
    assert changed == set(truth.loc[truth["marker"] != "", "path"])
    for row in truth[truth["marker"] != ""].itertuples():
        left, top, width, height = map(int, row.marker.split())
        assert decode_grey(source / row.path)[top + height // 2, left + width // 2] > 230


@pytest.mark.parametrize("dataset", STUDY)
def test_copies_are_of_another_patient_and_of_the_same_label(dataset, planted):
    source = planted(dataset, "duplicates=5", scans=90)
    truth = read_truth(source).set_index("path")
    copies = truth[truth["copy_of"] != ""]
    assert sorted(copies["copy"]) == sorted(COPIES)
    originals = truth.loc[copies["copy_of"]]
    assert (originals["label"].to_numpy() == copies["label"].to_numpy()).all()
    assert (originals["patient"].to_numpy() != copies["patient"].to_numpy()).all()
    kept = set(read_records(dataset, source)["path"])
    assert {*copies.index, *originals.index} <= kept
    for path, row in copies.iterrows():
        original, copy = decode_grey(source / row["copy_of"]), decode_grey(source / path)
        assert (row["copy"] == "exact") == np.array_equal(original, copy)
        assert (row["copy"] in ("resized", "cropped")) == (original.shape != copy.shape)


@pytest.mark.parametrize("dataset", ["rsna", "tuberculosis", "pneumoniamnist"])
def test_a_marker_and_copies_lie_in_files_that_a_collection_encodes_itself(dataset, planted):
    source = planted(dataset, "marker=1", "duplicates:exact=1", "duplicates:gamma=1", scans=40)
    truth = read_truth(source).set_index("path")
    assert len(read_records(dataset, source)) == 40
    for path, row in truth[truth["copy_of"] != ""].iterrows():
        original, copy = decode_grey(source / row["copy_of"]), decode_grey(source / path)
        assert (row["copy"] == "exact") == np.array_equal(original, copy)
    if dataset != "pneumoniamnist":  # whose scans are smaller than its drawings
        path, row = next(truth[(truth["marker"] != "") & (truth["copy"] == "")].iterrows())
        left, top, width, height = map(int, row["marker"].split())
        assert decode_grey(source / path)[top + height // 2, left + width // 2] > 230


@pytest.mark.parametrize("dataset", STUDY)
def test_noise_shows_another_class_than_the_label(dataset, planted, phantom_source):
    source = planted(dataset, "noise=0.1")
    truth = read_truth(source)
    wrong = truth["label"] != truth["shown"]
    known = [set(label.split("|")) <= set(DATASETS[dataset].classes) for label in truth["label"]]
    assert wrong.sum() == round(0.1 * sum(known))
    for shown, label in truth.loc[wrong, ["shown", "label"]].to_numpy():
        assert set(shown.split("|")).isdisjoint(label.split("|"))
    clean = images(phantom_source(dataset))
    assert {name for name, digest in images(source).items() if clean[name] != digest} == set(truth.loc[wrong, "path"])


def test_noise_and_copies_can_be_of_one_class_and_one_kind(planted):
    plants = ["noise:covid=0.5", "noise:normal=0.1", "duplicates:cropped=6", "duplicates:exact=2"]
    truth = read_truth(planted("covid", *plants, scans=200))
    originals = truth[truth["copy"] == ""]
    for name, rate in (("covid", 0.5), ("normal", 0.1), ("viral_pneumonia", 0.0)):
        shown = originals.loc[originals["label"] == name, "shown"]
        assert (shown != name).mean() == pytest.approx(rate, abs=0.06)  # a copy shows what its original does
    assert truth["copy"].value_counts().drop("").to_dict() == {"cropped": 6, "exact": 2}
    pairs = truth.loc[truth["copy"] != "", ["path", "copy_of"]].to_numpy().ravel()
    assert len(set(pairs)) == len(pairs)


def test_null_shows_what_has_nothing_to_do_with_the_label(planted):
    truth = read_truth(planted("xray8", "null", scans=90))
    assert sorted(truth["shown"]) == sorted(truth["label"])
    agree = (truth["label"] == truth["shown"]).mean()
    by_chance = (truth["label"].value_counts(normalize=True) ** 2).sum()
    assert abs(agree - by_chance) < 0.15


def test_sources_differ_in_tone_and_each_has_its_class(planted):
    source = planted("covid", "sources=2")
    truth = read_truth(source)
    grey = [decode_grey(source / path).mean() for path in truth["path"]]
    low, high = (np.mean([g for g, s in zip(grey, truth["scanner"], strict=True) if s == number]) for number in "10")
    assert high > low + 20
    assert (truth.loc[truth["label"] == "covid", "scanner"] == "0").mean() > 0.75
    assert (truth.loc[truth["label"] == "viral_pneumonia", "scanner"] == "1").mean() > 0.75


def test_a_planted_share_of_atelectasis_shows_an_effusion_as_well(planted):
    source = planted("xray8", "multilabel=0.6", scans=90)
    found, truth = [set(label.split("|")) for label in read_truth(source)["label"]], read_truth(source)
    first = [labels for labels in found if "atelectasis" in labels]
    assert sum("effusion" in labels for labels in first) == round(0.6 * len(first))
    assert (truth["label"] == truth["shown"]).all()
    both = truth[truth["label"] == "atelectasis|effusion"]
    assert both["boxes"].str.contains("atelectasis").all() and both["boxes"].str.contains("effusion").all()
    records = read_records("xray8", source)
    assert records.loc[records["atelectasis"] == 1, "effusion"].sum() == round(0.6 * len(first))


def test_a_drain_lies_on_its_share_of_pneumothorax(planted):
    truth = read_truth(planted("xray8", "strata=0.5"))
    carriers = truth["label"].str.contains("pneumothorax")
    assert (truth.loc[carriers, "drain"] == "1").sum() == round(0.5 * carriers.sum())
    assert (truth.loc[~carriers, "drain"] == "0").all()


def test_a_leaky_source_shows_who_the_patient_is(planted):
    source = planted("pneumonia", "leaky")
    truth = read_truth(source)
    assert truth["patient"].value_counts().median() >= 3
    small = [cv2.resize(decode_grey(source / path), (6, 6), interpolation=cv2.INTER_AREA) for path in truth["path"]]
    values = np.reshape(small, (len(small), -1)).astype(float)
    nearest = np.corrcoef(values - values.mean(axis=0)) - 2 * np.eye(len(values))
    patients = truth["patient"].to_numpy()
    assert (patients[nearest.argmax(axis=1)] == patients).mean() > 0.8  # by chance 0.05


@pytest.mark.parametrize(
    ("dataset", "plants", "words"),
    [
        ("covid", ["markr=1"], "one of clean, marker"),
        ("covid", ["marker=1.2"], "from 0.0 to 1.0, found '1.2'"),
        ("covid", ["duplicates=2.5"], "whole number"),
        ("covid", ["null=1"], "takes no value"),
        ("covid", ["null", "noise=0.1"], "not both"),
        ("covid", ["leaky"], "no patients"),
        ("pneumonia", ["multilabel"], "plant it in xray8"),
        ("covid", ["noise:nodule=0.1"], "one of covid, viral_pneumonia, normal after the colon, found 'nodule'"),
        ("covid", ["duplicates:turned=4"], "one of exact, re-encoded"),
        ("covid", ["marker:covid=1"], "no colon"),
        ("covid", ["noise=0.1", "noise:covid=0.1"], "for all or for a part"),
        ("xray8", ["duplicates=40"], "plant fewer"),
    ],
)
def test_what_cannot_be_planted_is_one_sentence(dataset, plants, words, tmp_path):
    with pytest.raises(SourceError, match=words):
        draw_source(dataset, tmp_path / "source", scans=20, plants=plants)
    assert not (tmp_path / "source").exists()


def test_a_plant_without_a_value_takes_its_own():
    assert parse_plants(["marker", "null"], ["covid"]) == {"marker": 1.0, "null": None}
