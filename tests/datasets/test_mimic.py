"""MIMIC-CXR-JPG: three lists that belong together, labels of studies, views that are blank, and lists that lack."""

import gzip
import shutil

import pandas as pd
import pytest

from lungkeras.datasets.chexpert_labels import CLASS_OF, CLASSES, LABELS
from lungkeras.datasets.collections.mimic import official_test_scans
from lungkeras.datasets.registry import read_records
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.system.errors import SourceError

METADATA, LABELLED, SPLIT = (f"mimic-cxr-2.0.0-{name}.csv.gz" for name in ("metadata", "chexpert", "split"))


@pytest.fixture
def source(phantom_source, tmp_path):
    return shutil.copytree(phantom_source("mimic"), tmp_path / "source")


def table(source, name) -> pd.DataFrame:
    return pd.read_csv(source / name, dtype=str, keep_default_na=False)


def rewrite(source, name, change) -> None:
    text = change(gzip.decompress((source / name).read_bytes()).decode())
    (source / name).write_bytes(gzip.compress(text.encode()))


def flow(records: pd.DataFrame) -> dict[str, int]:
    return {step.removeprefix("left out: "): scans for step, scans in records.attrs["flow"]}


def test_drawn_lists_have_the_published_headings_and_paths(phantom_source):
    source = phantom_source("mimic")
    assert list(table(source, METADATA)) == [
        *("dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows", "Columns"),
        *("StudyDate", "StudyTime", "ProcedureCodeSequence_CodeMeaning", "ViewCodeSequence_CodeMeaning"),
        "PatientOrientationCodeSequence_CodeMeaning",
    ]
    assert list(table(source, LABELLED)) == ["subject_id", "study_id", *sorted(LABELS)]
    assert list(table(source, SPLIT)) == ["dicom_id", "study_id", "subject_id", "split"]
    for row in table(source, METADATA).itertuples():
        folder = f"files/p{row.subject_id[:2]}/p{row.subject_id}/s{row.study_id}"
        assert (source / folder / f"{row.dicom_id}.jpg").is_file()


def test_each_scan_has_the_labels_of_its_study(phantom_source, phantom_records):
    records, labels = phantom_records("mimic"), table(phantom_source("mimic"), LABELLED).set_index("study_id")
    assert len(records) == 60 and (records.groupby("study").size() > 1).any()
    for label, name in CLASS_OF.items():
        said = pd.to_numeric(labels.loc[records["study"], label]).fillna(9)
        assert records[name].fillna(9).tolist() == said.tolist()
    assert {-1, 0, 1} <= set(records[list(CLASSES)].to_numpy().ravel())
    assert records[list(CLASSES)].isna().all(axis=1).sum() == 1, "one study states nothing, and is kept as it is"


def test_other_views_and_studies_without_a_row_are_left_out_and_counted(phantom_source, phantom_records):
    records, scans = phantom_records("mimic"), table(phantom_source("mimic"), METADATA)
    lateral = int((scans["ViewPosition"] == "LATERAL").sum())
    assert lateral > 3 and (scans["ViewPosition"] == "").sum() == 1
    assert flow(records) == {
        "found": len(scans),
        f"view other than AP, PA (LATERAL {lateral}, not stated 1)": lateral + 1,
        "no row of labels for the study": 1,
        "file absent": 0,
        "kept": 60,
    }
    assert set(records["view"]) == {"AP", "PA"}


def test_ids_are_text_and_keep_their_digits(phantom_records):
    records = phantom_records("mimic")
    assert records["patient"].str.fullmatch(r"1\d{7}").all() and records["study"].str.fullmatch(r"5\d{7}").all()
    assert records["scan"].str.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}\.jpg").all()
    assert "age" not in records and "sex" not in records


def test_age_and_sex_come_from_the_patients_of_mimic_iv(source):
    scans = table(source, METADATA)
    patients = scans.drop_duplicates("subject_id")[["subject_id"]]
    patients = patients.assign(gender="F", anchor_age=40, anchor_year=scans["StudyDate"].str[:4].astype(int).min())
    patients[1:].to_csv(source / "patients.csv.gz", index=False)  # of one patient it knows nothing
    records = read_records("mimic", source)
    years = records.merge(scans.assign(scan=scans["dicom_id"] + ".jpg"), on="scan")["StudyDate"].str[:4].astype(int)
    known = records["patient"].isin(patients["subject_id"][1:])
    assert not known.all() and records.loc[~known, ["age", "sex"]].isna().all(axis=None)
    assert records["age"][known].tolist() == (40 + years - years.min())[known].tolist()
    assert set(records["sex"][known]) == {"F"}


def test_labels_by_hand_replace_those_of_the_program_and_reader_says_so(source):
    program = read_records("mimic", source).set_index("scan")
    assert "reader" not in program
    studies = list(dict.fromkeys(program["study"]))
    names = {**CLASS_OF, "Lung Opacity": None, "Airspace Opacity": "lung_opacity"}
    hand = pd.DataFrame({"study_id": [*studies[:9], "59999999"]})  # one study that is not in the collection
    for place, (label, name) in enumerate(names.items()):
        if name:
            hand[label] = [("1.0", "0.0", "-1.0", "")[(row + place) % 4] for row in range(len(hand))]
    hand.to_csv(source / "mimic-cxr-2.1.0-test-set-labeled.csv", index=False)
    records = read_records("mimic", source).set_index("scan")
    by_hand = records["study"].isin(studies[:9])
    assert records["reader"].tolist() == by_hand.map({True: "radiologist", False: "program"}).tolist()
    own = pd.to_numeric(hand.set_index("study_id")["Airspace Opacity"]).loc[records.loc[by_hand, "study"]]
    assert records.loc[by_hand, "lung_opacity"].fillna(9).tolist() == own.fillna(9).tolist()
    pd.testing.assert_frame_equal(records.loc[~by_hand, list(CLASSES)], program.loc[~by_hand, list(CLASSES)])
    assert not any("csv" in step for step, _ in records.attrs["flow"])
    hand.drop(columns="Airspace Opacity").to_csv(source / "mimic-cxr-2.1.0-test-set-labeled.csv", index=False)
    with pytest.raises(SourceError, match=r"test-set-labeled\.csv is not as published.*no column lung_opacity"):
        read_records("mimic", source)


def test_the_published_test_split_is_that_of_its_list(source):
    split = table(source, SPLIT)
    assert set(split["split"]) == {"train", "validate", "test"}
    assert set(official_test_scans(source)) == set(split.loc[split["split"] == "test", "dicom_id"] + ".jpg")
    (source / SPLIT).unlink()
    assert len(read_records("mimic", source)) == 60, "the split is needed for `split: official` alone"
    with pytest.raises(SourceError, match=r"expected mimic-cxr-2\.0\.0-split\.csv\.gz, the published split, in"):
        official_test_scans(source)


@pytest.mark.parametrize("name", [METADATA, LABELLED])
def test_a_download_without_a_list_says_which_one_is_missing(source, name):
    (source / name).unlink()
    with pytest.raises(SourceError, match=rf"^mimic: expected {name}, the .* found no such file: fetch it"):
        read_records("mimic", source)


def test_scans_without_any_list_are_recognised(source):
    for name in (METADATA, LABELLED, SPLIT):
        (source / name).unlink()
    with pytest.raises(SourceError, match=f"^mimic: expected {METADATA}"):
        read_records("mimic", source)


def test_unpacked_lists_a_folder_above_and_scans_in_one_folder_are_the_same(source):
    before = read_records("mimic", source)
    for name in (METADATA, LABELLED, SPLIT):
        (source / name.removesuffix(".gz")).write_bytes(gzip.decompress((source / name).read_bytes()))
        (source / name).unlink()
    assert read_records("mimic", source).equals(before)
    above = read_records("mimic", source.parent)
    assert above.drop(columns="path").equals(before.drop(columns="path"))
    assert above["path"].tolist() == ("source/" + before["path"]).tolist()
    flat = source / "flat"
    flat.mkdir()
    for path in before["path"]:
        (source / path).rename(flat / path.rpartition("/")[2].replace(".jpg", ".png"))  # as others convert them
    assert read_records("mimic", source).drop(columns="path").equals(before.drop(columns="path"))


def test_part_of_the_scans_is_a_source(source):
    whole = read_records("mimic", source)
    for path in whole["path"][:9]:
        (source / path).unlink()
    records = read_records("mimic", source)
    assert len(records) == 51 and records.attrs["absent"] == 9
    assert read_records("mimic", source, require_files=False).equals(whole)


def test_a_study_with_two_rows_of_labels_is_refused(source):
    rewrite(source, LABELLED, lambda text: text + text.splitlines()[1] + "\n")
    with pytest.raises(
        SourceError, match=r"expected one row per study in .*chexpert\.csv\.gz, found 1 more, such as of 5"
    ):
        read_records("mimic", source)


def test_a_damaged_archive_of_a_list_is_reported(source):
    packed = (source / LABELLED).read_bytes()
    (source / LABELLED).write_bytes(packed[: len(packed) // 2])
    with pytest.raises(SourceError, match=r"chexpert\.csv\.gz is not as published.* found a damaged archive"):
        read_records("mimic", source)


def test_the_twin_is_prepared_by_the_published_split(source, tmp_path):
    summary = prepare_dataset("mimic", source, tmp_path / "prepared", size=32, split="official")
    assert sum(summary["scans"].values()) == 60 and summary["split"] == "official" and not summary["quarantined"]
    records = pd.read_parquet(tmp_path / "prepared" / "records.parquet")
    assert set(records.loc[records["split"] == "test", "scan"]) == set(official_test_scans(source)) & set(
        records["scan"]
    )
    assert len(records.drop_duplicates(["patient", "split"])) == records["patient"].nunique()
