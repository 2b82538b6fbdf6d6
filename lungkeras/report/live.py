"""Data for the page's script, which redraws saved figures: values on curves, scans behind points, a wall of errors.

Everything is JSON in an attribute, with rounded numbers; without a script, and on paper, the saved figure is shown.
"""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.datasets.registry import title
from lungkeras.preparation.folder import load_prepared
from lungkeras.report.figures.errors import COLUMNS, PICTURES, sheet_file
from lungkeras.report.figures.style import class_style, run_colour, themed
from lungkeras.report.grid import anchor
from lungkeras.report.live_explanations import cascade, pointing
from lungkeras.report.pictures import data_uri, thumbnails
from lungkeras.scores import metrics
from lungkeras.scores.divergence import best_epoch
from lungkeras.study.figure_names import figure_name
from lungkeras.study.words import heading, run_name_title, run_title
from lungkeras.system.errors import RunError
from lungkeras.system.untrusted import table_files

LARGEST_SHEET = 3_000_000  # bytes
# If a table is missing or has another form, the saved figure is unchanged.
NOT_OURS = (OSError, KeyError, IndexError, AttributeError, TypeError, ValueError, RunError)
MOST_POINTS = 600  # of a t-SNE panel, and scans of a dataset on the sheet of thumbnails
CURVES = {"figure_03": "weights", "figure_04": "weights", "figure_09": "rate"}
RATE_COLOURS = ["#440154", "#3b528b", "#21918c", "#5ec962", "#b5a900"]


def live(folder: Path, datasets: Mapping[str, Mapping]) -> tuple[dict[str, str], dict[str, dict]]:
    """({figure: JSON for the script}, {sheet: {uri, columns}}) from a study's folder and its datasets.

    `datasets` are the facts of each by name; a dataset that is not available has no thumbnails.
    """
    drawn, sheets = {}, {}
    for name, by in CURVES.items():
        with suppress(*NOT_OURS):
            drawn[name] = _curves(_csv(folder / "figures" / f"{name}.csv"), by)
    redraw = {"figure_10": _rates, "reliability": reliability, "pointing": pointing, "cascade": cascade}
    for name, redrawn in redraw.items():
        with suppress(*NOT_OURS):
            drawn[name] = redrawn(_csv(folder / "figures" / f"{name}.csv"))
    for dataset, facts in datasets.items():
        with suppress(*NOT_OURS):
            name = figure_name("embeddings", dataset)
            points = _csv(folder / "figures" / f"{name}.csv")
            drawn[name], shown = _embedding(folder, dataset, points, facts)
            sheets[f"scans-{dataset}"] = thumbnails(load_prepared(facts["folder"]).images["test"][shown])
        with suppress(*NOT_OURS):
            sheet = sheet_file(folder, dataset)
            wall = _wall(dataset, _csv(sheet.with_suffix(".csv")))
            if sheet.stat().st_size <= LARGEST_SHEET:
                sheets[f"errors-{dataset}"] = {
                    "uri": data_uri(sheet.read_bytes(), "webp"),
                    "columns": COLUMNS * PICTURES,
                }
                drawn[f"failures_{dataset}"] = wall
    return {name: as_attribute(data) for name, data in drawn.items()}, sheets


def as_attribute(data: Mapping) -> str:
    """JSON for an attribute of a page: four significant digits, null for NaN and infinity."""
    return json.dumps(_finite(data), separators=(",", ":"))


def _csv(file: Path) -> pd.DataFrame:
    """The data of a figure. Raises OSError if there is no such file, ValueError if it has no row."""
    table = table_files.read_csv(file)
    if table.empty:
        raise ValueError(f"{file} has no row")
    return table


def _finite(data: object) -> object:
    """The same with None for NaN and infinity, and four significant digits."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_finite(value) for value in data]
    if isinstance(data, float | np.floating):
        return float(f"{data:.4g}") if math.isfinite(data) else None
    return int(data) if isinstance(data, np.integer) else data


def _curves(histories: pd.DataFrame, by: str) -> dict:
    panels = []
    rates = sorted(histories["rate"].dropna().unique()) if "rate" in histories else []
    for dataset, own in histories.groupby("dataset", sort=False):
        for key, words in (("macro_f1", "macro F1"), ("loss", "loss (nats)")):
            lines = []
            for run, curve in own.groupby("run", sort=False):
                first = curve.iloc[0]
                if by == "rate":
                    colour = _rate_colour(rates, first["rate"])
                    name = f"learning rate {first['rate']:g}"
                else:
                    colour = themed(run_colour(first["backbone"], first["weights"]))
                    name = run_title(first["backbone"], first["weights"])
                about = {"name": name, "colour": colour, "run": anchor(run), "best": best_epoch(curve)}
                about |= {"x": curve["epoch"].tolist()}
                lines.append(about | {"y": curve[f"val_{key}"].tolist(), "train": curve[key].tolist()})
            panels.append({"title": f"{heading(dataset)}: {words}", "unit": key == "macro_f1", "lines": lines})
    return {"kind": "curves", "x": "epoch", "panels": panels}


def _rate_colour(rates: list[float], rate: float) -> str:
    return themed(RATE_COLOURS[rates.index(rate) % len(RATE_COLOURS)])


def _rates(results: pd.DataFrame) -> dict:
    """The scores of figure 10, in the colours of figure 9."""
    rates, panels = sorted(results["rate"].unique()), []
    for dataset, own in results.sort_values("rate", kind="stable").groupby("dataset", sort=False):
        bars = [
            {"name": f"{row['rate']:g}", "colour": _rate_colour(rates, row["rate"]), "y": row["macro_f1"]}
            | {"low": row.get("macro_f1_low"), "high": row.get("macro_f1_high"), "epoch": row.get("best_epoch")}
            for row in own.to_dict("records")
        ]
        panels.append({"title": heading(dataset), "bars": bars})
    return {"kind": "bars", "x": "initial learning rate", "y": "test macro F1", "panels": panels}


def reliability(points: pd.DataFrame) -> dict:
    """A panel per run: confidence against the share of answers that is correct, as trained and corrected."""
    panels = []
    for run, own in points.groupby("run", sort=False):
        first = own.iloc[0]
        words = f"{heading(first['dataset'])}: {run_name_title(run)}"
        colour = themed(run_colour(first["backbone"], first["weights"]))
        panels.append(reliability_panel(words, own, colour, "as trained") | {"run": anchor(run)})
    return {"kind": "reliability", "x": "confidence", "y": "share correct", "panels": panels}


def reliability_panel(words: str, points: pd.DataFrame, colour: str, given: str) -> dict:
    """The lines of one model: what is `given` in grey, what is corrected in its colour."""
    lines = [
        {"name": "corrected" if scaled else given, "colour": colour if scaled else ""}
        | {"x": drawn["confidence"].tolist(), "y": drawn["share"].tolist(), "n": drawn["answers"].tolist()}
        for scaled, drawn in points.groupby("scaled")
    ]
    return {"title": words, "unit": True, "lines": lines}


def _embedding(folder: Path, dataset: str, points: pd.DataFrame, facts: Mapping) -> tuple[dict, np.ndarray]:
    """The panels of a dataset's t-SNE, and the places of the test scans that they show."""
    classes = [str(name) for name in facts.get("classes") or dict.fromkeys(points["label"])]
    count = int(points.groupby("run", sort=False).size().max())
    shown = np.linspace(0, count - 1, min(count, MOST_POINTS)).astype(int)
    panels, scans = [], []
    for run, own in points.groupby("run", sort=False):
        if len(own) != count:
            continue
        predictions, decided, confidence = _answers(folder / "runs" / run, classes, count)
        scans = scans or ([] if predictions is None else predictions["scan"].iloc[shown].tolist())
        xy = own[["x", "y"]].to_numpy(float)
        spread = np.ptp(xy, axis=0)
        xy = np.rint(1000 * (xy - xy.min(axis=0)) / np.where(spread > 0, spread, 1)).astype(int)[shown]
        panel = {"title": run_name_title(run), "run": anchor(run), "x": xy[:, 0].tolist(), "y": xy[:, 1].tolist()}
        if predictions is not None:
            panel |= {
                "predicted": decided[shown].tolist(),
                "confidence": np.rint(100 * confidence[shown]).astype(int).tolist(),
            }
            labels = predictions[[f"label_{name}" for name in classes]].to_numpy(int)
            panel["matrix"] = metrics.confusion(labels, np.eye(len(classes))[decided], classes).to_numpy().tolist()
        panels.append(panel)
    places = {name: place for place, name in enumerate(classes)}
    labels = points[points["run"] == points["run"].iloc[0]]["label"].map(places).fillna(0).astype(int).to_numpy()
    looks = [class_style(name, place) for place, name in enumerate(classes)]
    named = [
        {"name": title(name), "colour": themed(look[0]), "marker": look[1]}
        for name, look in zip(classes, looks, strict=True)
    ]
    data = {"kind": "embedding", "sheet": f"scans-{dataset}", "classes": named, "scans": scans, "all": count}
    return data | {"labels": labels[shown % len(labels)].tolist(), "panels": panels}, shown


def _answers(run: Path, classes: list[str], count: int):
    """(predictions of the test split, the likeliest class (scans,), its probability (scans,)); (None,) * 3 without."""
    file = run / "predictions.parquet"
    columns = [f"probability_{name}" for name in classes]
    predictions = table_files.read_parquet(file) if file.is_file() else pd.DataFrame()
    if not {"split", "scan", *columns} <= {*predictions}:
        return None, None, None
    test = predictions[predictions["split"] == "test"]
    given = np.nan_to_num(test[columns].to_numpy(float))
    return (test, given.argmax(axis=1), given.max(axis=1)) if len(test) == count else (None, None, None)


def _wall(dataset: str, errors: pd.DataFrame) -> dict:
    """The errors of a dataset in the order of their sheet."""
    runs, classes = (list(dict.fromkeys(errors[key])) for key in ("run", "class"))
    rows = [
        [runs.index(row["run"]), classes.index(row["class"]), row["error"], _titles(row["true"]),
         _titles(row["predicted"]), row["probability"], row["scan"], title(row["explained"])]
        for row in errors.to_dict("records")
    ]  # fmt: skip
    named = [{"name": run_name_title(run), "run": anchor(run)} for run in runs]
    chosen = errors.loc[errors["chosen"].astype(bool), "run"]
    data = {"kind": "wall", "sheet": f"errors-{dataset}", "runs": named, "classes": [heading(name) for name in classes]}
    return data | {"rows": rows, "chosen": runs.index(chosen.iloc[0]) if len(chosen) else -1}


def _titles(names: object) -> str:
    return ", ".join(map(title, names.split("|"))) if isinstance(names, str) and names else "nothing"
