"""The tuberculosis sets: both layouts of the library, ages and sexes as texts, colours and palettes, masks."""

import re
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from layouts import write_scans
from PIL import Image

from lungkeras.datasets.ages import years
from lungkeras.datasets.encoding import colour_png, grey_png, palette_png
from lungkeras.datasets.registry import read_records
from lungkeras.datasets.scans.decoding import decode_grey
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.system.errors import SourceError


@pytest.fixture(scope="module")
def source(phantom_source):
    return phantom_source("tuberculosis")


@pytest.fixture
def copy(source, tmp_path):
    return shutil.copytree(source, tmp_path / "copy")


def test_the_twin_has_the_published_layout_and_its_traps(source):
    scans = sorted(path for path in source.rglob("*.png") if path.parent.name == "CXR_png")
    assert len(scans) == 60
    modes = {}
    for path in scans:
        with Image.open(path) as image:
            modes.setdefault(path.name[:3], set()).add(image.mode)
    assert modes == {"MCU": {"L"}, "CHN": {"RGB", "P"}}
    texts = [path.read_text() for path in source.rglob("ClinicalReadings/*.txt")]
    assert len(texts) == 60
    for words in (r"Patient's Age: 0\d\dY", r"Age: 0\d\dM", r"\dyrs", r"\d years", r"\d months", "Female", "female"):
        assert any(re.search(words, text) for text in texts), words
    masks = {path.name for path in (source / "MontgomerySet" / "ManualMask" / "leftMask").iterdir()}
    assert masks == {path.name for path in scans if path.name.startswith("MCU")}, "a mask has its scan's own name"


def test_records_are_of_both_sites_without_masks(phantom_records):
    records = phantom_records("tuberculosis")
    assert len(records) == 60 and records["path"].str.contains("/CXR_png/").all()
    assert (records["tuberculosis"].astype(str) == records["patient"].str[-1]).all()
    assert records["scanner"].value_counts().to_dict() == {"Shenzhen": 50, "Montgomery": 10}
    assert not any("not read" in kind for kind in records.attrs["kinds"].values())


def test_ages_and_sexes_are_those_of_the_readings(source, phantom_records):
    records = phantom_records("tuberculosis").set_index("patient")
    assert records["age"].between(0, 90).all() and set(records["sex"]) == {"F", "M"}
    infants = 0
    for file in source.rglob("ClinicalReadings/*.txt"):
        text = file.read_text().lower()
        number = int("".join(letter for letter in text if letter.isdigit()))
        months = "month" in text or f"{number:03}m" in text
        infants += months
        assert records.loc[file.stem, "age"] == (number // 12 if months else number), text
        female = "female" in text or "sex: f" in text
        assert records.loc[file.stem, "sex"] == ("F" if female else "M"), text
    assert infants > 2


@pytest.mark.parametrize(
    ("text", "age", "sex"),
    [
        ("Patient's Sex: F\nPatient's Age: 027Y\nnormal\n", 27, "F"),
        ("Patient's Sex: M\nPatient's Age: 004M\ncavity of 12 mm\n", 0, "M"),
        ("male 45yrs\nnormal", 45, "M"),
        ("Female,  31 years , bilateral PTB 3 y ago", 31, "F"),
        ("male, 20months\nnormal", 1, "M"),
        ("patient of unknown age", None, None),
    ],
)
def test_a_reading_is_read_however_it_is_written(text, age, sex, tmp_path):
    write_scans(tmp_path, "A/CXR_png/CHNCXR_0001_0.png", "A/CXR_png/CHNCXR_0002_1.png")
    (tmp_path / "A" / "ClinicalReadings").mkdir()
    (tmp_path / "A" / "ClinicalReadings" / "CHNCXR_0001_0.txt").write_text(text)
    (tmp_path / "A" / "ClinicalReadings" / "CHNCXR_0002_1.txt").write_text("female 60yrs")
    row = read_records("tuberculosis", tmp_path).iloc[0]
    assert (row.age, row.sex) == (age, sex) if age is not None else pd.isna(row.age) and pd.isna(row.sex)


def test_ages_in_any_unit_are_whole_years_and_nobody_is_older_than_120():
    texts = pd.Series(["58", "058Y", "45yrs", "13 months", "400D", "60w", "155", "", "?", "Y"])
    assert years(texts).fillna(-1).tolist() == [58, 58, 45, 1, 1, 1, -1, -1, -1, -1]


def test_grey_colour_and_palette_show_the_same_scan(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (9, 14), np.uint8)
    for encode in (grey_png, colour_png, palette_png):
        (tmp_path / "scan.png").write_bytes(encode(image))
        assert np.array_equal(decode_grey(tmp_path / "scan.png"), image), encode.__name__
    with Image.open(tmp_path / "scan.png") as read:
        assert read.mode == "P" and not np.array_equal(np.array(read), image)
        assert np.array_equal(np.array(read.convert("L")), image)


def test_the_later_layout_and_that_of_kaggle_give_the_same_records(copy, phantom_records, tmp_path):
    expected = phantom_records("tuberculosis").set_index("scan").drop(columns="path")
    (copy / "ChinaSet_AllFiles").rename(copy / "Shenzhen-Hospital-CXR-Set")
    later = read_records("tuberculosis", copy).set_index("scan").drop(columns="path")
    assert later.loc[expected.index].equals(expected)
    merged = tmp_path / "merged"
    for folder in ("CXR_png", "ClinicalReadings"):
        for site in ("MontgomerySet", "Shenzhen-Hospital-CXR-Set"):
            shutil.copytree(copy / site / folder, merged / folder, dirs_exist_ok=True)
    shutil.copytree(copy / "MontgomerySet" / "ManualMask" / "leftMask", merged / "masks")
    together = read_records("tuberculosis", merged).set_index("scan").drop(columns="path")
    assert together.loc[expected.index].equals(expected)
    both = read_records("tuberculosis", tmp_path)
    assert len(both) == 60 and ["left out: a second file of a scan", 60] in both.attrs["flow"]


def test_a_partial_download_says_what_is_missing(copy, capsys):
    shutil.rmtree(copy / "ChinaSet_AllFiles")
    records = read_records("tuberculosis", copy)
    assert set(records["scanner"]) == {"Montgomery"}
    assert "the scans of Shenzhen are missing" in capsys.readouterr().err
    shutil.rmtree(copy / "MontgomerySet" / "ClinicalReadings")
    assert not {"age", "sex"} & set(read_records("tuberculosis", copy))
    shutil.rmtree(copy / "MontgomerySet" / "CXR_png")
    with pytest.raises(
        SourceError, match=r"tuberculosis: no scan in .*Expected MontgomerySet/CXR_png/MCUCXR_0001_0\.png"
    ):
        read_records("tuberculosis", copy)


def test_a_name_without_a_class_is_left_out_and_counted(copy):
    write_scans(copy, "MontgomerySet/CXR_png/MCUCXR_0099.png")
    records = read_records("tuberculosis", copy)
    assert len(records) == 60 and ["left out: file name gives no class", 1] in records.attrs["flow"]


def test_the_twin_is_prepared_as_its_scans_look(source, tmp_path):
    summary = prepare_dataset("tuberculosis", source, tmp_path / "prepared", size=32)
    assert sum(summary["scans"].values()) == 60 and not summary["quarantined"]
    records = pd.read_parquet(tmp_path / "prepared" / "records.parquet")
    row = records[records["split"] == "train"].index[0]
    read = cv2.imread(str(source / records["path"][row]), cv2.IMREAD_GRAYSCALE)
    expected = cv2.resize(cv2.GaussianBlur(cv2.equalizeHist(read), (5, 5), 0), (32, 32), interpolation=cv2.INTER_AREA)
    assert np.abs(np.load(tmp_path / "prepared" / "train.npy")[0].astype(int) - expected).max() <= 1
