"""The sheet of confident errors: its rows are those of the table, its tiles the scan, its source and its map."""

import numpy as np
import pandas as pd
from PIL import Image
from prepared_data import CLASSES, SIZE, write_prepared

from lungkeras.preparation.folder import load_prepared
from lungkeras.report.figures import errors
from lungkeras.report.pictures import COLUMNS, thumbnails
from lungkeras.study.runs import Run


def run_of(prepared) -> Run:
    """A run that takes two scans of normal for viral pneumonia, and is right elsewhere."""
    parts = []
    for split in ("val", "test"):
        labels = prepared.labels(split).astype(int)
        given = 0.1 + 0.7 * labels
        wrong = np.flatnonzero(labels[:, 2])[:2]
        given[wrong] = [[0.1, 0.85, 0.05], [0.1, 0.9, 0.0]]
        table = prepared.split(split)[["scan", "patient", "split"]]
        for column, name in enumerate(CLASSES):
            table = table.assign(**{f"label_{name}": labels[:, column], f"probability_{name}": given[:, column]})
        parts.append(table)
    params = {"dataset": "pneumonia", "backbone": "resnet34", "weights": "random", "learning_rate": 0.01}
    predictions = pd.concat(parts, ignore_index=True)
    return Run(
        "pneumonia-resnet34-random", params, pd.DataFrame(), predictions, {"best_epoch": 1}, CLASSES, "multiclass"
    )


def test_a_sheet_holds_source_scan_and_map_of_each_error(tmp_path, monkeypatch):
    prepared = load_prepared(write_prepared(tmp_path / "prepared"))
    run, asked = run_of(prepared), []

    def all_warm(model, scans, columns):
        asked.extend(columns)
        return np.ones(scans.shape)

    monkeypatch.setattr(errors, "grad_cam", all_warm)
    written = errors.write_error_sheets({run.name: None}, {run.name: run}, {"pneumonia": prepared}, tmp_path)
    table = written["pneumonia"]
    assert asked == [1, 1] and table["explained"].tolist() == ["viral_pneumonia"] * 2 and table["chosen"].all()
    assert table["probability"].is_monotonic_decreasing
    with Image.open(errors.sheet_file(tmp_path, "pneumonia")) as picture:
        sheet = np.asarray(picture.convert("RGB")).astype(int)
    assert sheet.shape == (SIZE, errors.COLUMNS * errors.PICTURES * SIZE, 3)
    scan = prepared.images["test"][prepared.split("test").index[prepared.split("test")["scan"] == table["scan"][0]][0]]
    tiles = [sheet[:, place * SIZE : (place + 1) * SIZE] for place in range(3)]
    assert (
        abs(tiles[1].mean() - scan.mean()) < 8 and abs(tiles[0].mean() - scan.mean()) < 8
    )  # no source: the scan itself
    assert tiles[2][..., 0].mean() > tiles[2][..., 2].mean() + 20  # warm


def test_a_dataset_without_errors_loses_its_sheet(tmp_path):
    prepared = load_prepared(write_prepared(tmp_path / "prepared"))
    run = run_of(prepared)
    right = run.predictions.assign(**{f"probability_{name}": run.predictions[f"label_{name}"] for name in CLASSES})
    run = Run(run.name, run.params, run.history, right, run.metrics, run.classes, run.task)
    old = errors.sheet_file(tmp_path, "pneumonia")
    old.parent.mkdir()
    old.write_bytes(b"")
    assert errors.write_error_sheets({}, {run.name: run}, {"pneumonia": prepared}, tmp_path) == {} and not old.exists()


def test_thumbnails_stand_row_by_row():
    scans = np.stack([np.full((32, 32), 10 * place, np.uint8) for place in range(COLUMNS + 1)])
    sheet = thumbnails(scans)
    assert sheet["columns"] == COLUMNS and sheet["uri"].startswith("data:image/webp;base64,")
