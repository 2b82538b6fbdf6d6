"""NIH's list and scans become records: its labels, ages and patients, its selection, and lists changed on their way."""

import re
import time

import pandas as pd
import pytest
from flows import left_out
from layouts import write_scans

from lungkeras.datasets.collections.xray8 import CLASSES, LABELS, balanced_findings, read_entries
from lungkeras.datasets.registry import read_records
from lungkeras.system.errors import SourceError


def edited(source, change):
    file = source / "Data_Entry_2017.csv"
    file.write_bytes(change(file.read_bytes()))
    return source


def test_xray8_keeps_scans_of_the_six_findings_and_counts_the_absent(xray8_source):
    records = read_records("xray8", xray8_source)
    assert set(records["scan"]) == {"00000002_000.png", "00000003_001.png", "00000003_002.png"}
    assert records.attrs["absent"] == 2
    both = records.set_index("scan").loc["00000002_000.png"]
    assert both[list(CLASSES)].tolist() == [0, 1, 1, 0, 0, 0, 0]
    assert (both["patient"], both["age"], both["sex"], both["view"], both["follow_up"]) == (
        "00000002",
        58,
        "F",
        "PA",
        0,
    )


def test_xray8_draws_a_present_normal_of_a_patient_whose_other_is_absent(xray8_source):
    assert read_records("xray8", xray8_source)["no_finding"].sum() == 1
    for seed in range(5):
        assert "00000003_001.png" in set(read_records("xray8", xray8_source, seed=seed)["scan"])


def test_xray8_without_files_reads_the_whole_list(xray8_source):
    records = read_records("xray8", xray8_source, require_files=False)
    assert len(records) == 4
    assert records.attrs["absent"] == 0
    assert records.set_index("scan").loc["00000004_000.png", "path"] == "images/00000004_000.png"


def test_xray8_reads_ages_of_the_early_release_and_the_revised_list(xray8_source):
    file = xray8_source / "Data_Entry_2017.csv"
    revised = file.with_name("Data_Entry_2017_v2020.csv")
    revised.write_text(file.read_text().replace(",058,", ",058Y,").replace("Gender", "Sex"))
    file.unlink()
    records = read_records("xray8", xray8_source)
    assert set(records["age"]) == {58}
    assert set(records["sex"]) == {"F"}


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", '"Image Index\n', "\x00\x01"])
def test_xray8_says_what_is_wrong_with_its_list(content, xray8_source):
    (xray8_source / "Data_Entry_2017.csv").write_text(content)
    with pytest.raises(SourceError, match=r"Data_Entry_2017.csv is not as published\. Expected .*; found .*Fetch"):
        read_records("xray8", xray8_source)


def test_xray8_refuses_a_list_that_names_a_scan_twice(xray8_source):
    file = xray8_source / "Data_Entry_2017.csv"
    file.write_text(file.read_text() + file.read_text().splitlines()[3] + "\n")
    with pytest.raises(SourceError, match=re.escape("00000002_000.png")):
        read_records("xray8", xray8_source)


def test_xray8_selection_of_the_full_list_has_the_counts_of_the_study(real_scans):
    started = time.process_time()
    records = read_records("xray8", real_scans / "nih", require_files=False)
    assert time.process_time() - started < 3
    assert len(records) == 29_067
    findings = [name for name in CLASSES if name != "no_finding"]
    assert sorted(records[findings].sum(), reverse=True) == [7269, 7038, 4133, 3900, 3474, 2891]
    assert (records[findings].sum(axis=1) > 0).sum() == 22_067
    normals = records[records["no_finding"] == 1]
    assert len(normals) == 7000
    assert normals["patient"].is_unique


def test_normals_are_drawn_evenly_from_patients_and_visits(real_scans):
    entries = read_entries(real_scans / "nih" / "Data_Entry_2017.csv")
    normals = entries[entries["label"] == "No Finding"]
    expected = (normals["follow_up"] > 0).groupby(normals["patient"]).mean().mean()
    records = read_records("xray8", real_scans / "nih", require_files=False)
    drawn = (records.loc[records["no_finding"] == 1, "follow_up"] > 0).mean()
    assert abs(drawn - expected) < 0.02


def test_balanced_findings_end_in_the_six_of_the_study(real_scans):
    labels = read_entries(real_scans / "nih" / "Data_Entry_2017.csv")["label"].str.get_dummies("|")
    counts = labels.drop(columns="No Finding").sum()
    assert {*balanced_findings(counts.to_dict()), "No Finding"} == set(LABELS)


def test_balanced_findings_leave_a_balanced_list_alone():
    assert balanced_findings({"Mass": 4, "Nodule": 9, "Effusion": 12}) == ["Mass", "Nodule", "Effusion"]
    assert balanced_findings({"Mass": 0, "Nodule": 9}) == ["Nodule"]
    assert balanced_findings({}) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b",", b";"),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"Image Index,Finding Labels", b"image index, FINDING LABELS"),
        lambda text: text.replace(b"Effusion|Mass,", b"Effusion | Mass ,"),
    ],
    ids=["semicolons", "byte order mark", "case and blanks", "blanks around labels"],
)
def test_xray8_reads_a_list_that_a_spreadsheet_wrote(change, xray8_source):
    expected = read_records("xray8", xray8_source)
    assert read_records("xray8", edited(xray8_source, change)).equals(expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[:-30], "its last row cut short"),
        (lambda text: text.replace(b"Nodule", b"\0" * 50), "NUL bytes in row 7"),
        (lambda text: text.decode().encode("utf-16"), "UTF-16"),
        (lambda text: text.replace(b"Nodule", b"N\xe9"), "cp1252"),
    ],
    ids=["cut", "NUL", "UTF-16", "cp1252"],
)
def test_xray8_names_what_broke_its_list(change, words, xray8_source):
    with pytest.raises(SourceError, match=words):
        read_records("xray8", edited(xray8_source, change))


@pytest.mark.parametrize("lost", [b"1.23E+05", b"#####", b"", b"NaN", b"-"])
def test_xray8_rows_without_a_whole_patient_id_stand_alone_and_are_counted(lost, xray8_source, capsys):
    edited(
        xray8_source,
        lambda text: text.replace(b",2,058", b"," + lost + b",058").replace(b",3,058", b"," + lost + b",058"),
    )
    records = read_records("xray8", xray8_source)
    assert set(records["patient"]) >= {"00000002_000.png", "00000003_002.png"}
    assert re.search(r"xray8: 4 (rows|patient ids)", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("age", "years"),
    [
        *[("013M", 1), ("411Y", pd.NA), ("021D", 0), ("58", 58), ("", pd.NA), ("110W", 2), ("45yrs", 45)],
        *[("45 years", 45), ("18 months", 1), ("58.5", 58), ("-1", pd.NA), ("9" * 30, pd.NA), ("7F", pd.NA)],
    ],
)
def test_xray8_ages_are_years(age, years, xray8_source):
    entries = read_entries(
        edited(xray8_source, lambda text: text.replace(b",058,", f",{age},".encode())) / "Data_Entry_2017.csv"
    )
    assert entries["age"].isna().all() if years is pd.NA else set(entries["age"]) == {years}


def test_xray8_finds_scans_by_their_names_without_suffix_and_counts_those_without_a_row(xray8_source, capsys):
    expected = list(read_records("xray8", xray8_source)["scan"])
    for file, suffix in zip(sorted(xray8_source.rglob("*.png")), (".jpg", ".PNG", "", ".dicom", ".x"), strict=True):
        file.rename(file.with_suffix(suffix))
    write_scans(xray8_source, "images/stranger.png")
    assert list(read_records("xray8", xray8_source)["scan"]) == expected
    assert "1 images" in capsys.readouterr().err


def test_xray8_list_of_other_names_says_both(xray8_source):
    for place, file in enumerate(sorted(xray8_source.rglob("*.png"))):
        file.rename(file.with_name(f"scan{place}.png"))
    with pytest.raises(SourceError, match=r"lists 7 scans such as 00000001_000.png, and 5 images lie"):
        read_records("xray8", xray8_source)


@pytest.mark.parametrize(
    ("was", "label", "reason"),
    [
        ("Nodule", "Nodul", "labels that are none of the collection's (Nodul 1)"),
        ("Effusion|Mass", "Effusion;Mass", "labels that are none of the collection's (Effusion;Mass 1)"),
        ("Nodule", "", "no label"),
        ("Nodule", "Hernia", "findings outside the study's six"),
        ("Nodule", " NODULE |", None),
        ("No Finding", "no_finding", None),
        ("Cardiomegaly|Effusion", "Pleural Thickening|Effusion", "findings outside the study's six"),
    ],
)
def test_xray8_labels_are_found_without_case_and_unknown_ones_are_named_and_counted(
    was, label, reason, xray8_source, capsys
):
    expected = read_records("xray8", xray8_source)
    edited(xray8_source, lambda text: text.replace(was.encode() + b",", label.encode() + b","))
    records = read_records("xray8", xray8_source)
    found, known = left_out(records), left_out(expected)
    if reason is None or reason in known:
        assert found == known | ({"findings outside the study's six": 3} if label == "Hernia" else {})
        assert reason or records.equals(expected)
    else:
        assert found == known | {reason: 1}
        assert records.attrs["kinds"][f"left out: {reason}"] == "unknown"
        assert f"xray8: 1 scans left out: {reason}" in capsys.readouterr().err


def test_what_lies_beside_the_listed_scans_of_xray8_is_counted(xray8_source, capsys):
    expected = read_records("xray8", xray8_source)
    folder = xray8_source / "images_001" / "images"
    (folder / "notes").write_text("a note")
    (folder / "00000099_000.png").write_bytes(b"")
    write_scans(xray8_source, "older/than/this/00000002_000.png")
    records = read_records("xray8", xray8_source)
    assert left_out(records) == left_out(expected) | {
        "no image (text)": 1,
        "no row of their own in the list (such as images_001/images/00000099_000.png)": 2,
    }
    assert records.equals(expected)
    assert "xray8: 2 images left out: no row of their own" in capsys.readouterr().err


def test_of_links_in_xray8_each_real_file_counts_once_and_a_broken_one_is_absent(xray8_source):
    expected = read_records("xray8", xray8_source)
    folder = xray8_source / "images_001" / "images"
    (folder / "00000003_000.png").symlink_to("nowhere.png")
    (folder / "00000004_000.png").symlink_to(next(xray8_source.rglob("00000003_002.png")))
    (folder / "loop").symlink_to("loop")
    (folder / "again").symlink_to(xray8_source)
    records = read_records("xray8", xray8_source)
    assert records.equals(expected)
    assert records.attrs["absent"] == 1
    assert left_out(records)["a second name of another scan's file"] == 1


def test_scans_linked_into_a_store_beside_them_are_read_by_their_names(xray8_source):
    expected = read_records("xray8", xray8_source)
    (xray8_source / "a store").mkdir()
    for number, file in enumerate(sorted(xray8_source.rglob("*.png"))):
        file.rename(xray8_source / "a store" / f"{number}")
        file.symlink_to(xray8_source / "a store" / f"{number}")
    records = read_records("xray8", xray8_source)
    assert records.equals(expected) and left_out(records) == left_out(expected)
