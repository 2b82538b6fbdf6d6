"""Boxes: from the lists of a source to shares of a scan, for the findings that its records have."""

import numpy as np
import pandas as pd
import pytest
from layouts import STUDY

from lungkeras.datasets.boxes import COLUMNS, read_boxes
from lungkeras.datasets.drawn import BOXES
from lungkeras.datasets.phantoms.phantom import draw_source
from lungkeras.datasets.registry import DATASETS, read_records
from lungkeras.datasets.scans.decoding import decode_grey
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.system.errors import SourceError

SIX = {"atelectasis": 180, "effusion": 153, "mass": 85, "nodule": 79, "pneumothorax": 98}


@pytest.mark.parametrize("dataset", STUDY)
def test_every_finding_of_a_drawn_scan_has_a_box_and_no_healthy_scan_has_one(dataset, phantom_source, phantom_records):
    records = phantom_records(dataset)
    boxes = read_boxes(dataset, phantom_source(dataset), records)
    assert list(boxes.columns) == list(COLUMNS)
    healthy = {"normal", "no_finding"}
    shown = {
        (row["scan"], name)
        for row in records.to_dict("records")
        for name in DATASETS[dataset].classes
        if row[name] and name not in healthy
    }
    assert set(zip(boxes["scan"], boxes["class"], strict=True)) == shown
    assert (boxes[["left", "top"]] >= 0).all(axis=None) and (boxes[["right", "bottom"]] <= 1).all(axis=None)
    assert (boxes["left"] < boxes["right"]).all() and (boxes["top"] < boxes["bottom"]).all()


@pytest.mark.parametrize("dataset", STUDY)
def test_boxes_lie_where_the_scan_differs_from_one_without_the_finding(dataset, tmp_path, monkeypatch):
    """Drawn again without lesions, a film differs from itself in its boxes, and hardly elsewhere."""
    from lungkeras.datasets.phantoms import film

    with_lesions = draw_source(dataset, tmp_path / "with", scans=24)
    records = read_records(dataset, with_lesions)
    boxes = read_boxes(dataset, with_lesions, records)
    drawn = film.draw_lesions

    def unseen(*arguments):
        return [film_lesion(lesion) for lesion in drawn(*arguments)]

    def film_lesion(lesion):
        return type(lesion)(lesion.finding, np.zeros_like(lesion.opacity))

    monkeypatch.setattr(film, "draw_lesions", unseen)
    without = draw_source(dataset, tmp_path / "without", scans=24)
    paths = records.set_index("scan")["path"]
    shares = []
    for scan, own in boxes.groupby("scan"):
        one, other = (decode_grey(source / paths[scan]).astype(int) for source in (with_lesions, without))
        changed = np.abs(one - other) > 12
        height, width = changed.shape
        inside = np.zeros_like(changed)
        for left, top, right, bottom in own[["left", "top", "right", "bottom"]].to_numpy():
            inside[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = True
        shares.append((changed & inside).sum() / max(changed.sum(), 1))
    assert np.median(shares) > 0.95


def test_a_planted_label_gets_no_box_of_what_is_shown_instead(tmp_path):
    source = draw_source("pneumonia", tmp_path / "source", scans=60, plants=["noise=0.3"])
    records = read_records("pneumonia", source)
    clean = draw_source("pneumonia", tmp_path / "clean", scans=60)
    noisy, true = read_boxes("pneumonia", source, records), read_boxes("pneumonia", clean, records)
    assert 0 < len(noisy) < len(true)
    labels = records.set_index("scan")
    assert all(labels.loc[row.scan, name] == 1 for row, name in zip(noisy.itertuples(), noisy["class"], strict=True))


def test_published_boxes_are_in_pixels_of_1024(real_scans):
    source = real_scans / "nih"
    records = read_records("xray8", source)
    boxes = read_boxes("xray8", source, records).drop_duplicates(["scan", "class"]).set_index(["scan", "class"])
    listed = pd.read_csv(source / "BBox_List_2017.csv", header=None, skiprows=1, usecols=range(6))
    known = [row for row in listed.to_numpy() if (row[0], row[1].lower()) in boxes.index]
    if not known:
        pytest.skip("none of the scans in this sample has a box")
    name, finding, left, top, width, height = known[0]
    found = boxes.loc[(name, finding.lower())]
    assert found.tolist() == pytest.approx([v / 1024 for v in (left, top, left + width, top + height)], abs=1e-9)


def test_of_the_published_boxes_as_many_survive_the_selection_as_were_counted(real_scans):
    source = real_scans / "nih"
    records = read_records("xray8", source, require_files=False)
    boxes = read_boxes("xray8", source, records)
    assert (len(boxes), boxes["scan"].nunique()) == (326, 306)
    assert set(boxes["class"]) == set(SIX)
    assert all(boxes["class"].value_counts()[name] <= count for name, count in SIX.items())


def test_a_source_without_a_list_has_no_boxes(phantom_records, tmp_path):
    assert read_boxes("covid", tmp_path, phantom_records("covid")).empty
    assert list(read_boxes("xray8", tmp_path, phantom_records("xray8")).columns) == list(COLUMNS)


@pytest.mark.parametrize("text", ["a,covid,x,2,3,4,256,256\n", "a,covid\n", '"a,covid\n'])
def test_a_damaged_list_is_one_sentence(text, tmp_path, phantom_records):
    (tmp_path / BOXES).write_text("path,finding,left,top,width,height,scan_width,scan_height\n" + text)
    with pytest.raises(SourceError, match=r"as a list of boxes.*move it away"):
        read_boxes("covid", tmp_path, phantom_records("covid"))


def test_boxes_of_no_area_or_beyond_the_scan_are_cut_or_left_out(tmp_path, phantom_records):
    records = phantom_records("covid")
    path = records.loc[records["covid"] == 1, "path"].iloc[0]
    rows = ["-10,20,30,40,100,100", "10,20,0,40,100,100", "10,20,nan,40,100,100", "90,90,50,50,100,100"]
    heading = "path,finding,left,top,width,height,scan_width,scan_height\n"
    (tmp_path / BOXES).write_text(heading + "".join(f"{path},covid,{row}\n" for row in rows))
    found = read_boxes("covid", tmp_path, records)[["left", "top", "right", "bottom"]]
    np.testing.assert_allclose(found, [[0, 0.2, 0.2, 0.6], [0.9, 0.9, 1, 1]])


def test_the_prepared_dataset_keeps_the_boxes_of_its_scans(phantom_source, tmp_path):
    prepare_dataset("covid", phantom_source("covid"), tmp_path / "prepared", size=32)
    kept = pd.read_parquet(tmp_path / "prepared" / "boxes.parquet")
    records = pd.read_parquet(tmp_path / "prepared" / "records.parquet")
    assert set(kept["scan"]) == set(records.loc[records["normal"] == 0, "scan"])
