"""RSNA pneumonia: rows of boxes, classes, headers, and the traps that the drawn twin has."""

import csv
import io
import json
import shutil
import zipfile

import numpy as np
import pandas as pd
import pydicom
import pytest
from published_lists import published_list

from lungkeras.datasets.ages import known_years
from lungkeras.datasets.boxes import read_boxes
from lungkeras.datasets.collections.rsna import CLASSES
from lungkeras.datasets.registry import DATASETS, read_records
from lungkeras.evaluation.unseen import read_mapping
from lungkeras.preparation.audit import audit_prepared
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.system.errors import SourceError

LABELS, DETAILS = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"


@pytest.fixture(scope="module")
def source(phantom_source):
    return phantom_source("rsna")


@pytest.fixture
def copy(source, tmp_path):
    return shutil.copytree(source, tmp_path / "copy")


def rows(file) -> list[dict[str, str]]:
    with file.open(encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def test_the_twin_has_the_published_layout_and_its_traps(source, phantom_records):
    labels, details = rows(source / LABELS), rows(source / DETAILS)
    assert list(labels[0]) == ["patientId", "x", "y", "width", "height", "Target"]
    assert set(row["class"] for row in details) == {"Normal", "No Lung Opacity / Not Normal", "Lung Opacity"}
    ids = [row["patientId"] for row in labels]
    assert len(ids) == len(details) > len(set(ids)) == 60, "rows repeat with the boxes"
    assert all((row["x"] == "") == (row["Target"] == "0") for row in labels)
    files = list((source / "stage_2_train_images").glob("*.dcm"))
    assert {file.stem for file in files} == set(ids)
    assert len(list((source / "stage_2_test_images").glob("*.dcm"))) == 6
    header = pydicom.dcmread(files[0], stop_before_pixels=True)
    assert header.file_meta.TransferSyntaxUID.name.startswith("JPEG Baseline") and header.BitsStored == 8
    assert not DATASETS["rsna"].patients and phantom_records("rsna")["patient"].is_unique


def test_each_scan_has_one_class_and_those_without_labels_are_counted(source, capsys):
    records = read_records("rsna", source)
    assert len(records) == 60 and (records[list(CLASSES)].sum(axis=1) == 1).all()
    assert ["left out: in folders that are not read (stage_2_test_images 6)", 6] in records.attrs["flow"]
    assert "rsna: 6 images left out" in capsys.readouterr().err
    classes = {row["patientId"]: row["class"] for row in rows(source / DETAILS)}
    assert {scan for scan, name in classes.items() if name == "Normal"} == set(records.loc[records.normal == 1, "scan"])


def test_age_sex_and_view_come_from_headers_and_impossible_ages_are_unknown(source, capsys):
    records = read_records("rsna", source)
    assert "3 ages of the headers are not possible, such as 15" in capsys.readouterr().err
    assert records["age"].isna().sum() == 3 and records["age"].dropna().between(0, 120).all()
    for row in records.head(8).itertuples():
        header = pydicom.dcmread(source / row.path, stop_before_pixels=True)
        assert (row.sex, row.view) == (header.PatientSex, header.ViewPosition)
        assert pd.isna(row.age) or row.age == int(header.get_item("PatientAge").value)


def test_boxes_of_all_rows_are_shares_of_the_scan(source, phantom_records):
    boxes = read_boxes("rsna", source, phantom_records("rsna"))
    listed = [row for row in rows(source / LABELS) if row["Target"] == "1"]
    assert len(boxes) == len(listed) and set(boxes["class"]) == {"lung_opacity"}
    first = boxes[boxes["scan"] == listed[0]["patientId"]].iloc[0]
    assert first["left"] * 256 == pytest.approx(float(listed[0]["x"]))
    assert (first["right"] - first["left"]) * 256 == pytest.approx(float(listed[0]["width"]))


def test_published_boxes_are_in_pixels_of_1024(copy):
    (copy / "PHANTOM.txt").unlink()
    records = read_records("rsna", copy)
    listed = next(row for row in rows(copy / LABELS) if row["Target"] == "1")
    boxes = read_boxes("rsna", copy, records).set_index("scan")
    assert np.atleast_1d(boxes.loc[listed["patientId"], "left"])[0] * 1024 == pytest.approx(float(listed["x"]))


def test_without_the_list_of_classes_it_is_unknown_who_is_normal(copy, capsys):
    (copy / DETAILS).unlink()
    records = read_records("rsna", copy)
    assert f"{DETAILS} is missing" in capsys.readouterr().err
    sick = records["lung_opacity"] == 1
    assert records["lung_opacity"].dtype == "int64" and 0 < sick.sum() < 60
    assert (records.loc[sick, ["not_normal", "normal"]] == 0).all(axis=None)
    assert records.loc[~sick, ["not_normal", "normal"]].eq(-1).all(axis=None)


def test_without_the_list_of_boxes_the_classes_say_all_and_no_box_is_known(copy, phantom_records):
    (copy / LABELS).unlink()
    records = read_records("rsna", copy)
    expected = phantom_records("rsna").set_index("scan").loc[records["scan"], list(CLASSES)]
    assert records[list(CLASSES)].to_numpy().tolist() == expected.to_numpy().tolist()
    assert read_boxes("rsna", copy, records).empty


def test_a_partial_download_says_what_is_missing(copy):
    shutil.rmtree(copy / "stage_2_train_images")
    with pytest.raises(SourceError, match=rf"{LABELS} and {DETAILS} list 60 scans, such as .*, and .* holds 6 images"):
        read_records("rsna", copy)
    (copy / LABELS).unlink(), (copy / DETAILS).unlink()
    (copy / "stage_2_train_images").mkdir()
    with pytest.raises(SourceError, match=rf"rsna: {LABELS} and {DETAILS} are missing beside .*stage_2_train_images"):
        read_records("rsna", copy)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (LABELS, lambda text: text.replace("Target", "Label"), r"no column target in 'patientId,x,y"),
        (LABELS, lambda text: text.replace(",0\n", ",2\n", 1), r"expected a Target of 0 or 1, found 2 for"),
        (LABELS, lambda text: text.replace(",0\n", ",1\n", 1), r"contradict each other on 1 scans"),
        (
            DETAILS,
            lambda text: text.replace("Normal\n", "Healthy\n", 1),
            r"expected the classes of RSNA, found .*Healthy",
        ),
        (DETAILS, lambda text: text + text.splitlines()[1].split(",")[0] + ",Normal\n", r"found two of"),
    ],
)
def test_a_list_that_is_not_as_published_is_one_sentence(file, change, said, copy):
    (copy / file).write_text(change((copy / file).read_text()))
    with pytest.raises(SourceError, match=said):
        read_records("rsna", copy)


def test_the_published_lists_are_read_to_their_counts(tmp_path):
    packed = zipfile.ZipFile(io.BytesIO(published_list("kaggle_stage_2_train_labels.csv.zip")))
    (tmp_path / LABELS).write_bytes(packed.read(LABELS))
    assert len(rows(tmp_path / LABELS)) == 30_227
    records = read_records("rsna", tmp_path, require_files=False)
    assert len(records) == 26_684 and records["lung_opacity"].sum() == 6_012
    boxes = read_boxes("rsna", tmp_path, records)
    assert len(boxes) == sum(row["Target"] == "1" for row in rows(tmp_path / LABELS))
    assert boxes["scan"].nunique() == 6_012


def test_of_the_published_headers_five_ages_are_impossible(capsys):
    headers = pd.read_csv(
        io.BytesIO(published_list("kaggle_stage_2_train_images_dicom_headers.csv.gz")),
        dtype="str",
        keep_default_na=False,
    )
    assert headers["ViewPosition"].value_counts().to_dict() == {"PA": 14_511, "AP": 12_173}
    assert headers["PatientSex"].value_counts().to_dict() == {"M": 15_166, "F": 11_518}
    ages = known_years(headers["PatientAge"], "rsna", "the headers")
    assert ages.isna().sum() == 5 and "rsna: 5 ages of the headers are not possible" in capsys.readouterr().err


def test_the_twin_is_prepared(source, tmp_path):
    summary = prepare_dataset("rsna", source, tmp_path / "prepared", size=32)
    assert sum(summary["scans"].values()) == 60 and not summary["quarantined"] and summary["votes"] is None
    assert len(pd.read_parquet(tmp_path / "prepared" / "boxes.parquet")) > 10


def test_patients_are_those_of_the_nih_where_the_list_of_mappings_is_there(copy, tmp_path, capsys):
    scans = sorted({row["patientId"] for row in rows(copy / LABELS)})
    listed = [
        {"subset_img_id": scan, "img_id": f"{place // 3:08}_{place % 3:03}.png", "orig_labels": ["Mass"]}
        for place, scan in enumerate(scans[:-2])
    ]
    mapping = copy / "pneumonia-challenge-dataset-mappings_2018.json"
    mapping.write_text(json.dumps(listed))
    records = read_records("rsna", copy).set_index("scan")
    assert "does not name 2 scans: each counts as a patient of its own" in capsys.readouterr().err
    assert records.loc[scans[:4], "patient"].tolist() == ["00000000"] * 3 + ["00000001"]
    assert not any("json" in step for step, _ in records.attrs["flow"])
    assert records.loc[scans[-2:], "patient"].tolist() == scans[-2:]
    prepare_dataset("rsna", copy, tmp_path / "prepared", size=32)
    prepared = pd.read_parquet(tmp_path / "prepared" / "records.parquet")
    assert not prepared.drop_duplicates(["patient", "split"])["patient"].duplicated().any()
    assert audit_prepared(tmp_path / "prepared")["leakage"]["patients_known"]
    pairs = read_mapping(mapping)
    assert list(pairs) == ["subset_img_id", "img_id"] and pairs.iloc[3].tolist() == [scans[3], "00000001_000.png"]
    for wrong in ("[1]", '[{"subset_img_id": "a", "img_id": "b.png"}]', "{", '[{"img_id": "00000001_000.png"}]'):
        mapping.write_text(wrong)
        with pytest.raises(SourceError, match=r"mappings_2018\.json: expected a list of entries with subset_img_id"):
            read_records("rsna", copy)
