"""The boxes of a prepared folder, and the findings of a split that have some."""

from dataclasses import replace

import pandas as pd
import pytest
from prepared_data import boxes_of, prepared_of

from lungkeras.explanation.boxed_findings import boxed_findings, load_boxes
from lungkeras.system.errors import RunError


def test_boxes_are_those_of_the_prepared_folder(tmp_path):
    boxes = boxes_of(("test-0.png", "mass", 0.25, 0.0, 1.0, 0.5))
    boxes.to_parquet(tmp_path / "boxes.parquet", index=False)
    pd.testing.assert_frame_equal(load_boxes(tmp_path), boxes)
    with pytest.raises(RunError, match="Prepare the dataset again"):
        load_boxes(tmp_path / "nowhere")


def test_findings_are_those_of_the_split_in_the_order_of_its_scans_and_of_the_classes():
    prepared = prepared_of({"train": ["mass"], "val": [], "test": ["effusion mass", "effusion"]})
    boxes = boxes_of(
        ("test-1.png", "effusion", 0.3, 0.3, 0.5, 0.5),
        ("test-0.png", "mass", 0.0, 0.0, 1.0, 1.0),
        ("train-0.png", "mass", 0.0, 0.0, 1.0, 1.0),
        ("test-0.png", "effusion", 0.0, 0.6, 0.2, 0.8),
        ("test-0.png", "effusion", 0.5, 0.6, 0.7, 0.8),
    )
    findings = boxed_findings(prepared, boxes)
    assert findings[["scan", "class", "place", "patient"]].to_numpy().tolist() == [
        ["test-0.png", "effusion", 0, "test-0"],
        ["test-0.png", "mass", 0, "test-0"],
        ["test-1.png", "effusion", 1, "test-1"],
    ]
    assert [len(edges) for edges in findings["edges"]] == [2, 1, 1]
    assert findings["edges"][0].tolist() == [[0.0, 0.6, 0.2, 0.8], [0.5, 0.6, 0.7, 0.8]]


def test_boxes_of_absent_scans_and_classes_are_skipped():
    prepared = prepared_of({"train": ["mass"], "val": ["mass"], "test": ["mass"]})
    boxes = boxes_of(("test-0.png", "mass", 0, 0, 1, 1), ("gone.png", "mass", 0, 0, 1, 1))
    assert len(boxed_findings(prepared, boxes)) == 1
    assert boxed_findings(replace(prepared, classes=("effusion",)), boxes).empty
