"""PadChest: labels compared as a whole, without the blanks before them, what states nothing, and 16-bit scans."""

import ast
import shutil
from collections import Counter

import cv2
import numpy as np
import pandas as pd
import pytest
from published_lists import published_list

from lungkeras.datasets.collections.padchest import CLASSES, LABELS, LIST, PUBLISHED, encode, read_entries
from lungkeras.datasets.phantoms.phantom import draw_source
from lungkeras.datasets.phantoms.truth import read_truth
from lungkeras.datasets.plans import Scan
from lungkeras.datasets.registry import read_records
from lungkeras.datasets.scans.decoding import decode_grey
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.system.errors import SourceError


@pytest.fixture
def source(phantom_source, tmp_path):
    return shutil.copytree(phantom_source("padchest"), tmp_path / "source")


def rows_of(source) -> pd.DataFrame:
    return pd.read_csv(source / LIST, dtype=str, keep_default_na=False)


def write(source, rows) -> None:
    rows.to_csv(source / LIST, index=False)


def flow(records: pd.DataFrame) -> dict[str, int]:
    return {step.removeprefix("left out: "): scans for step, scans in records.attrs["flow"]}


def stated(cell: str) -> set[str]:
    """The labels of a cell, by Python's own parser."""
    return {label.strip() for label in ast.literal_eval(cell or "[]")}


def test_a_drawn_list_has_the_published_columns_and_its_traps(phantom_source):
    rows = rows_of(phantom_source("padchest"))
    assert list(rows) == ["Unnamed: 0", *PUBLISHED[1:]] and len(PUBLISHED) == 36
    labels = [label for cell in rows["Labels"] for label in ast.literal_eval(cell or "[]")]
    assert any(label.startswith(" ") for label in labels) and "atypical pneumonia" in labels
    assert (rows["Labels"] == "").sum() == 1 and (rows["Pediatric"] == "PED").sum() == 1
    assert {"EXCLUDE", "L", "COSTAL", "AP_horizontal"} < set(rows["Projection"])
    assert set(rows["MethodLabel"]) == {"Physician", "RNN_model"} and (rows["PatientBirth"] == "").sum() == 1
    lying = rows["Projection"].isin(["AP_horizontal"])
    assert set(rows.loc[lying, "Manufacturer_DICOM"]) == {"PhilipsMedicalSystems"}
    folder = phantom_source("padchest")
    assert all((folder / row.ImageDir / row.ImageID).is_file() for row in rows.itertuples())


def test_a_class_is_its_labels_as_a_whole_without_the_blanks_before_them(phantom_source, phantom_records):
    records, rows = phantom_records("padchest"), rows_of(phantom_source("padchest")).set_index("ImageID")
    assert len(records) == 60 and (records[list(CLASSES)].dtypes == "int64").all()
    for row in records.itertuples():
        said = stated(rows.loc[row.scan, "Labels"])
        assert [getattr(row, name) for name in CLASSES] == [int(bool(said & {*LABELS[name]})) for name in CLASSES]
    atypical = [scan for scan in records["scan"] if "atypical pneumonia" in stated(rows.loc[scan, "Labels"])]
    assert atypical and not records.set_index("scan").loc[atypical, "pneumonia"].any()


def test_what_states_nothing_is_excluded_or_is_no_frontal_view_is_left_out_and_counted(phantom_records):
    assert flow(phantom_records("padchest")) == {
        "found": 67,
        "view other than PA, AP, AP_horizontal (COSTAL 1, EXCLUDE 1, L 1)": 3,
        "excluded by the authors (label exclude)": 1,
        "no label": 1,
        "no finding stated (unchanged, or an empty label)": 2,
        "file absent": 0,
        "kept": 60,
    }
    assert set(phantom_records("padchest")["view"]) == {"PA", "AP", "AP lying"}


def test_keys_are_text_of_many_digits_and_a_scan_has_scanner_reader_age_and_sex(phantom_source, phantom_records):
    records, rows = phantom_records("padchest"), rows_of(phantom_source("padchest")).set_index("ImageID")
    for name in ("patient", "study"):
        assert records[name].str.fullmatch(r"\d{38}").all()
        assert 1 < records[name].nunique() < len(records)
    listed = rows.loc[records["scan"]]
    assert records["scanner"].tolist() == listed["Manufacturer_DICOM"].tolist()
    assert records["reader"].tolist() == listed["MethodLabel"].tolist()
    years = pd.to_numeric(listed["StudyDate_DICOM"].str[:4]) - pd.to_numeric(listed["PatientBirth"])
    assert records["age"].isna().sum() == 1 and (listed["PatientSex_DICOM"] == "O").sum() == 1
    assert records["age"].dropna().tolist() == years.dropna().astype(int).tolist()
    assert records["sex"].isna().sum() == 1 and set(records["sex"].dropna()) <= {"F", "M"}
    assert records["age"].min() < 10, "the child"


def test_scans_are_of_16_bits_and_each_scanner_has_its_own_grey_curve(phantom_source, phantom_records):
    source, records = phantom_source("padchest"), phantom_records("padchest")
    for path in records["path"][:3]:
        stored = cv2.imread(str(source / path), cv2.IMREAD_UNCHANGED)
        assert stored.dtype == np.uint16 and stored.ndim == 2 and stored.max() > 1 << 15
        assert decode_grey(source / path).dtype == np.uint8
    ramp, patients = np.tile(np.arange(256, dtype=np.uint8), (4, 1)), {0: 1, 1: 2}
    curves = {}
    for scanner, patient in patients.items():
        written = np.frombuffer(encode(Scan("a.png", (), patient), ramp, None), np.uint8)
        curves[scanner] = cv2.imdecode(written, cv2.IMREAD_UNCHANGED)[0].astype(int)
    assert all((np.diff(curve) >= 0).all() and (curve[0], curve[-1]) == (0, 65535) for curve in curves.values())
    assert np.abs(curves[0] - curves[1]).max() > 8000
    assert len(set(phantom_records("padchest")["scanner"])) == 2


def test_an_exact_copy_is_its_original_s_file_whatever_the_scanner(tmp_path):
    source = draw_source("padchest", tmp_path / "source", scans=90, plants=["duplicates:exact=6"])
    copies = read_truth(source).query("copy == 'exact'")
    assert len(copies) == 6
    for copy, original in copies[["path", "copy_of"]].to_numpy():
        assert (source / copy).read_bytes() == (source / original).read_bytes()
    records = read_records("padchest", source).set_index("path")
    scanners = records.loc[copies["path"], "scanner"].to_numpy(), records.loc[copies["copy_of"], "scanner"].to_numpy()
    assert (scanners[0] != scanners[1]).any(), "the test is of copies on another scanner, too"


def test_one_flat_folder_and_a_gzipped_list_are_the_same(source):
    before = read_records("padchest", source)
    for path in before["path"]:
        (source / path).rename(source / path.rpartition("/")[2])
    flat = read_records("padchest", source)
    assert flat.drop(columns="path").equals(before.drop(columns="path"))
    rows_of(source).to_csv(source / f"{LIST}.gz", index=False)
    (source / LIST).unlink()
    assert read_records("padchest", source).equals(flat)


def test_part_of_the_scans_is_a_source(source):
    whole = read_records("padchest", source)
    for file in (source / "0").iterdir():
        file.with_suffix(".json").write_text("{}")  # about a scan, and none
        file.unlink()
    records = read_records("padchest", source)
    assert len(records) + records.attrs["absent"] == 60 and records.attrs["absent"] > 5
    assert read_records("padchest", source, require_files=False).equals(whole)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("Labels", "pneumonia", r"found 'pneumonia' in its column Labels, expected a list such as"),
        ("ImageID", "", "1 rows whose imageid is empty"),
    ],
)
def test_a_cell_that_is_not_as_published_is_named(source, column, value, words):
    rows = rows_of(source)
    rows.loc[3, column] = value
    write(source, rows)
    with pytest.raises(SourceError, match=f"^padchest: .*{words}"):
        read_records("padchest", source)


def test_a_list_without_a_needed_column_is_named(source):
    write(source, rows_of(source).rename(columns={"Projection": "Project"}))
    with pytest.raises(SourceError, match=r"no column projection in .*did you mean project"):
        read_records("padchest", source)


def test_the_scans_without_their_list_are_answered_with_its_name(source):
    (source / LIST).unlink()
    with pytest.raises(SourceError, match=r"^padchest: no scan in .*Expected PADCHEST_chest_x_ray_images_labels_160K"):
        read_records("padchest", source)


def test_the_published_table_is_read_to_its_counts(tmp_path):
    file = tmp_path / LIST
    file.write_bytes(published_list(f"{LIST}.gz"))
    entries = read_entries(file)
    assert len(entries) == 160_861
    assert (entries["patient"].nunique(), entries["study"].nunique()) == (67_625, 109_931)
    assert entries["view"].value_counts().to_dict() == {
        **{"PA": 91_728, "L": 49_579, "AP_horizontal": 14_346, "AP": 4_559},
        **{"COSTAL": 630, "EXCLUDE": 11, "UNK": 8},
    }
    assert entries["reader"].value_counts().to_dict() == {"RNN_model": 121_808, "Physician": 39_053}
    assert entries["sex"].value_counts(dropna=False).tolist() == [80_920, 79_919, 22]
    assert entries["age"].isna().sum() >= 6 and entries["scanner"].nunique() == 2
    table = pd.read_csv(file, usecols=["Labels"], dtype=str, keep_default_na=False)["Labels"]
    raw = Counter()
    for cell, rows in table[table.str.startswith("[")].value_counts().items():
        raw.update(dict.fromkeys(ast.literal_eval(cell), rows))
    assert (len(raw), raw["pneumonia"], raw[" pneumonia"]) == (350, 3474, 4563)
    said = {cell: stated(cell) if cell.startswith("[") else set() for cell in table.unique()}
    for name in CLASSES:
        assert (
            entries[name].sum()
            == table.map({cell: bool(labels & {*LABELS[name]}) for cell, labels in said.items()}).sum()
        )
    assert (entries["stated"] == "no label").sum() == 103
    assert 7_900 < entries["pneumonia"].sum() < 3474 + 4563 + 1
    records = read_records("padchest", tmp_path, require_files=False)
    assert len(records) == 106_498 and records.iloc[0]["path"].startswith("0/20536686640136348236148679891455886468_")


def test_the_twin_is_prepared(phantom_source, tmp_path):
    summary = prepare_dataset("padchest", phantom_source("padchest"), tmp_path / "prepared", size=32)
    assert sum(summary["scans"].values()) == 60 and not summary["quarantined"]
    records = pd.read_parquet(tmp_path / "prepared" / "records.parquet")
    assert len(records.drop_duplicates(["patient", "split"])) == records["patient"].nunique()
    assert {"scanner", "reader", "study"} < set(records)
