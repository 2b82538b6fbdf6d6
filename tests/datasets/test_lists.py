"""Lists of labels as they come: other encodings, broken rows, other headings; and the published ones."""

import csv
import gzip
import importlib.util
from collections import Counter
from pathlib import Path

import pytest
from layouts import write_xray8

from lungkeras.datasets.boxes import read_boxes
from lungkeras.datasets.collections.xray8 import CLASSES, official_test_scans, read_entries
from lungkeras.datasets.label_tables import read_table
from lungkeras.datasets.lists import BrokenListError, broken_row, list_text, separator_of
from lungkeras.datasets.registry import read_records
from lungkeras.system.errors import SourceError

FINDINGS = {
    "00000001_000.png": "Cardiomegaly",
    "00000002_000.png": "Effusion|Mass",
    "00000003_000.png": "No Finding",
    "00000003_001.png": "No Finding",
    "00000004_000.png": "Mass",
}


@pytest.fixture
def source(tmp_path):
    return write_xray8(tmp_path / "nih", FINDINGS)


def edited(source: Path, change) -> Path:
    file = source / "Data_Entry_2017.csv"
    file.write_bytes(change(file.read_bytes()))
    return source


def without_end(text: bytes, row: int) -> bytes:
    """The list with one row cut after its first column."""
    lines = text.split(b"\r\n")
    return b"\r\n".join([*lines[:row], lines[row].partition(b",")[0], *lines[row + 1 :]])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.decode().encode("utf-16-le"), "UTF-16"),
        (lambda text: text.decode().encode("utf-16-be"), "UTF-16"),
        (lambda text: text.decode().encode("utf-32"), "UTF-32"),
        (lambda text: text.replace(b"58,F", b"58,\xc4", 1), r"likely cp1252 \(row 2\)"),
        (lambda text: b"\0" * 50 + text, "NUL bytes in row 1"),
        (lambda text: b"<!DOCTYPE html><html>" + text, r"not a text \(html\)"),
        (lambda text: b"PK\3\4" + text, r"not a text \(zip\)"),
        (lambda text: without_end(text, 3), r"row 4 cut short \('00000003_000.png'\)"),
        (lambda text: without_end(text, 5), r"its last row cut short \('00000004_000.png'\)"),
        (lambda text: text[:-9], "its last row cut short"),
        (lambda text: text.replace(b"\r\n00000003_000", b"00000003_000"), "columns in row 3, 12 in the heading"),
        (lambda text: text.partition(b"\r\n")[0] + b"\r\n", "no row below its heading"),
        (lambda text: text + text.split(b"\r\n")[4] + b"\r\n", r"1 rows of scans listed before, such as '00000003_001"),
        (lambda text: text.replace(b"\r\n00000004_000.png", b"\r\n"), "1 rows without a scan"),
        (lambda text: text.replace(b"Finding Labels", b"Finding Label"), r"\(did you mean Finding Label\?"),
        (lambda text: text.replace(b"Patient Age", b"finding labels"), "the column Finding Labels twice"),
    ],
)  # fmt: skip
def test_what_broke_a_list_is_named(change, words, source):
    with pytest.raises(SourceError, match=words):
        read_records("xray8", edited(source, change))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"sep=,\r\n" + text,
        lambda text: b"sep=;\r\n" + text.replace(b",", b";"),
        lambda text: text.replace(b",", b"\t"),
        lambda text: text.replace(b"\r\n", b"\r"),
        lambda text: b"\r\n" + text + b",,,,,,\r\n\r\n",
        lambda text: text.replace(b"\r\n0", b"\r\nimages/0"),
        lambda text: text.replace(b",PA,", b',"PA",'),
        lambda text: text.replace(b"Patient Gender", b"Patient Gender,Patient Sex").replace(b",F,", b",F,F,"),
    ],
)
def test_what_a_spreadsheet_or_a_script_adds_changes_no_record(change, source):
    expected = read_records("xray8", source)
    assert read_records("xray8", edited(source, change)).equals(expected)


@pytest.mark.parametrize("lost", ["1.0", "1,0", "00001", " 1 ", "00000001"])
def test_a_patient_is_the_same_however_the_number_is_written(lost, source):
    expected = read_entries(source / "Data_Entry_2017.csv")["patient"]
    edited(source, lambda text: text.replace(b",", b";").replace(b";1;058", f";{lost};058".encode()))
    assert read_entries(source / "Data_Entry_2017.csv")["patient"].equals(expected)


def test_a_list_without_one_of_its_images_says_so(source):
    for file in source.rglob("*.png"):
        file.unlink()
    with pytest.raises(SourceError, match=r"lists 5 scans such as 00000001_000.png, and no image lies in"):
        read_records("xray8", source)


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_the_official_test_list_is_read_whole(start, source):
    (source / "test_list.txt").write_bytes(
        start + b"images/00000001_000.png\r\nimages\\00000004_000.png\n00000003_000.png"
    )
    assert official_test_scans(source) == ["00000001_000.png", "00000004_000.png", "00000003_000.png"]
    (source / "test_list.txt").write_bytes("00000001_000.png\n".encode("utf-16"))
    with pytest.raises(SourceError, match=r"test_list.txt .*one scan name per line; found a text in UTF-16"):
        official_test_scans(source)


def test_rows_are_whole_or_named():
    assert broken_row("a,b,c\n1,2,3\n1,2\n1,,\n", 1) is None
    assert "row 3 cut short" in broken_row("a,b,c\n1,2,3\n1\n1,2,3\n", 1)
    assert broken_row('a,b,c\n"1,2",2,3,\n1\n', 1) is None
    assert broken_row("a\n1\n2", 0) is None
    assert separator_of("a|b|c") == "|"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The published lists, as the package torchxrayvision carries them."""
    spec = importlib.util.find_spec("torchxrayvision")
    if spec is None:
        pytest.skip("NIH's lists are in torchxrayvision: pip install --no-deps torchxrayvision==1.5.7 (29 MB)")
    folder = tmp_path_factory.mktemp("published")
    for name in ("Data_Entry_2017_v2020.csv", "BBox_List_2017.csv"):
        packed = Path(spec.submodule_search_locations[0], "data", f"{name}.gz").read_bytes()
        (folder / name).write_bytes(gzip.decompress(packed))
    return folder


def test_the_published_lists_are_read_to_their_counts(published):
    file = published / "Data_Entry_2017_v2020.csv"
    entries = read_entries(file)
    records = read_records("xray8", published, require_files=False)
    with file.open(encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    assert len(entries) == len(rows) == 112_120
    assert entries["patient"].nunique() == len({int(row["Patient ID"]) for row in rows}) == 30_805
    assert entries["label"].str.split("|").explode().value_counts().to_dict() == Counter(
        finding for row in rows for finding in row["Finding Labels"].split("|")
    )
    assert entries["age"].tolist() == [int(row["Patient Age"]) for row in rows]
    assert len(records) == 29_067 and not any("none of the" in step for step, _ in records.attrs["flow"])

    shown = records.set_index("scan")[list(CLASSES)]
    with (published / "BBox_List_2017.csv").open(encoding="utf-8") as opened:
        boxes = [row[:2] for row in list(csv.reader(opened))[1:]]
    assert len(boxes) == 984
    expected = sum(
        scan in shown.index and finding.lower() in CLASSES and shown.at[scan, finding.lower()] == 1
        for scan, finding in boxes
    )
    assert len(read_boxes("xray8", published, records)) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_a_list_of_the_users_own_is_read_in_the_encodings_of_spreadsheets(tmp_path, capfd, encoding):
    text = "image;Größe\r\nübung.png;1\r\n"
    file = tmp_path / f"{encoding}.csv"
    file.write_bytes(text.encode(encoding))
    assert list_text(file, own=True) == text.replace("\r\n", "\n")
    assert list(read_table(file)["Größe"]) == ["1"]
    guessed = "read as cp1252" in capfd.readouterr().err
    assert guessed == (encoding == "cp1252")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"image,label\na.png,1\n\x81.png,1\n", r"neither UTF-8 nor cp1252 \(row 3\)"),
        ("image,label\nä.png,1\n".encode("utf-16")[:-1], "in UTF-16 that is damaged near row 2"),
        ("image,label\nä\0.png,1\n".encode("utf-16"), "NUL characters in row 2"),
    ],
)
def test_a_list_of_ones_own_that_no_encoding_fits_is_refused_by_its_row(tmp_path, content, words):
    file = tmp_path / "t.csv"
    file.write_bytes(content)
    with pytest.raises(BrokenListError, match=words):
        list_text(file, own=True)
