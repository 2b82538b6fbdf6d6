"""The most confident errors of every model as pictures: the scan as published, as prepared, and under its heat map.

figures/errors_<dataset>.csv   one row per error, as failures.csv has them, with `explained` and `chosen`
figures/errors_<dataset>.webp  the pictures, in the order of the rows: three tiles per error, eight errors per line

If there are more errors than a page can hold, the most confident of each model and class are kept.
"""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from lungkeras.evaluation.failures import best_on_validation, confident_errors
from lungkeras.explanation import gallery
from lungkeras.explanation.gradcam import grad_cam, overlay
from lungkeras.preparation.folder import Prepared
from lungkeras.report.figures.files import webp
from lungkeras.study.runs import Run
from lungkeras.system.files import atomic, write_csv

TILE = 128  # pixels, where scans are not smaller
COLUMNS = 8  # errors in a line of the sheet
MOST = 360  # errors per dataset, since they are all on one page
PICTURES = 3  # of an error


def sheet_file(study: Path | str, dataset: str) -> Path:
    return Path(study) / "figures" / f"errors_{dataset}.webp"


def write_error_sheets(
    models: Mapping[str, object], runs: Mapping[str, Run], data: Mapping[str, Prepared], study: Path | str
) -> dict[str, pd.DataFrame]:
    """Writes the sheet of each dataset and its rows; returns {dataset: rows}. A dataset without an error has none.

    Args:
        models: {run: keras.Model} of every run in `runs`.
        data: {dataset: Prepared}.
    """
    written, chosen = {}, best_on_validation(runs)
    for dataset, prepared in data.items():
        errors = confident_errors({name: run for name, run in runs.items() if run.dataset == dataset})
        file = sheet_file(study, dataset)
        places = {scan: place for place, scan in enumerate(prepared.split("test")["scan"])}
        errors = errors[errors["scan"].isin(places)].sort_values("rank", kind="stable")[:MOST].sort_index()
        errors = errors.reset_index(drop=True)
        if errors.empty:
            file.unlink(missing_ok=True)
            file.with_suffix(".csv").unlink(missing_ok=True)
            continue
        # With exclusive classes the map explains the predicted class; with findings, the finding in question.
        explained = errors["predicted"] if prepared.task == "multiclass" else errors["class"]
        errors = errors.assign(explained=explained, chosen=errors["run"] == chosen.get(dataset))
        sheet = error_sheet(models, errors, prepared, errors["scan"].map(places).to_numpy())
        with atomic(file) as temporary:
            temporary.write_bytes(webp(sheet))
        write_csv(file.with_suffix(".csv"), errors)
        written[dataset] = errors
    return written


def error_sheet(
    models: Mapping[str, object], errors: pd.DataFrame, prepared: Prepared, places: np.ndarray
) -> np.ndarray:
    """RGB uint8 of all errors; `places` are those of their scans in the test split."""
    tile = min(prepared.size, TILE)
    sheet = np.zeros((-(-len(errors) // COLUMNS) * tile, COLUMNS * PICTURES * tile, 3), np.uint8)
    originals = {place: gallery.original(prepared, "test", place) for place in np.unique(places)}
    for run, own in errors.groupby("run", sort=False):
        scans = np.asarray(prepared.images["test"][places[own.index]])
        columns = [prepared.classes.index(name) for name in own["explained"]]
        maps = grad_cam(models[run], scans, columns)
        for at, scan, heat in zip(own.index, scans, maps, strict=True):
            top, left = tile * (at // COLUMNS), PICTURES * tile * (at % COLUMNS)
            shown = (originals[places[at]], scan, overlay(scan, heat))
            for place, picture in enumerate(shown):
                small = cv2.resize(picture, (tile, tile), interpolation=cv2.INTER_AREA)
                corner = left + place * tile
                sheet[top : top + tile, corner : corner + tile] = small if small.ndim == 3 else small[..., None]
    return sheet
