"""The audit: its parts against closed forms and scikit-learn, its findings on planted sources (over seeds: probes)."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
from layouts import STUDY
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from lungkeras import cli
from lungkeras.datasets.phantoms.faults import copied
from lungkeras.datasets.phantoms.phantom import draw_source
from lungkeras.datasets.phantoms.planting import COPIES, HARDER_COPIES
from lungkeras.datasets.phantoms.truth import read_truth
from lungkeras.datasets.registry import DATASETS, read_records
from lungkeras.datasets.scans.decoding import decode_grey
from lungkeras.preparation import alignment, duplicates
from lungkeras.preparation.audit import dataset as audit
from lungkeras.preparation.audit import labels, leakage, shortcuts
from lungkeras.preparation.audit.summary import as_text, tables
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.preparation.prints import Fingerprints, load_fingerprints, take_fingerprints
from lungkeras.scores.rankings import ranking
from lungkeras.splits import split_records
from lungkeras.system.errors import RunError

KEYS = {"duplicates", "shortcuts", "suspected_labels", "label_noise", "leakage"}


def planted_pairs(source, records) -> set[frozenset]:
    name = dict(zip(records["path"], records["scan"], strict=True))
    truth = read_truth(source)
    truth = truth[truth["copy_of"] != ""]
    return {frozenset((name[path], name[other])) for path, other in zip(truth["path"], truth["copy_of"], strict=True)}


def alarms(found) -> set[tuple[str, str]]:
    return {(entry["name"], entry["class"]) for entry in found["shortcuts"] if entry["alarm"]}


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """A source with a marker on all of one class, copies, and wrong labels."""
    folder = tmp_path_factory.mktemp("marked") / "source"
    return draw_source("covid", folder, scans=300, plants=["marker=0.9", "duplicates=10", "noise=0.15"])


@pytest.fixture(scope="module")
def found(marked):
    return audit.audit_source("covid", marked)


def test_an_audit_finds_what_was_planted(found, marked):
    assert found.keys() >= KEYS
    records = read_records("covid", marked)
    assert {frozenset(pair) for pair in found["duplicates"]} == planted_pairs(marked, records)
    assert ("border", "covid") in alarms(found)
    truth = read_truth(marked).set_index("path").loc[records["path"]]
    wrong = dict(zip(records["scan"], truth["label"] != truth["shown"], strict=True))
    assert found["label_noise"]["low"] <= 0.15 <= found["label_noise"]["high"] + 0.05
    worst = found["suspected_labels"][:10]
    assert len(worst) == 10 and sum(wrong[scan] for scan in worst) >= 7
    assert found["leakage"]["shared_duplicates"] == 0


def test_the_command_prints_json_or_a_summary(found, marked, capsys, monkeypatch):
    monkeypatch.setattr(audit, "audit_source", lambda *_, **__: found)
    assert cli.main(["audit", "covid", "--source", str(marked), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found))
    assert cli.main(["audit", "covid", "--source", str(marked)]) == 0
    printed = capsys.readouterr().out
    assert printed.strip() == as_text(found)
    assert "ALARM" in printed and "Duplicates: 10 pairs" in printed


def test_a_missing_source_is_one_sentence(tmp_path, capsys):
    assert cli.main(["audit", "covid", "--source", str(tmp_path / "none"), "--json"]) == 1
    assert capsys.readouterr().err.startswith("lungkeras: covid: no scan in")


@pytest.mark.parametrize("dataset", STUDY)
def test_a_clean_source_raises_no_alarm_and_has_no_duplicates(dataset, phantom_source):
    found = audit.audit_source(dataset, phantom_source(dataset))
    assert not found["duplicates"] and not alarms(found)
    assert set(found["leakage"]["shared_patients"].values()) == {0}


def test_patients_in_two_splits_and_duplicates_in_two_splits_are_counted():
    records = pd.DataFrame({"scan": list("abcdef"), "patient": list("112334"), "sick": [1, 1, 0, 1, 0, 0]})
    records.attrs["classes"] = ["sick"]
    records["split"] = ["train", "test", "train", "val", "test", "val"]
    found = leakage.find_leaks(records, [["c", "f"], ["a", "c"]])
    assert found["shared_patients"] == {"train and val": 0, "train and test": 1, "val and test": 1}
    assert found["shared_duplicates"] == 1
    assert found["patients"] == {"train": 2, "val": 2, "test": 2}


def test_a_split_by_scan_leaks_as_much_as_chance_says():
    """Of a patient's two scans, the other one is in train with probability 0.7 (a little more: the one is not)."""
    records = pd.DataFrame({"patient": np.repeat(np.arange(500), 2), "sick": np.tile([0, 1], 500)})
    records.attrs["classes"] = ["sick"]
    found = leakage.random_split(records)
    assert found["patient_in_train"] == pytest.approx(700 / 999, abs=0.02)
    assert found["same_labels"] == 0


def test_a_model_that_recognises_patients_gains_only_by_a_split_by_scan():
    """Each patient's scans look alike, and nothing tells of the class."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(60), 4)
    looks = np.eye(60)[patients] + 0.05 * rng.normal(size=(240, 60))
    found = leakage.leaked_auroc(looks, (rng.random(60) < 0.5)[patients, None], patients)
    assert found["auroc_by_scan"] > 0.95 and found["auroc_by_patient"] < 0.65


def test_the_full_nih_selection_leaks_what_was_counted_before(real_scans):
    records = read_records("xray8", real_scans / "nih", require_files=False)
    found = leakage.random_split(records)
    assert found["patient_in_train"] == pytest.approx(0.646, abs=0.01)
    assert found["same_labels"] == pytest.approx(0.362, abs=0.01)


def test_auroc_equals_that_of_scikit_learn_and_weights_are_repeats():
    rng = np.random.default_rng(0)
    known, scores = rng.random(200) < 0.3, rng.integers(0, 20, 200) / 7
    times = rng.integers(0, 4, (3, 200))
    ours, _ = ranking(known, scores, times)
    theirs = [roc_auc_score(np.repeat(known, row), np.repeat(scores, row)) for row in times]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_scores_of_labels_at_random_are_at_chance_and_intervals_hold_it():
    rng = np.random.default_rng(1)
    known = rng.random((300, 1)) < 0.4
    groups = np.repeat(np.arange(100), 3)
    scores = shortcuts.unseen_scores(rng.normal(size=(300, 40)), known, groups)
    _, low, high = shortcuts.auroc_interval(known[:, 0], scores[:, 0], groups)
    assert low < 0.5 < high


@pytest.fixture(scope="module")
def partly_known():
    """Features that tell two classes, their true labels, and the same with half of each class's scans unknown."""
    rng = np.random.default_rng(6)
    truth = (rng.random((400, 2)) < 0.4).astype(float)
    features = np.concatenate([truth + 0.2 * rng.normal(size=truth.shape), rng.normal(size=(400, 4))], axis=1)
    unknown = (truth == 1) & (rng.random(truth.shape) < 0.5)
    return features, truth, np.where(unknown, np.nan, truth), np.arange(400).astype(str)


def test_no_class_is_fitted_to_or_scored_on_scans_whose_label_of_it_is_unknown(partly_known, monkeypatch):
    features, truth, given, groups = partly_known
    scores = shortcuts.unseen_scores(features, given, groups)
    for place in range(2):  # scans that it has not seen, the unknown ones too, are ranked as they are
        assert roc_auc_score(truth[:, place], scores[:, place]) > 0.99
    probe = shortcuts.Probe("all", 0.6, lambda prints, records: features)
    monkeypatch.setattr(shortcuts, "PROBES", {"all": probe})
    for row, place in zip(shortcuts.probe_shortcuts(None, None, given, ["a", "b"], groups), range(2), strict=True):
        known = ~np.isnan(given[:, place])
        assert row["auroc"] == pytest.approx(roc_auc_score(truth[known, place], scores[known, place]), abs=1e-12)
        assert row["auroc"] > 0.99 and row["low"] > 0.98
    assert leakage.leaked_auroc(features, given, groups)["auroc_by_patient"] > 0.99


def test_an_unknown_label_is_neither_wrong_nor_suspected(partly_known):
    features, truth, given, groups = partly_known
    noise, probabilities, recognised = labels.label_noise(features, features, given, groups, ["a", "b"])
    for place, entry in enumerate(noise["classes"].values()):
        known = ~np.isnan(given[:, place])
        assert entry["auroc"] == pytest.approx(roc_auc_score(truth[known, place], probabilities[known, place]))
        assert entry["auroc"] > 0.98 and entry["rate"] < 0.05
    rows = labels.suspects(given, probabilities, recognised, 400)
    assert not any(np.isnan(given[row, place]) for row, place, _ in rows)
    as_zeros = labels.suspects(np.nan_to_num(given), probabilities, recognised, 400)
    assert sum(np.isnan(given[row, place]) for row, place, _ in as_zeros) > 5, "as if absent, they are suspected"


def test_an_audit_says_what_it_made_of_unknown_labels(phantom_source, tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "FEWEST_SCANS", 1000)  # without the search for wrong labels, which takes longest
    prepare_dataset("chexpert", phantom_source("chexpert"), tmp_path / "prepared", size=32)
    found = audit.audit_prepared(tmp_path / "prepared", uncertain="ignore, edema=ones", blank="zeros")
    assert found["unknown_as"]["uncertain"]["edema"] == "ones"
    assert set(found["unknown_as"]["blank"].values()) == {"zeros"}
    said = " ".join(found["notes"])
    assert "Blank labels were counted as absent, in shortcuts" in said and "counted as present for edema" in said
    ignored = audit.audit_prepared(tmp_path / "prepared", blank="ignore")
    records = pd.read_parquet(tmp_path / "prepared" / "records.parquet")
    absent = {name: records.loc[records[name] == 0, "patient"].nunique() for name in found["unknown_as"]["blank"]}
    few = {name for name, patients in absent.items() if patients < shortcuts.FEWEST}
    assert few and all(entry["auroc"] is None for entry in ignored["shortcuts"] if entry["class"] in few)
    assert any(entry["auroc"] is not None for entry in found["shortcuts"] if entry["class"] in few)


def scored(apart: float, wrong: float):
    """Truth, partly wrong labels, and normal scores of 40,000 scans; a quarter of them has the class."""
    rng = np.random.default_rng(2)
    truth = np.arange(40_000) < 10_000
    known, flips = truth.copy(), round(wrong * 10_000)
    known[:flips] = False
    known[-flips or len(known) :] = True
    return truth, known, apart * truth + rng.normal(size=len(truth))


@pytest.mark.parametrize("apart", [2, 3, 4])
@pytest.mark.parametrize("wrong", [0, 0.05, 0.15, 0.3])
def test_wrong_labels_are_distinguished_from_errors_of_the_model(apart, wrong):
    truth, known, scores = scored(apart, wrong)
    counts = labels.among_deciles(known, scores, np.ones((1, len(known))))
    assert counts.sum() == 10_000
    assert labels.contamination(counts, 1 / 3)[0] == pytest.approx(wrong, abs=0.015)
    right = labels.auroc_of_right_labels(roc_auc_score(known, scores), wrong, 1 / 3)
    assert right == pytest.approx(roc_auc_score(truth, scores), abs=0.01)


@pytest.mark.parametrize("hidden", [0.5, 1, 2])
def test_wrong_labels_are_counted_whether_more_or_fewer_scans_of_the_class_carry_another_label(hidden):
    """The rate of the labels is 30 %; the class hides among the others as often, half as often or twice as often."""
    rng, scans, found, held = np.random.default_rng(4), 4000, [], []
    known = np.arange(scans) < scans / 4
    for _ in range(12):
        truth = np.where(known, rng.random(scans) >= 0.3, rng.random(scans) < 0.1 * hidden)
        scores = 2.5 * truth + rng.normal(size=scans)
        times = rng.multinomial(scans, np.full(scans, 1 / scans), 100)
        counts = labels.among_deciles(known, scores, np.concatenate([np.ones((1, scans)), times]))
        rate, *drawn = labels.contamination(counts, 1 / 3)
        low, high = zip(labels.likely(counts[0], 1 / 3), np.quantile(drawn, [0.025, 0.975]), strict=True)
        held.append(min(low) <= 0.3 <= max(high))
        found.append(rate)
    assert np.mean(found) == pytest.approx(0.3, abs=0.025) and np.mean(held) >= 0.8


def test_no_wrong_label_seen_is_not_none_possible():
    """Of 200 labelled scans that all score above the others, 1.9 / 200 are the likelihood's 95 % limit."""
    counts = np.r_[np.zeros(9), 200.0]
    low, high = labels.likely(counts, 1 / 3)
    assert labels.contamination(counts[None], 1 / 3)[0] == low == 0
    assert 1.92 / 200 - 0.005 <= high <= 0.03


def test_scans_are_counted_between_the_deciles_of_the_others_as_often_as_they_weigh():
    rng = np.random.default_rng(3)
    known, scores, times = rng.random(200) < 0.3, rng.random(200), rng.integers(0, 3, (2, 200))
    for row, counts in zip(times, labels.among_deciles(known, scores, times), strict=True):
        given, others = (np.repeat(scores[part], row[part]) for part in (known, ~known))
        edges = np.quantile(others, labels.DECILES, method="inverted_cdf")
        assert counts.tolist() == np.bincount(np.searchsorted(edges, given), minlength=10).tolist()


def test_patients_who_share_a_duplicate_are_one_group_and_stay_in_one_split():
    records = pd.DataFrame({"scan": [f"{n}.png" for n in range(60)], "patient": [f"p{n:02}" for n in range(60)]})
    records["sick"] = np.arange(60) % 2
    records["well"] = 1 - records["sick"]
    records.attrs["classes"] = ["sick", "well"]
    pairs = pd.DataFrame({"scan": ["1.png", "7.png", "30.png"], "other": ["7.png", "8.png", "31.png"]})
    groups = duplicates.join_patients(records, pairs)
    assert groups[[1, 7, 8]].tolist() == ["p01"] * 3 and groups[31] == "p30"
    assert (groups.drop([7, 8, 31]) == records["patient"].drop([7, 8, 31])).all()
    for seed in range(5):
        split = split_records(records.assign(group=groups), seed=seed)["split"]
        assert split[1] == split[7] == split[8] and split[30] == split[31]


def test_copies_are_distinguished_from_scans_of_one_patient(phantom_source, tmp_path):
    source = phantom_source("pneumonia")
    records = read_records("pneumonia", source)
    scan = decode_grey(source / records["path"][0])
    height, width = scan.shape
    copies = {
        "same.png": scan,
        "turned.png": cv2.rotate(scan, cv2.ROTATE_180),
        "small.png": cv2.resize(scan, (width // 2, height // 2), interpolation=cv2.INTER_AREA),
        "cropped.png": scan[: height - round(0.03 * height), round(0.03 * width) :],
        "bright.png": cv2.add(scan, 40),
    }
    for name, image in copies.items():
        cv2.imwrite(str(tmp_path / name), image)
    prints = take_fingerprints([*(source / path for path in records["path"]), *(tmp_path / name for name in copies)])
    names = [*records["scan"], *copies]
    pairs = duplicates.find_duplicates(prints, names, [*records["patient"], *copies])
    first = {frozenset(pair) for pair in zip(pairs["scan"], pairs["other"], strict=True) if records["scan"][0] in pair}
    assert first == {frozenset((records["scan"][0], name)) for name in copies if name != "turned.png"}
    assert pairs.loc[pairs["other"] == "same.png", "kind"].tolist() == ["same pixels"]


def test_duplicates_across_collections_are_found_in_real_scans(real_scans):
    """Viral pneumonia scans of the COVID database are of the pneumonia collection, at another size."""
    collections = {}
    for dataset, folder in (("pneumonia", "kermany"), ("covid", "covid")):
        records = read_records(dataset, real_scans / folder)
        records = records[records["viral_pneumonia"] == 1].reset_index(drop=True)
        paths = [real_scans / folder / path for path in records["path"]]
        collections[dataset] = take_fingerprints(paths), records
    pairs = duplicates.across(collections)
    assert {*zip(pairs["scan"], pairs["other"], strict=True)} >= {
        ("person101_virus_188.jpeg", "Viral Pneumonia-31.png"),
        ("person88_virus_165.jpeg", "Viral Pneumonia-13.png"),
    }
    assert (pairs["correlation"] > 0.99).all() and len(pairs) < 10


def test_copies_across_collections_are_searched_once(phantom_source, tmp_path, monkeypatch):
    collections = {}
    for dataset in ("covid", "pneumonia"):
        records = read_records(dataset, phantom_source(dataset)).head(12)
        collections[dataset] = take_fingerprints([phantom_source(dataset) / path for path in records["path"]]), records
    one, other = collections["covid"][0].arrays(), collections["pneumonia"][0].arrays()
    for own, copy in zip(other, one, strict=True):
        own[3] = copy[5]
    kept = tmp_path / "copies.json"
    pairs = duplicates.across(collections, kept)
    names = collections["covid"][1]["scan"].iloc[5], collections["pneumonia"][1]["scan"].iloc[3]
    assert [*zip(pairs["scan"], pairs["other"], strict=True)] == [names]
    pd.testing.assert_frame_equal(pairs, duplicates.across(collections))

    monkeypatch.setattr(duplicates, "find_duplicates", None)
    pd.testing.assert_frame_equal(pairs, duplicates.across(collections, kept))
    with pytest.raises(TypeError):  # another question is searched anew
        duplicates.across({name: (prints, own.iloc[::-1]) for name, (prints, own) in collections.items()}, kept)
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"pairs": 5}))
    with pytest.raises(TypeError):
        duplicates.across(collections, kept)


def test_a_prepared_dataset_separates_no_duplicates_and_is_audited_from_its_files(marked, found, tmp_path, monkeypatch):
    summary = prepare_dataset("covid", marked, tmp_path / "prepared", size=32)
    assert summary["duplicates"] == {"pairs": 10, "scans": 20, "patients": 10}
    again = audit.audit_prepared(tmp_path / "prepared")
    assert again == json.loads((tmp_path / "prepared" / "audit.json").read_text())
    records = pd.read_parquet(tmp_path / "prepared" / "records.parquet").set_index("scan")
    pairs = np.array(again["duplicates"])
    assert (records.loc[pairs[:, 0], "split"].to_numpy() == records.loc[pairs[:, 1], "split"].to_numpy()).all()
    assert {frozenset(pair) for pair in again["duplicates"]} == {frozenset(pair) for pair in found["duplicates"]}
    assert len(load_fingerprints(tmp_path / "prepared" / "fingerprints.npz")) == 300

    # Made by other code, an audit is made again; where it can't be, a note says so.
    file = tmp_path / "prepared" / "audit.json"
    monkeypatch.setattr(audit, "audit_records", lambda *_, **__: pytest.fail("audited although nothing has changed"))
    assert audit.kept_audit(tmp_path / "prepared") == again
    monkeypatch.undo()
    earlier = again | {"scans": 7, "made_from": again["made_from"] | {"code": "other"}}
    file.write_text(json.dumps(earlier))
    assert audit.kept_audit(tmp_path / "prepared") == again == json.loads(file.read_text())
    file.write_text(json.dumps(earlier))
    (tmp_path / "prepared" / "fingerprints.npz").unlink()
    kept = audit.kept_audit(tmp_path / "prepared")
    assert kept["scans"] == 7 and "made by an earlier version" in kept["notes"][-1]
    with pytest.raises(RunError, match=r"no fingerprints\.npz: prepare it again"):
        audit.audit_prepared(tmp_path / "prepared")


def test_scans_that_cannot_be_read_are_counted_and_stop_nothing(phantom_source, tmp_path):
    import shutil

    source = shutil.copytree(phantom_source("covid"), tmp_path / "source")
    for path in read_records("covid", source)["path"][:3]:
        (source / path).write_bytes(b"")
    found = audit.audit_source("covid", source)
    assert found["scans"] == 57 and ["unreadable", 3] in found["flow"]


def test_the_tables_hold_a_row_for_each_finding(found):
    made = tables({"covid": found})
    assert len(made["audit_duplicates"]) == len(found["duplicates"])
    assert made["audit_shortcuts"]["alarm"].sum() == len(alarms(found))
    assert made["audit_labels"]["class"].tolist() == ["all", *DATASETS["covid"].classes]
    assert made["audit_suspects"]["scan"].tolist() == found["suspected_labels"]
    assert made["audit_leakage"].loc[0, "shared_train_test"] == 0


def test_nothing_is_probed_twice_of_a_large_collection(monkeypatch):
    monkeypatch.setattr(audit, "MOST_SCANS", 100)
    groups = np.repeat(np.arange(200), 3)
    rows = audit.probed_rows(groups, 0)
    assert 90 <= len(rows) <= 100
    assert (np.unique(groups[rows], return_counts=True)[1] == 3).all()


def test_copies_of_a_copy_are_found_and_blank_scans_are_not_copies():
    random, prints = np.random.default_rng(3), Fingerprints.empty(806)
    scan = cv2.GaussianBlur(random.integers(0, 256, (96, 96), np.uint8), (0, 0), 2)
    for row, image in enumerate((scan, cv2.resize(scan, (80, 80), interpolation=cv2.INTER_AREA))):
        prints.take(row, image)
        prints.take(row + 2, image)
    for row in range(4, 806):  # were each compared with each, this would take a minute
        prints.take(row, np.full((32, 32 + row), 7, np.uint8))
    names = [str(row) for row in range(806)]
    pairs = duplicates.find_duplicates(prints, names, names)
    found = {kind: set(zip(rows["scan"], rows["other"], strict=True)) for kind, rows in pairs.groupby("kind")}
    assert found == {"same pixels": {("0", "2"), ("1", "3")}, "look alike": {("0", "1"), ("0", "3"), ("1", "2")}}


def test_an_empty_collection_of_fingerprints_has_no_duplicates():
    assert duplicates.find_duplicates(Fingerprints.empty(3), list("abc"), list("abc")).empty


@pytest.mark.probes
@pytest.mark.parametrize("dataset", STUDY)
def test_forty_planted_pairs_are_found_among_a_thousand_scans_and_no_other(dataset, tmp_path):
    source = draw_source(dataset, tmp_path / "source", scans=1000, seed=7, plants=["duplicates=40"])
    records = read_records(dataset, source)
    prints = take_fingerprints([source / path for path in records["path"]])
    pairs = duplicates.find_duplicates(prints, records["scan"], records["patient"])
    got, planted = set(map(frozenset, pairs[["scan", "other"]].to_numpy())), planted_pairs(source, records)
    assert len(got & planted) >= 38
    assert not got - planted


@pytest.mark.probes
@pytest.mark.parametrize("kind", [*COPIES, *HARDER_COPIES])
def test_copies_of_each_kind_are_found(kind, tmp_path):
    source = draw_source("pneumonia", tmp_path / "source", scans=400, seed=5, plants=[f"duplicates:{kind}=40"])
    records = read_records("pneumonia", source)
    prints = take_fingerprints([source / path for path in records["path"]])
    pairs = duplicates.find_duplicates(prints, records["scan"], records["patient"])
    got, planted = set(map(frozenset, pairs[["scan", "other"]].to_numpy())), planted_pairs(source, records)
    assert len(got & planted) >= 38 and not got - planted


@pytest.mark.probes
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("plant", ["marker=0.8", "marker=1.0", "marker=0.5", "null", "clean"])
def test_a_marker_is_flagged_if_it_is_informative_and_nothing_else_is(plant, seed, tmp_path):
    for dataset in ("covid", "pneumonia"):
        source, classes = tmp_path / dataset, DATASETS[dataset].classes
        draw_source(dataset, source, scans=440, seed=seed, plants=[plant])
        records = read_records(dataset, source)
        prints = take_fingerprints([source / path for path in records["path"]])
        with threadpool_limits(1):
            asked = (prints, records, records[list(classes)].to_numpy(float), classes)
            probes = shortcuts.probe_shortcuts(*asked, records["patient"].to_numpy(object))
        raised = alarms({"shortcuts": probes})
        assert (("border", classes[0]) in raised) == (plant in ("marker=0.8", "marker=1.0"))
        if plant in ("marker=0.5", "null", "clean"):
            assert not raised


@pytest.mark.probes
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("dataset", STUDY)
def test_where_labels_have_nothing_to_do_with_the_scans_every_model_is_at_chance_and_nothing_fires(
    dataset, seed, tmp_path
):
    source = draw_source(dataset, tmp_path / "source", scans=440, seed=seed, plants=["null"])
    found = audit.audit_source(dataset, source)
    assert not alarms(found) and not found["suspected_labels"] and found["label_noise"]["rate"] is None
    classes = found["label_noise"]["classes"]
    of_textures = [entry["auroc"] for entry in classes.values()]
    of_probes = [entry["auroc"] for entry in found["shortcuts"]]
    # Of Mann and Whitney: the standard deviation of an AUROC of scores that know nothing.
    labels = read_records(dataset, source)[list(classes)]
    ones, scans = labels.sum(), len(labels)
    chance = np.sqrt((scans + 1) / (12 * ones * (scans - ones))).mean()
    assert np.mean(of_textures) == pytest.approx(0.5, abs=3 * chance) and max(of_textures + of_probes) < 0.65


@pytest.mark.probes
def test_a_pattern_of_the_patients_own_is_what_a_split_by_scan_would_have_scored(tmp_path):
    gains = {}
    for plant in ("leaky", "clean"):
        source = draw_source("pneumonia", tmp_path / plant, scans=440, plants=[plant])
        random = audit.audit_source("pneumonia", source)["leakage"]["random_split"]
        gains[plant] = random["auroc_by_scan"] - random["auroc_by_patient"]
    assert gains["leaky"] > 0.08 and abs(gains["clean"]) < 0.04


@pytest.mark.probes
@pytest.mark.parametrize("scanners", [2, 3])
def test_scanners_of_the_classes_raise_an_alarm_in_the_border(scanners, tmp_path):
    source = draw_source("covid", tmp_path / "source", scans=440, plants=[f"sources={scanners}"])
    assert ("border", "covid") in alarms(audit.audit_source("covid", source))


@pytest.mark.probes
def test_a_drain_predicts_pneumothorax_only_if_it_is_planted(tmp_path):
    """Hidden stratification: the score of the class is that of the scans with a drain."""
    source = draw_source("xray8", tmp_path / "source", scans=800, plants=["strata=0.7"])
    records = read_records("xray8", source)
    prints = take_fingerprints([source / path for path in records["path"]])
    drain = (read_truth(source).set_index("path").loc[records["path"], "drain"] == "1").to_numpy()
    features = shortcuts.probe_features(prints, records)["thumbnail"]
    known = records[["pneumothorax"]].to_numpy(bool)
    scores = shortcuts.unseen_scores(features, known, records["patient"].to_numpy())[:, 0]
    known = known[:, 0]
    aurocs = [roc_auc_score(known[part], scores[part]) for part in (~known | drain, ~known | ~drain)]
    assert aurocs[0] - aurocs[1] > 0.15


@pytest.mark.probes
@pytest.mark.parametrize(("dataset", "name"), [("covid", "covid"), ("pneumonia", "viral_pneumonia")])
def test_noise_of_one_class_is_found_in_that_class(dataset, name, tmp_path):
    source = draw_source(dataset, tmp_path / "source", scans=1000, seed=3, plants=[f"noise:{name}=0.2"])
    for each, entry in audit.audit_source(dataset, source)["label_noise"]["classes"].items():
        assert entry["rate"] == pytest.approx(0.2 if each == name else 0.0, abs=0.03), each


@pytest.mark.probes
@pytest.mark.parametrize("dataset", STUDY)
@pytest.mark.parametrize("rate", [0.0, 0.05, 0.15])
def test_planted_noise_is_estimated_within_three_points(dataset, rate, tmp_path):
    source = draw_source(dataset, tmp_path / "source", scans=1000, seed=3, plants=[f"noise={rate}"])
    found = audit.audit_source(dataset, source)
    assert found["label_noise"]["rate"] == pytest.approx(rate, abs=0.03)
    if rate == 0.15:
        records, truth = read_records(dataset, source), read_truth(source).set_index("path")
        wrong = truth["label"] != truth["shown"]
        path = dict(zip(records["scan"], records["path"], strict=True))
        assert np.mean([wrong[path[scan]] for scan in found["suspected_labels"][:50]]) >= 0.8


@pytest.mark.parametrize("kind", [*COPIES[1:], *HARDER_COPIES, "turned"])
def test_a_copy_is_found_in_real_scans_whatever_was_done_to_it(kind, real_scans):
    """Of 30 real scans at least 29 copies, and nothing else."""
    files = sorted((real_scans / "nih" / "images").glob("*.png"))[::9][:15]
    files += sorted((real_scans / "kermany").rglob("*.jpeg"))[::20][:15]
    scans = [decode_grey(file) for file in files]
    rng, prints = np.random.default_rng(0), Fingerprints.empty(2 * len(scans))
    for row, scan in enumerate(scans):
        prints.take(row, scan)
        prints.take(row + len(scans), turned(scan, 3) if kind == "turned" else changed(scan, kind, rng))
    names = [f"{row:02}" for row in range(len(prints))]
    pairs = duplicates.find_duplicates(prints, names, names)
    planted = {(f"{row:02}", f"{row + len(scans):02}") for row in range(len(scans))}
    found = set(zip(pairs["scan"], pairs["other"], strict=True))
    assert len(found & planted) >= 29 and not found - planted


def changed(scan: np.ndarray, kind: str, rng) -> np.ndarray:
    encoded = copied(cv2.imencode(".png", scan)[1].tobytes(), kind, ".png", rng)
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE)


def turned(scan: np.ndarray, degrees: float) -> np.ndarray:
    height, width = scan.shape
    return cv2.warpAffine(scan, cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1), (width, height))


def test_few_pairs_of_drawn_scans_are_laid_over_each_other_and_the_copies_are_among_them(tmp_path):
    """Drawn chests share their anatomy: of 240, 28,680 pairs, and 12 of them are copies."""
    source = draw_source("pneumonia", tmp_path / "source", scans=240, plants=["duplicates=12"])
    records = read_records("pneumonia", source)
    pictures = take_fingerprints([source / path for path in records["path"]]).pictures
    close = alignment.candidates(pictures)
    scan = records["scan"].tolist()
    found = {frozenset((scan[row], scan[other])) for row, other, _ in close}
    assert len(found) == len(close) <= len(pictures) // 2 + 12 + 5
    assert found >= planted_pairs(source, records)


@pytest.mark.parametrize("number", range(0, len(alignment.VIEWS), 4))
def test_a_view_and_its_scan_are_laid_over_each_other_exactly(number):
    """A scan drawn in a view is that view of it, whatever the crop, the turn and the mirror."""
    scan = cv2.GaussianBlur(np.random.default_rng(number).integers(0, 256, (128, 128), np.uint8), (0, 0), 3)
    scan = cv2.normalize(scan, None, 0, 255, cv2.NORM_MINMAX)
    view = alignment.VIEWS[number].copy()
    view[:, 2] = 2 * view[:, 2] + 0.5 - 0.5 * view[:, :2].sum(axis=1)  # at twice the size
    seen = cv2.warpAffine(scan, view, (128, 128), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    ((row, other, chosen),) = alignment.candidates(np.stack([scan, seen]))
    assert {row, other} == {0, 1}
    assert alignment.likeness(*np.stack([scan, seen])[[row, other]], chosen)[0] > 0.93
