"""External validation: which scans may be asked, that no copy is among them, and scores against a plain computation."""

import shutil
from dataclasses import replace

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, recall_score

from lungkeras.evaluation import external, external_rules, shared_scans
from lungkeras.preparation.folder import load_prepared
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.scores.metrics import probabilities
from lungkeras.study.runs import Run

PNEUMONIA = ("bacterial_pneumonia", "viral_pneumonia", "normal")
COVID = ("covid", "viral_pneumonia", "normal")
SIZE = 32
PLANTED = 9


@pytest.fixture(scope="module")
def collections(phantom_source, tmp_path_factory):
    """Two drawn collections; some normal scans of covid are copies of pneumonia's, re-encoded at another size."""
    folder = tmp_path_factory.mktemp("collections")
    shutil.copytree(phantom_source("covid"), folder / "sources" / "covid")
    normal = sorted((folder / "sources" / "covid").rglob("Normal-*.png"))
    originals = sorted(phantom_source("pneumonia").rglob("NORMAL/*.jpeg"))
    for copy, original in zip(normal[:PLANTED], originals, strict=False):
        scan = cv2.imread(str(original), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(copy), cv2.resize(scan, (299, 299), interpolation=cv2.INTER_AREA))
    sources = {"pneumonia": phantom_source("pneumonia"), "covid": folder / "sources" / "covid"}
    folders = {name: folder / name for name in sources}
    for name, source in sources.items():
        prepare_dataset(name, source, folders[name], size=SIZE)
    planted = {path.name for path in normal[:PLANTED]}
    found = shared_scans.open_collections({name: load_prepared(path) for name, path in folders.items()}, folders)
    return found, planted


@pytest.fixture
def scored_from_one(monkeypatch):
    for module in (external, external_rules):
        monkeypatch.setattr(module, "FEWEST_SCANS", 1)


def model_of(classes: int):
    """A model that answers by the means of nine parts of the scan."""
    keras.utils.set_random_seed(0)
    scans = keras.Input((SIZE, SIZE, 1), dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(10)(keras.layers.Rescaling(1 / 16, -8.0)(scans)))
    return keras.Model(scans, keras.layers.Dense(classes, name="logits")(x))


def run_of(name: str, collection, weights: str | None = None) -> Run:
    """A run with random probabilities on the test split of its own collection."""
    dataset, backbone, start = name.split("-")[:3]
    prepared, random = collection.prepared, np.random.default_rng(0)
    labels = prepared.labels("test").astype(int)
    given = probabilities(labels + random.normal(size=labels.shape), "multiclass")
    frame = prepared.split("test")[["split", "scan", "patient"]].copy()
    for place, word in enumerate(prepared.classes):
        frame[f"label_{word}"], frame[f"probability_{word}"] = labels[:, place], given[:, place]
    params = {"dataset": dataset, "backbone": backbone, "weights": weights or start}
    return Run(name, params, pd.DataFrame(), frame, {}, prepared.classes, "multiclass")


def test_the_rules_follow_from_the_table_of_kinship(collections):
    found, _ = collections
    asked = {(rule.dataset, rule.other): rule for rule in external_rules.rules(found, found)}
    assert set(asked) == {("pneumonia", "covid"), ("covid", "pneumonia")}
    assert dict(asked["pneumonia", "covid"].classes) == {"normal": "normal"} and not asked["pneumonia", "covid"].folder
    assert list(asked["covid", "pneumonia"].classes) == ["viral_pneumonia", "normal"]
    assert asked["covid", "pneumonia"].folder == "test"
    assert external_rules.rules(["xray8"], {}) == []  # of another task than the other two


def test_a_related_collection_with_many_copies_is_not_used(collections, scored_from_one, monkeypatch):
    found, planted = collections
    monkeypatch.setattr(external_rules, "direct", lambda *_: None)
    run = run_of("pneumonia-resnet34-random", found["pneumonia"])
    several = external.external_validation({run.name: run}, found, {run.name: model_of(3)}.get)
    assert len(several) and set(several["other"]) == {"covid"}
    notes = external_rules.external_scans(found).set_index("dataset").loc["pneumonia", "note"]
    assert notes.str.contains("1,341 normal scans of the folder train .*: copies are left out").all()
    copied = found["covid"].records["scan"].isin(planted).sum()
    shared = found["covid"].records[["viral_pneumonia", "normal"]].any(axis=1).sum()
    assert several["scans"].max() == shared - copied
    monkeypatch.setattr(external_rules, "MOST_COPIES", (copied - 0.5) / shared)
    assert external.external_validation({run.name: run}, found, {}.get).empty
    table = external_rules.external_scans(found).set_index("dataset").loc["pneumonia"]
    assert (table["left"] == 0).all() and table["note"].str.contains(f"{copied} of {shared} scans are copies").all()
    assert table["note"].str.contains("1,345 viral and 1,341 normal scans").all()


def test_multilabel_findings_are_asked_by_what_they_mean(collections, scored_from_one, monkeypatch):
    """xray8 calls an effusion what the other collection calls a pleural effusion; its labels are of each scan."""
    names = {"xray8": ("effusion", "mass", "no_finding"), "vindr": ("No finding", "Pleural effusion", "Edema")}
    random, both = np.random.default_rng(0), {}
    for (dataset, classes), asked in zip(names.items(), collections[0].values(), strict=True):
        labels = pd.DataFrame(random.integers(0, 2, (len(asked.records), 3)), columns=list(classes))
        records = pd.concat([asked.records[["scan", "patient", "split", "path"]], labels], axis=1)
        prepared = replace(asked.prepared, name=dataset, task="multilabel", classes=classes, records=records)
        both[dataset] = shared_scans.Collection(prepared, asked.pairs)
    run, model = run_of("xray8-resnet34-random", both["xray8"]), model_of(3)
    run = replace(run, task="multilabel")
    monkeypatch.setattr(external, "copies", lambda own, other, may: np.arange(len(may)) < 5)
    table = external.external_validation({run.name: run}, both, {run.name: model}.get)
    table = table.set_index(["measure", "class"])["value"]
    there = both["vindr"]
    rows = np.arange(5, len(there.records))
    truth = there.records[["Pleural effusion", "No finding"]].to_numpy()[rows]
    said = model.predict(there.images(rows)[..., None], verbose=0)[:, [0, 2]] >= 0
    assert table[("macro_f1", "")] == pytest.approx(f1_score(truth, said, average="macro", zero_division=0))
    assert table[("recall", "effusion")] == pytest.approx(recall_score(truth[:, 0], said[:, 0]))


def test_copies_are_left_out_and_viral_scans_of_covid_are_never_used(collections):
    found, planted = collections
    records = found["covid"].records
    table = external_rules.external_scans(found).set_index(["dataset", "class"])
    normal, viral = (table.loc[("pneumonia", name)] for name in ("normal", "viral_pneumonia"))
    expected = records["scan"].isin(planted).sum()
    assert expected >= 5 and normal["copies"] == expected
    assert normal["scans"] == normal["allowed"] == records["normal"].sum()
    assert normal["left"] == normal["allowed"] - expected
    assert viral["scans"] == records["viral_pneumonia"].sum() and viral["allowed"] == viral["left"] == 0
    assert "never used" in viral["note"]
    assert "a test of the software" in normal["note"]


def test_of_the_pneumonia_collection_the_folder_test_alone_is_asked(collections):
    found, _ = collections
    records = found["pneumonia"].records
    table = external_rules.external_scans(found).set_index(["dataset", "class"])
    for name in ("viral_pneumonia", "normal"):
        in_test = records["path"].str.startswith("chest_xray/test/") & (records[name] == 1)
        assert table.loc[("covid", name), "allowed"] == in_test.sum()
        assert table.loc[("covid", name), "copies"] <= in_test.sum()


def test_where_nothing_can_be_used_the_reason_is_given(collections):
    found, _ = collections
    alone = external_rules.external_scans({"covid": found["covid"]}, ("covid", "xray8")).set_index("dataset")["note"]
    assert "no fingerprints of Chest X-ray pneumonia" in alone["covid"]
    assert "no other collection of the study has a class" in alone["xray8"]
    real = shared_scans.Collection(replace(found["covid"].prepared, drawn=False), found["covid"].pairs)
    mixed = external_rules.external_scans({**found, "covid": real})
    assert mixed["note"].str.contains("one collection is drawn and the other real").all()
    runs = {"pneumonia-resnet34-random": run_of("pneumonia-resnet34-random", found["pneumonia"])}
    assert external.external_validation(runs, {**found, "covid": real}, None).empty


def test_few_scans_are_counted_and_not_scored(collections):
    found, _ = collections
    assert found["covid"].records["normal"].sum() - PLANTED < external_rules.FEWEST_SCANS
    run = run_of("pneumonia-resnet34-random", found["pneumonia"])
    assert external.external_validation({run.name: run}, found, None).empty
    assert "not scored" in external_rules.external_scans(found).set_index("dataset").loc["pneumonia", "note"].iloc[-1]


def test_the_recall_of_one_class_alone_is_never_scored(collections, scored_from_one):
    """A model that always answers "normal" would have a recall of 1 there."""
    found, _ = collections
    run = run_of("pneumonia-resnet34-random", found["pneumonia"])
    assert external.external_validation({run.name: run}, found, {run.name: model_of(3)}.get).empty
    note = external_rules.external_scans(found).set_index(["dataset", "class"]).loc[("pneumonia", "normal"), "note"]
    assert "always predicts" in note


def test_a_run_is_scored_on_its_own_test_split_alike(collections, scored_from_one):
    found, _ = collections
    run = run_of("covid-resnet34-random", found["covid"])
    table = external.external_validation({run.name: run}, found, {run.name: model_of(3)}.get)
    row = table.set_index(["measure", "class"]).loc[("recall", "normal")]
    own = run.predictions[run.predictions["label_normal"] == 1]
    assert row["other"] == "pneumonia" and 0 <= row["value"] <= 1
    assert row["own_scans"] == len(own)
    assert row["own_value"] == pytest.approx((own["probability_normal"] > own["probability_viral_pneumonia"]).mean())


def test_two_classes_have_recalls_and_macro_scores(collections, scored_from_one):
    found, _ = collections
    run, model = run_of("covid-resnet34-random", found["covid"]), model_of(3)
    pneumonia = found["pneumonia"]
    kept = external_rules.allowed(external_rules.rule_of("covid", "pneumonia", found), pneumonia)
    kept = kept & ~shared_scans.copies(found["covid"], pneumonia, kept)
    labels = pneumonia.records.loc[kept, ["viral_pneumonia", "normal"]].to_numpy()
    assert labels.any(axis=0).all()
    table = external.external_validation({run.name: run}, found, {run.name: model}.get)
    table = table.set_index(["measure", "class"])["value"]
    logits = model.predict(pneumonia.images(np.flatnonzero(kept))[..., None], verbose=0)
    truth, said = labels.argmax(axis=1), logits[:, 1:].argmax(axis=1)
    assert table[("macro_f1", "")] == pytest.approx(f1_score(truth, said, average="macro"))
    assert table[("recall", "viral_pneumonia")] == pytest.approx(recall_score(truth, said, pos_label=0))
    assert 0 <= table[("macro_auroc", "")] <= 1


def test_what_a_runs_weights_have_seen_is_not_asked(collections, scored_from_one, monkeypatch):
    found, _ = collections
    first = run_of("pneumonia-resnet34-random", found["pneumonia"])
    transferred = run_of("covid-resnet34-transfer", found["covid"], "pneumonia-resnet34-random/best.keras")
    runs = {run.name: run for run in (first, transferred)}
    assert shared_scans.datasets_seen(transferred, runs) == ["covid", "pneumonia"]
    assert shared_scans.datasets_seen(first, runs) == ["pneumonia"]
    assert shared_scans.datasets_seen(transferred, {transferred.name: transferred}) is None
    circle = replace(first, params=first.params | {"weights": f"{transferred.name}/best.keras"})
    assert shared_scans.datasets_seen(transferred, {transferred.name: transferred, circle.name: circle}) is None
    pneumonia = found["pneumonia"]
    rule = replace(external_rules.rule_of("covid", "pneumonia", found), folder="")
    monkeypatch.setattr(external, "rules", lambda *_: [rule])
    may = external_rules.allowed(rule, pneumonia)
    kept = may & ~shared_scans.copies(found["covid"], pneumonia, may)
    kept &= (pneumonia.records["split"] == "test").to_numpy()
    table = external.external_validation(
        {transferred.name: transferred}, found, {transferred.name: model_of(3)}.get, runs
    )
    assert table.set_index("measure").loc["macro_f1", "scans"] == kept.sum()
    untraced = replace(transferred, params=transferred.params | {"weights": "elsewhere/best.keras"})
    assert external.external_validation({untraced.name: untraced}, found, None, runs).empty


def test_a_darker_scanner_shows_as_a_drop_beside_the_own_test_split(collections, scored_from_one):
    found, _ = collections
    run, asked = run_of("covid-resnet34-random", found["covid"]), found["pneumonia"]
    least = min(images.mean(axis=(1, 2)).min() for images in asked.prepared.images.values())
    scans = keras.Input((SIZE, SIZE, 1), dtype="uint8")
    bright = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1.0)(scans))
    model = keras.Model(scans, keras.layers.Dense(3, name="logits")(bright))
    model.layers[-1].set_weights([np.array([[0.0, 0.0, 1.0]]), np.array([0.0, 0.0, 1.0 - least])])

    def scored(collection) -> pd.Series:
        table = external.external_validation({run.name: run}, {**found, "pneumonia": collection}, {run.name: model}.get)
        return table.set_index(["measure", "class"]).loc[("recall", "normal")]

    darker = {split: images // 3 for split, images in asked.prepared.images.items()}
    here = scored(asked)
    there = scored(shared_scans.Collection(replace(asked.prepared, images=darker), asked.pairs))
    assert here["value"] == 1 and there["value"] == 0
    assert here["own_value"] == there["own_value"] and here["scans"] == there["scans"]
