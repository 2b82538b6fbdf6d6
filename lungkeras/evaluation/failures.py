"""Where models are wrong and sure of it: the errors of the test split, the most confident first.

How sure an answer is, is its calibrated probability (`temperature`): that of the logits without the weights
of the loss, over the temperatures which the validation split gives.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lungkeras.datasets.registry import title
from lungkeras.evaluation.calibration import calibrated
from lungkeras.report.figures import panels
from lungkeras.report.figures.files import save_figure
from lungkeras.report.figures.style import decimal, heading, run_name_title, styled, wrapped
from lungkeras.scores import metrics
from lungkeras.study.runs import Run, main_runs, split_of
from lungkeras.training.pipeline import Prepared

MOST = 12  # errors of a class
MISSED, CALLED = "missed", "called"
COLUMNS = ["run", "dataset", "class", "rank", "error", "scan", "patient", "true", "predicted", "probability", "sure"]
COUNT_COLUMNS = ["run", "dataset", "class", "scans", "missed", "called", "mostly_called"]
IN_LINE = {"multiclass": 6, "multilabel": 12}  # panels of a gallery: the words of the latter are shorter


def confident_errors(runs: Mapping[str, Run], most: int = MOST) -> pd.DataFrame:
    """The most confident errors of each run and class on its test split, the surest first, with COLUMNS.

    error        missed: the scan has the class and was not given it; called (multilabel alone): the other way round
    true         the scan's classes, joined by "|"; predicted: those that it was given
    probability  calibrated, of the class that was predicted (multiclass) or of the class in question (multilabel)
    sure         how sure the wrong answer is: `probability`, and 1 less it where a multilabel class was missed

    A run whose probabilities are no numbers has no row.
    """
    parts = [_errors(run, most) for run in runs.values()]
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def _errors(run: Run, most: int) -> pd.DataFrame:
    labels, raw = split_of(run, "test")
    if not np.isfinite(raw).all():
        return pd.DataFrame(columns=COLUMNS)
    given = calibrated(run, "test").astype(np.float64)
    decided = metrics.decide(raw, run.task)
    scans = run.predictions[run.predictions["split"] == "test"].reset_index(drop=True)
    rows = []
    for column, name in enumerate(run.classes):
        if run.task == "multiclass":
            probability = sure = (given * decided).sum(axis=1)
            wrong = (labels[:, column] == 1) & (decided[:, column] == 0)
        else:
            probability = given[:, column]
            sure = np.where(decided[:, column] == 1, probability, 1 - probability)
            wrong = labels[:, column] != decided[:, column]
        places = np.flatnonzero(wrong)
        places = places[np.argsort(-sure[places], kind="stable")][:most]
        for rank, place in enumerate(places, start=1):
            about = {"run": run.name, "dataset": run.dataset, "class": name, "rank": rank}
            about |= {"error": MISSED if labels[place, column] else CALLED, "scan": scans["scan"][place]}
            about |= {"patient": scans["patient"][place] if "patient" in scans else ""}
            about |= {"true": _names(run, labels[place]), "predicted": _names(run, decided[place])}
            rows.append(about | {"probability": probability[place], "sure": sure[place]})
    return pd.DataFrame(rows, columns=COLUMNS)


def _names(run: Run, chosen: np.ndarray) -> str:
    return "|".join(name for name, is_so in zip(run.classes, chosen, strict=True) if is_so)


def error_counts(runs: Mapping[str, Run]) -> pd.DataFrame:
    """How many errors each run makes of each class on its test split, with COUNT_COLUMNS.

    `scans` have the class; `missed` of them were not given it, and `called` are those that were given it wrongly. Of a
    multiclass run `mostly_called` is the class that most of those missed were given. A run whose probabilities are no
    numbers has no row.
    """
    rows = []
    for run in runs.values():
        labels, raw = split_of(run, "test")
        if not np.isfinite(raw).all():
            continue
        decided = metrics.decide(raw, run.task)
        for column, name in enumerate(run.classes):
            has, gets = labels[:, column] == 1, decided[:, column] == 1
            instead = decided[has & ~gets].sum(axis=0)
            mostly = run.classes[instead.argmax()] if run.task == "multiclass" and instead.any() else ""
            counted = {"scans": has.sum(), "missed": (has & ~gets).sum(), "called": (~has & gets).sum()}
            about = {"run": run.name, "dataset": run.dataset, "class": name}
            rows.append(about | {key: int(value) for key, value in counted.items()} | {"mostly_called": mostly})
    return pd.DataFrame(rows, columns=COUNT_COLUMNS)


def best_on_validation(runs: Mapping[str, Run]) -> dict[str, str]:
    """{dataset: its run of the highest macro F1 on the validation split}, the ablation and repeats left out."""
    best: dict[str, tuple[float, str]] = {}
    for name, run in main_runs(runs).items():
        score = np.nan_to_num(metrics.macro_f1(*split_of(run, "val"), run.task), nan=-1.0)
        if run.dataset not in best or score > best[run.dataset][0]:
            best[run.dataset] = (score, name)
    return {dataset: name for dataset, (_, name) in best.items()}


def write_galleries(runs: Mapping[str, Run], datasets: Mapping[str, Prepared], folder: Path | str) -> dict[str, Figure]:
    """Saves figures/failures_<dataset> of each dataset's best run on validation; returns the figures by dataset.

    A dataset without such an error has none, and an earlier one is removed.
    """
    figures = {}
    for dataset, name in best_on_validation(runs).items():
        errors = confident_errors({name: runs[name]})
        shown = scans_of(errors, datasets[dataset])
        file = f"failures_{dataset}"
        if shown:
            figures[dataset] = gallery(shown, runs[name])
            save_figure(figures[dataset], Path(folder) / "figures", file, data=errors)
        else:
            for kind in ("png", "svg", "csv"):
                (Path(folder) / "figures" / f"{file}.{kind}").unlink(missing_ok=True)
    return figures


def scans_of(errors: pd.DataFrame, prepared: Prepared) -> dict[str, list[tuple[np.ndarray, str]]]:
    """{class: [(test scan uint8 (H, W), words under it)]} of one run's `confident_errors`, in their order."""
    places = {scan: place for place, scan in enumerate(prepared.split("test")["scan"])}
    shown: dict[str, list] = {}
    for row in errors.to_dict("records"):
        if row["scan"] in places:
            image = np.asarray(prepared.images["test"][places[row["scan"]]])
            shown.setdefault(row["class"], []).append((image, _words(row, prepared.task)))
    return shown


def _words(row: Mapping, task: str) -> str:
    sure = decimal(row["probability"], 2)
    return f"{row['error']}, {sure}" if task == "multilabel" else f"called {title(row['predicted'])}, {sure}"


@styled
def gallery(shown: Mapping[str, list[tuple[np.ndarray, str]]], run: Run) -> Figure:
    """A line or two a true class: the scans that `scans_of` gives, surest first, with what the run says below each."""
    columns = IN_LINE[run.task]
    lines = {name: -(-len(scans) // columns) for name, scans in shown.items()}
    panel = 10 / columns
    heights = [0.3 + count * (panel + (0.42 if columns <= 6 else 0.12)) for count in lines.values()]
    figure = Figure(figsize=(10, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(shown), 1, squeeze=False, height_ratios=heights).flat
    for part, (name, scans) in zip(parts, shown.items(), strict=True):
        words = f"{heading(name)}, missed or called" if run.task == "multilabel" else f"True class: {title(name)}"
        part.suptitle(words, x=0.01, ha="left", weight="bold", fontsize=10.5)
        for place, ax in enumerate(part.subplots(lines[name], columns, squeeze=False).flat):
            ax.set_axis_off()
            if place < len(scans):
                ax.set_axis_on()
                panels.show(ax, scans[place][0])
                ax.set_xlabel(wrapped(scans[place][1], 22 if columns <= 6 else 12), fontsize=8 if columns <= 6 else 6.5)
    counted = "; ".join(f"{title(name)}: {len(scans)}, the surest {scans[0][1]}" for name, scans in shown.items())
    figure.set_label(f"{heading(run.dataset)}, {run_name_title(run.name)}, its surest errors. {counted}.")
    return figure
