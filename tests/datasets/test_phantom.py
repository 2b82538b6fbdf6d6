"""Drawn sources: the published layouts, the seed, the selection that the readers make of them."""

import threading

import cv2
import pandas as pd
import pytest
from folder_contents import contents
from layouts import STUDY

from lungkeras.datasets.drawn import NOTE
from lungkeras.datasets.phantoms.phantom import draw_source
from lungkeras.datasets.registry import DATASETS, read_records
from lungkeras.system.errors import SourceError

FEW = 24
WORKBOOK = ".xlsx"  # holds the time of its writing


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_seed_alone_decides_every_byte(dataset, tmp_path):
    one = contents(draw_source(dataset, tmp_path / "one", scans=FEW, seed=5, workers=1), without=WORKBOOK)
    many = contents(draw_source(dataset, tmp_path / "many", scans=FEW, seed=5, workers=3), without=WORKBOOK)
    other = contents(draw_source(dataset, tmp_path / "other", scans=FEW, seed=6), without=WORKBOOK)
    assert one == many
    images = [name for name in one if name.endswith((".png", ".jpeg")) and "mask" not in name.lower()]
    assert not {one[name] for name in images} & set(other.values())


@pytest.mark.parametrize("dataset", DATASETS)
def test_no_two_scans_are_alike(dataset, phantom_source):
    files, suffixes = contents(phantom_source(dataset)), (".png", ".jpeg", ".dcm", ".dicom")
    images = [files[name] for name in files if name.endswith(suffixes) and "mask" not in name.lower()]
    assert len(set(images)) == len(images)


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("scans", [20, 60])
def test_the_study_keeps_as_many_scans_as_were_asked_for(dataset, scans, tmp_path):
    records = read_records(dataset, draw_source(dataset, tmp_path / "source", scans=scans))
    assert len(records) == scans
    assert (records[list(DATASETS[dataset].classes)] == 1).any().all()


@pytest.mark.parametrize("dataset", ["pneumonia", "xray8"])
def test_some_patients_have_several_scans(dataset, phantom_records):
    scans = phantom_records(dataset)["patient"].value_counts()
    assert 0.1 < (scans > 1).mean() < 0.6
    assert scans.max() <= 4


def test_the_selection_of_each_collection_has_something_to_leave_out(phantom_records):
    left_out = {dataset: dict(phantom_records(dataset).attrs["flow"]) for dataset in ("covid", "xray8")}
    for dataset, reasons in {"covid": ("lung opacity", "normal scans"), "xray8": ("outside", "further normal")}.items():
        for reason in reasons:
            assert any(reason in step and scans > 0 for step, scans in left_out[dataset].items()), (dataset, reason)


def test_findings_of_xray8_are_balanced_and_some_scans_show_two(phantom_records):
    counts = phantom_records("xray8")[list(DATASETS["xray8"].classes[:-1])]
    assert counts.sum().max() < 2 * counts.sum().min()
    assert (counts.sum(axis=1) == 2).any()


def test_the_lists_of_xray8_have_the_published_form(phantom_source):
    source = phantom_source("xray8")
    entries = (source / "Data_Entry_2017.csv").read_bytes().split(b"\r\n")
    assert entries[0] == (
        b"Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        b"OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    )
    assert all(line.count(b",") == 10 for line in entries[1:-1])
    assert (source / "BBox_List_2017.csv").read_bytes().startswith(b"Image Index,Finding Label,Bbox [x,y,w,h],,,\n")
    parts = [set((source / name).read_text().split()) for name in ("train_val_list.txt", "test_list.txt")]
    names = {line.split(b",")[0].decode() for line in entries[1:-1]}
    assert parts[0] | parts[1] == names == {file.name for file in (source / "images").iterdir()}
    assert not {name[:8] for name in parts[0]} & {name[:8] for name in parts[1]}


def test_the_lists_of_xray8_equal_the_real_ones_in_form(phantom_source, real_scans):
    for name in ("Data_Entry_2017.csv", "BBox_List_2017.csv", "train_val_list.txt"):
        with (real_scans / "nih" / name).open("rb") as real, (phantom_source("xray8") / name).open("rb") as drawn:
            lines = [(file.readline(), file.readline()) for file in (real, drawn)]
        if name.endswith(".csv"):
            assert lines[0][0] == lines[1][0]
        assert lines[0][1].count(b",") == lines[1][1].count(b",")
        assert lines[0][1][-2:].endswith(b"\r\n") == lines[1][1].endswith(b"\r\n")


def test_boxes_of_xray8_are_those_of_its_findings_and_lie_in_the_scan(phantom_source):
    source = phantom_source("xray8")
    boxes = pd.read_csv(source / "BBox_List_2017.csv", usecols=range(6), names=list("nfxywh"), skiprows=1)
    entries = pd.read_csv(source / "Data_Entry_2017.csv", index_col=False).set_index("Image Index")["Finding Labels"]
    for name, finding, x, y, w, h in boxes.itertuples(index=False):
        height, width = cv2.imread(str(source / "images" / name), cv2.IMREAD_UNCHANGED).shape
        assert finding in entries[name].split("|")
        assert x >= 0 and y >= 0 and w > 3 and h > 3 and x + w <= width and y + h <= height, (name, finding)
    shown = {(name, finding) for name, label in entries.items() for finding in label.split("|")}
    boxed = set(zip(boxes["n"], boxes["f"], strict=True))
    assert boxed == {pair for pair in shown if pair[1] not in ("No Finding", "Cardiomegaly")}


def test_covid_has_a_workbook_beside_each_class(phantom_source):
    release = phantom_source("covid") / "COVID-19_Radiography_Dataset"
    for folder in ("COVID", "Normal", "Viral Pneumonia", "Lung_Opacity"):
        listed = pd.read_excel(release / f"{folder}.metadata.xlsx")
        assert list(listed) == ["FILE NAME", "FORMAT", "SIZE", "URL"]
        files = {file.stem.lower() for file in (release / folder / "images").iterdir()}
        assert {name.lower() for name in listed["FILE NAME"]} == files


@pytest.mark.parametrize("dataset", STUDY)
def test_scans_are_grey_and_of_the_published_format(dataset, phantom_source):
    folder = phantom_source(dataset)
    images = [file for file in folder.rglob("*") if file.suffix in (".png", ".jpeg")]
    assert {file.suffix for file in images} == {".jpeg" if dataset == "pneumonia" else ".png"}
    for file in images[:5]:
        assert cv2.imread(str(file), cv2.IMREAD_UNCHANGED).ndim == 2


def test_a_source_says_that_it_is_drawn(phantom_source):
    note = (phantom_source("covid") / NOTE).read_text()
    assert "Drawings, not scans of patients" in note and "seed 0" in note


def test_a_folder_with_anything_else_is_refused_and_left_as_it_was(tmp_path):
    (tmp_path / "scans.zip").write_text("mine")
    with pytest.raises(SourceError, match=r"holds scans\.zip.*another folder"):
        draw_source("covid", tmp_path, scans=FEW)
    assert [file.name for file in tmp_path.iterdir()] == ["scans.zip"]


def test_a_drawn_source_is_drawn_anew(tmp_path):
    draw_source("pneumonia", tmp_path / "source", scans=60)
    draw_source("pneumonia", tmp_path / "source", scans=FEW)
    assert len(read_records("pneumonia", tmp_path / "source")) == FEW
    assert [folder.name for folder in tmp_path.iterdir()] == ["source"]


def test_what_is_interrupted_leaves_nothing(tmp_path, monkeypatch):
    drawn = threading.Semaphore(3)

    def interrupted(*arguments):
        if not drawn.acquire(blocking=False):
            raise KeyboardInterrupt
        return None, []

    monkeypatch.setattr("lungkeras.datasets.phantoms.phantom.draw_film", interrupted)
    monkeypatch.setattr("cv2.imencode", lambda *_: (True, memoryview(b"scan")))
    with pytest.raises(KeyboardInterrupt):
        draw_source("xray8", tmp_path / "source", scans=FEW, workers=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("dataset", "scans", "said"), [("mri", 60, r"one of (\w+, )*covid, .*pneumonia, .*xray8"), ("covid", 5, "20 scans")]
)
def test_what_cannot_be_drawn_is_an_error(dataset, scans, said, tmp_path):
    with pytest.raises(SourceError, match=said):
        draw_source(dataset, tmp_path / "source", scans=scans)
