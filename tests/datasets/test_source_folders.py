"""Files and links in a source: each real scan counts once, and what is no scan is counted by its kind and folder."""

import pytest
from flows import left_out
from layouts import STUDY, write_covid, write_pneumonia, write_scans, write_xray8

from lungkeras.datasets.registry import read_records


def test_stray_files_are_no_scans_but_broken_scans_are(tmp_path):
    folder = write_pneumonia(tmp_path) / "chest_xray" / "train" / "NORMAL"
    for name in (".DS_Store", "._IM-0001-0001.jpeg", "Thumbs.db", "notes.txt"):
        (folder / name).write_bytes(b"stray")
    (folder / "IM-0117-0001.jpeg").write_bytes(b"")
    (folder / "my favourite.jpeg").write_bytes(b"")
    records = read_records("pneumonia", tmp_path)
    assert len(records) == 8
    assert "IM-0117-0001.jpeg" in set(records["scan"])
    assert ["left out: file name gives no patient and class", 1] in records.attrs["flow"]


def test_images_where_no_collection_reads_are_counted_with_their_folders(tmp_path, capsys):
    write_pneumonia(tmp_path / "children")
    write_scans(tmp_path / "children" / "chest_xray", "holdout/NORMAL/IM-0900-0001.jpeg", "train/NORMAL/more/a.jpeg")
    (tmp_path / "children" / "chest_xray" / "README").write_text("a note")
    (tmp_path / "children" / "chest_xray" / "train" / "NORMAL" / "list.txt").write_text("a list")
    assert left_out(read_records("pneumonia", tmp_path / "children")) == {
        "in folders that are not read (NORMAL/more 1, holdout/NORMAL 1)": 2,
        "no image (text)": 2,
    }
    release = write_covid(tmp_path / "adults") / "COVID-19_Radiography_Dataset"
    write_scans(release, "Tuberculosis/images/Tuberculosis-1.png")
    (release / "Normal.metadata.xlsx").write_bytes(b"PK\3\4")
    others = left_out(read_records("covid", tmp_path / "adults"))
    assert others["in folders that are not read (Tuberculosis/images 1)"] == others["no image (zip)"] == 1
    assert "pneumonia: 2 images left out: in folders that are not read (NORMAL/more 1" in capsys.readouterr().err


@pytest.mark.parametrize("dataset", STUDY)
def test_a_collection_lies_as_deep_as_it_likes(dataset, tmp_path):
    write = {"pneumonia": write_pneumonia, "covid": write_covid}.get(
        dataset, lambda source: write_xray8(source, {"00000001_000.png": "Mass"})
    )
    deep = tmp_path / "deep" / "/".join("abcdefgh")
    write(deep)
    write(tmp_path / "flat")
    found, expected = (read_records(dataset, tmp_path / name) for name in ("deep", "flat"))
    assert list(found["scan"]) == list(expected["scan"])


def test_a_class_that_is_linked_from_within_the_source_is_read_once(tmp_path):
    expected = read_records("covid", write_covid(tmp_path))
    release = tmp_path / "COVID-19_Radiography_Dataset"
    (release / "COVID").rename(tmp_path / "A")
    (release / "COVID").symlink_to(tmp_path / "A")
    records = read_records("covid", tmp_path)
    assert records.equals(expected) and left_out(records) == left_out(expected)


def test_links_count_each_real_file_once_and_end(tmp_path):
    release = write_covid(tmp_path) / "COVID-19_Radiography_Dataset"
    expected = read_records("covid", tmp_path)
    (tmp_path / "latest").symlink_to(release)
    (release / "COVID" / "images" / "loop").symlink_to(".")
    (release / "COVID" / "images" / "COVID-8.png").symlink_to("nowhere.png")
    (release / "lost").symlink_to("nowhere")
    records = read_records("covid", tmp_path)
    assert left_out(records)["no image (broken link)"] == 1
    assert list(records["path"]) == list(expected["path"])
    assert records.attrs["absent"] == 1


def test_what_a_file_holds_decides_and_what_is_no_image_is_counted_by_kind(tmp_path):
    folder = write_covid(tmp_path) / "COVID-19_Radiography_Dataset" / "COVID" / "images"
    (folder / "COVID-1.png").rename(folder / "COVID-1")
    (folder / "notes.txt").write_text("a note")
    records = read_records("covid", tmp_path)
    assert "COVID-1" in set(records["scan"])
    assert ["left out: no image (text)", 1] in records.attrs["flow"]
