"""CheXpert: labels of studies with their four values, laterals, the folder of many names, and the published counts."""

import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from layouts import write_scans
from published_lists import published_list

from lungkeras.datasets.boxes import read_boxes
from lungkeras.datasets.chexpert_labels import CLASS_OF, CLASSES, LABELS, is_ap, plan_studies
from lungkeras.datasets.collections.chexpert import official_test_scans, read_entries
from lungkeras.datasets.phantoms.phantom import draw_source
from lungkeras.datasets.registry import read_records
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.system.errors import SourceError

RELEASE = "CheXpert-v1.0-small"
# What shared label tables count in train.csv: blank, 1, 0, -1.
PUBLISHED = {
    "No Finding": (201_033, 22_381, 0, 0),
    "Enlarged Cardiomediastinum": (178_575, 10_798, 21_638, 12_403),
    "Cardiomegaly": (177_211, 27_000, 11_116, 8_087),
    "Lung Opacity": (105_636, 105_581, 6_599, 5_598),
    "Lung Lesion": (211_470, 9_186, 1_270, 1_488),
    "Edema": (137_458, 52_246, 20_726, 12_984),
    "Consolidation": (152_792, 14_783, 28_097, 27_742),
    "Pneumonia": (195_806, 6_039, 2_799, 18_770),
    "Atelectasis": (154_971, 33_376, 1_328, 33_739),
    "Pneumothorax": (144_480, 19_448, 56_341, 3_145),
    "Pleural Effusion": (90_203, 86_187, 35_396, 11_628),
    "Pleural Other": (216_922, 3_523, 316, 2_653),
    "Fracture": (211_220, 9_040, 2_512, 642),
    "Support Devices": (100_197, 116_001, 6_137, 1_079),
}


@pytest.fixture
def source(phantom_source, tmp_path):
    return shutil.copytree(phantom_source("chexpert"), tmp_path / "source")


def flow(records: pd.DataFrame) -> dict[str, int]:
    return {step.removeprefix("left out: "): scans for step, scans in records.attrs["flow"]}


def list_of(source) -> pd.DataFrame:
    lists = [
        pd.read_csv(source / RELEASE / name, dtype=str, keep_default_na=False) for name in ("train.csv", "valid.csv")
    ]
    return pd.concat(lists)


def test_a_drawn_release_has_the_published_heading_and_each_of_its_rows_is_a_file(phantom_source):
    source = phantom_source("chexpert")
    heading = (source / RELEASE / "train.csv").read_text().partition("\n")[0]
    assert heading == "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding," + ",".join(LABELS[:-1])
    assert all((source / path).is_file() for path in list_of(source)["Path"])


def test_labels_are_1_0_uncertain_or_blank_and_all_views_of_a_study_share_them(phantom_source, phantom_records):
    records, listed = phantom_records("chexpert"), list_of(phantom_source("chexpert"))
    values = Counter(records[list(CLASSES)].fillna(9).to_numpy().ravel().tolist())
    assert set(values) == {1, 0, -1, 9} and min(values.values()) > 10
    named = listed.set_index(listed["Path"].str.split("/", n=2).str[2])
    for label, name in CLASS_OF.items():
        assert named.loc[records["scan"], label].replace("", "9.0").astype(float).tolist() == (
            records[name].fillna(9).tolist()
        )
    labels = listed.assign(study=listed["Path"].str.rpartition("/")[0]).groupby("study")[list(LABELS)]
    assert (labels.size() > 1).any() and (labels.nunique() < 2).all(axis=None)


def test_laterals_are_left_out_and_counted(phantom_source, phantom_records):
    records, listed = phantom_records("chexpert"), list_of(phantom_source("chexpert"))
    lateral = int((listed["Frontal/Lateral"] == "Lateral").sum())
    assert lateral > 5 and flow(records)["lateral views"] == lateral
    assert flow(records)["found"] - lateral == len(records) == 60
    assert records["scan"].str.endswith("_frontal.jpg").all() and set(records["view"]) == {"AP", "PA"}


def test_a_study_without_a_finding_may_have_a_device_and_states_nothing_else(phantom_records):
    records = phantom_records("chexpert").query("no_finding == 1")
    assert (records["support_devices"] == 1).any()
    others = records[[name for name in CLASSES if name not in ("no_finding", "support_devices")]]
    assert not (others.isin([1, -1])).any(axis=None)


def test_keys_and_attributes(phantom_records):
    records = phantom_records("chexpert")
    assert (records["study"] == records["scan"].str.rpartition("/")[0]).all()
    assert (records["patient"] == records["scan"].str.partition("/")[0]).all()
    assert records["patient"].nunique() < records["study"].nunique() < len(records)
    assert set(records["sex"]) == {"F", "M"} and records["age"].between(18, 90).all()


def test_devices_are_more_frequent_in_scans_at_the_bed():
    studies = plan_studies(4000, np.random.default_rng(0), {1: 0.5, 2: 0.5})
    device = {ap: [] for ap in (True, False)}
    for study in studies:
        device[is_ap(study.patient, study.number)].append("support_devices" in study.findings)
    assert sum(study.frontal for study in studies) == 4000
    assert len(device[True]) == pytest.approx(7 * len(device[False]), rel=0.1)
    assert np.mean(device[True]) > 2 * np.mean(device[False])


def test_the_validation_scans_are_labelled_by_radiologists_and_are_the_published_test(source):
    records = read_records("chexpert", source)
    valid = records[records["path"].str.contains("/valid/")]
    assert 0 < len(valid) < 30 and set(valid["reader"]) == {"three radiologists"}
    assert valid[list(CLASSES)].isin([0, 1]).all(axis=None)
    assert set(records.drop(valid.index)["reader"]) == {"program"}
    official = official_test_scans(source)
    assert set(official) & set(records["scan"]) == set(valid["scan"])
    (source / RELEASE / "valid.csv").unlink()
    with pytest.raises(SourceError, match=r"`split: official` needs valid\.csv beside train\.csv"):
        official_test_scans(source)


@pytest.mark.parametrize(
    "moved",
    [
        {"valid": "val"},  # as in CheXlocalize
        {"train": "batch 2 (train 1)", "valid": "batch 1 (validate & csv)"},  # as the full size is delivered
        {"train/patient00002": "patient00002"},
    ],
)
def test_a_scan_is_found_whatever_the_folder_of_its_patient_is_called(source, moved):
    before = read_records("chexpert", source)
    for old, new in moved.items():
        (source / RELEASE / old).rename(source / RELEASE / new)
    after = read_records("chexpert", source)
    assert after.drop(columns="path").equals(before.drop(columns="path"))
    assert not after["path"].equals(before["path"]) and all((source / path).is_file() for path in after["path"])


def test_the_lists_of_chexlocalize_are_read_beside(source):
    write_scans(source / RELEASE, "test/patient64741/study1/view1_frontal.jpg")
    row = ",".join("0.0" for _ in LABELS)
    heading = ",".join(("Path", *LABELS)).replace("Lung Opacity", "Lung Opacity ")
    (source / RELEASE / "test_labels.csv").write_text(f"{heading}\ntest/patient64741/study1/view1_frontal.jpg,{row}\n")
    valid = pd.read_csv(source / RELEASE / "valid.csv").drop(columns=["Sex", "Age", "Frontal/Lateral", "AP/PA"])
    valid.to_csv(source / RELEASE / "val_labels.csv", index=False)  # the same scans as in valid.csv
    records = read_records("chexpert", source)
    assert len(records) == 61 and official_test_scans(source) == ["patient64741/study1/view1_frontal.jpg"]
    assert len(read_records("chexpert", source, require_files=False)) == 61
    own = records.set_index("scan").loc["patient64741/study1/view1_frontal.jpg"]
    assert own["reader"] == "five radiologists" and pd.isna(own["view"]) and own["edema"] == 0


def test_a_download_without_its_list_says_which_one_is_missing(source):
    (source / RELEASE / "train.csv").unlink()
    with pytest.raises(SourceError, match=r"^chexpert: expected train\.csv, the list .* found no such file: fetch it"):
        read_records("chexpert", source)
    (source / RELEASE / "valid.csv").unlink()
    with pytest.raises(SourceError, match=r"^chexpert: expected train\.csv"):
        read_records("chexpert", source)


def test_what_needs_a_class_of_another_name_can_t_be_planted(tmp_path):
    with pytest.raises(SourceError, match="multilabel: chexpert has no class atelectasis and effusion"):
        draw_source("chexpert", tmp_path / "source", scans=20, plants=["multilabel"])


def test_another_collection_s_train_csv_is_no_release_of_chexpert(tmp_path):
    (tmp_path / "train.csv").write_text("image_id,class_name\na,Edema\n")
    with pytest.raises(SourceError, match=r"^chexpert: no scan in .*Expected train\.csv with the scans"):
        read_records("chexpert", tmp_path)


def test_part_of_the_scans_is_a_source_and_what_is_absent_is_counted(source):
    whole = read_records("chexpert", source)
    for path in whole["path"][:7]:
        (source / path).unlink()
    write_scans(source / RELEASE, "train/patient00009/study9/view1_frontal.jpg")
    records = read_records("chexpert", source)
    assert records.attrs["absent"] == 7 and len(records) == 53
    assert flow(records)["no row of their own in the table (such as CheXpert-v1.0-small/train/patient00009/study9/"
                         "view1_frontal.jpg)"] == 1  # fmt: skip
    assert len(read_records("chexpert", source, require_files=False)) == 60
    shutil.rmtree(source / RELEASE / "train")
    shutil.rmtree(source / RELEASE / "valid")
    with pytest.raises(SourceError, match=r"train\.csv.* list 7\d scans, such as patient.*holds no image"):
        read_records("chexpert", source)


def test_a_scan_that_stands_twice_in_a_list_is_refused(source):
    file = source / RELEASE / "train.csv"
    file.write_text(file.read_text() + file.read_text().splitlines()[1] + "\n")
    with pytest.raises(SourceError, match="expected every scan once, found 1 listed more often, such as patient00001"):
        read_records("chexpert", source)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Edema", "Oedema", "no column edema in"),
        (",1.0", ",yes", r"found 'yes' as \w+ in row 2, which is not a number"),
        (",1.0", ",2.0", "expected labels 1, 0, -1 .* found '2.0' of patient"),
        ("/study1/view1", "/view1", r"found the path 'CheXpert-v1\.0-small/train/patient00001/view1_frontal\.jpg'"),
    ],
)
def test_a_list_that_is_not_as_published_is_named_with_what_is_wrong(source, old, new, words):
    file = source / RELEASE / "train.csv"
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(SourceError, match=f"^chexpert: .*{words}"):
        read_records("chexpert", source)


def test_the_published_table_is_read_to_its_counts(tmp_path):
    file = tmp_path / RELEASE / "train.csv"
    file.parent.mkdir()
    file.write_bytes(published_list("chexpert_train.csv.gz"))
    entries = read_entries([file])
    assert len(entries) == 223_414
    assert (entries["study"].nunique(), entries["patient"].nunique()) == (187_641, 64_540)
    assert entries["sex"].value_counts(dropna=False).tolist() == [132_636, 90_777, 1]
    views = entries["view"].value_counts(dropna=False).to_dict()
    assert [views[name] for name in ("AP", "PA", "LL", "RL")] == [161_590, 29_420, 16, 1]
    assert entries["age"].between(0, 90).all() and (entries["age"] == 0).sum() == 3
    for label, counts in PUBLISHED.items():
        values = entries[CLASS_OF[label]]
        assert (values.isna().sum(), *((values == value).sum() for value in (1, 0, -1))) == counts, label
    assert ((entries["no_finding"] == 1) & (entries["support_devices"] == 1)).sum() == 8_808
    records = read_records("chexpert", tmp_path, require_files=False)
    assert len(records) == 191_027 and flow(records)["lateral views"] == 32_387
    first = records.iloc[0]
    assert first["path"] == f"{RELEASE}/train/patient00001/study1/view1_frontal.jpg"


def test_the_twin_is_prepared_by_the_published_split_and_its_uncertain_labels_are_counted(source, tmp_path):
    summary = prepare_dataset("chexpert", source, tmp_path / "prepared", size=32, split="official")
    assert sum(summary["scans"].values()) == 60 and not summary["quarantined"]
    records = pd.read_parquet(tmp_path / "prepared" / "records.parquet")
    valid = set(official_test_scans(source)) & set(records["scan"])
    assert set(records.loc[records["split"] == "test", "scan"]) == valid
    assert len(records.drop_duplicates(["study", "split"])) == records["study"].nunique()
    assert records[list(CLASSES)].isin([-1]).any(axis=None) and records[list(CLASSES)].isna().any(axis=None)


def test_boxes_are_those_of_findings_that_are_stated(phantom_source, phantom_records):
    records = phantom_records("chexpert")
    boxes = read_boxes("chexpert", phantom_source("chexpert"), records)
    assert {"support_devices", "fracture", "pleural_other", "edema"} <= set(boxes["class"])
    stated = records.set_index("scan")
    assert all(stated.loc[scan, name] == 1 for scan, name in boxes[["scan", "class"]].to_numpy())
