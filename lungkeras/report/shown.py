"""What a notebook shows of a run, a table of records, a prepared dataset or a prediction."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lungkeras.datasets.registry import class_columns, title
from lungkeras.datasets.scans.workers import decoders
from lungkeras.evaluation.summaries import class_counts
from lungkeras.explanation.gradcam import overlay
from lungkeras.prediction.one_scan import Prediction, SimilarAnswers
from lungkeras.preparation.folder import Prepared
from lungkeras.report.display import Picture, Shown, Table, figure_picture, scan_picture
from lungkeras.report.figures import panels
from lungkeras.report.figures.style import run_colour, styled
from lungkeras.splits import SPLITS
from lungkeras.study.runs import Run
from lungkeras.study.words import decimal, heading, run_name_title
from lungkeras.system.errors import ParamsError, ScanError
from lungkeras.system.text import printable
from lungkeras.system.untrusted import table_files

TILE = 72  # pixels of a thumbnail
THUMBNAILS = 12


def show(thing: Run | Prepared | Prediction | pd.DataFrame, source: Path | str | None = None) -> Shown:
    """A run, a prepared dataset, a prediction or a table of records, as a notebook shows it.

    The first three show themselves as a cell's last value. A table of records does here, with thumbnails where
    `source`, the folder that it was read from, is given. `show(thing).html` is the same as text. Raises ParamsError for
    anything else.
    """
    if isinstance(thing, pd.DataFrame):
        return of_records(thing, source)
    for kind, drawn in {Run: of_run, Prepared: of_prepared, Prediction: of_prediction}.items():
        if isinstance(thing, kind):
            return drawn(thing)
    raise ParamsError(
        f"thing: expected a run, a prepared dataset, a prediction or a table of records, received a "
        f"{type(thing).__name__}; give one of these"
    )


def html(thing: object) -> str:
    """What IPython shows of an object."""
    return show(thing).html


def of_run(run: Run) -> Shown:
    """Its scores by split and by class, and its curves."""
    scored = [split for split in SPLITS if split in run.metrics]
    lines = [f"{len(run.classes)} classes, {run.task}"]
    if "best_epoch" in run.metrics:
        lines.append(f"best epoch {decimal(run.best_epoch, 0)} of {len(run.history)}")
        if run.diverged == run.diverged:
            lines.append(f"diverged in epoch {decimal(run.diverged, 0)}")
    tables = []
    if scored:
        scores = [
            [split, f"{run.metrics[split]['scans']:,}"]
            + [decimal(run.metrics[split][name], 3) for name in ("macro_f1", "macro_auroc", "loss")]
            for split in scored
        ]
        tables.append(Table("Scores", ("split", "scans", "macro F1", "macro AUROC", "loss (nats)"), scores))
    if "test" in scored:
        names = ("f1", "precision", "recall", "auroc")
        rows = [
            [title(name), f"{own['support']:,}", *(decimal(own[score], 3) for score in names)]
            for name, own in run.metrics["test"]["per_class"].items()
        ]
        tables.append(Table("Test split", ("class", "scans", "F1", "precision", "recall", "AUROC"), rows))
    pictures = [figure_picture(_curves(run))] if len(run.history) else []
    name = f"{heading(run.dataset)}: {run_name_title(run.name)}"
    return Shown(printable(name), lines, pictures, tables)


@styled
def _curves(run: Run) -> Figure:
    figure = Figure(figsize=(6.6, 2.3), layout="constrained")
    colour = run_colour(run.params.get("backbone", ""), run.weights if "weights" in run.params else "random")
    for ax, (metric, name) in zip(
        figure.subplots(1, 2), {"loss": "loss (nats)", "macro_f1": "macro F1"}.items(), strict=True
    ):
        panels.curve(ax, run.history, metric, colour)
        ax.set(xlabel="epoch", ylabel=name)
    panels.loss_scale(figure.axes[0], run.history)
    last = run.history.iloc[-1]
    figure.set_label(
        f"Loss and macro F1 by epoch, training dashed, validation solid. After epoch {last['epoch']:.0f}: validation "
        f"loss {decimal(last['val_loss'], 3)}, macro F1 {decimal(last['val_macro_f1'], 3)}."
    )
    return figure


def of_prepared(prepared: Prepared) -> Shown:
    """Its counts by split and class, the steps of the selection, and thumbnails of its training split."""
    lines = [
        f"{len(prepared.classes)} classes, {prepared.task}; {prepared.size} × {prepared.size} pixels",
        f"training split: grey level {decimal(prepared.mean, 1)} ± {decimal(prepared.std, 1)}",
    ]
    lines += ["drawn phantoms, no patients"] if prepared.drawn else []
    records = prepared.records.copy(deep=False)
    records.attrs["classes"] = list(prepared.classes)
    tables = [_counts(records)]
    flow = _flow(prepared)
    if flow is not None:
        rows = [[printable(row["step"]), f"{row['scans']:,}"] for row in flow.to_dict("records")]
        tables.append(Table("Selection", ("step", "scans"), rows))
    train = prepared.split("train")
    places = _examples(train, prepared.classes)
    scans = [np.asarray(prepared.images["train"][place]) for place in places]
    return Shown(heading(prepared.name), lines, _strip(scans, [_labels(train, prepared.classes, at) for at in places]),
                 tables)  # fmt: skip


def of_records(records: pd.DataFrame, source: Path | str | None = None) -> Shown:
    """Its counts by class, and by split where it has splits; thumbnails where their source is given."""
    classes = class_columns(records)
    name = records.attrs.get("dataset", "")
    flow = records.attrs.get("flow", [])
    tables = [_counts(records)]
    if flow:
        tables.append(Table("Selection", ("step", "scans"), [[printable(step), f"{scans:,}"] for step, scans in flow]))
    lines = [f"{len(records):,} scans, {len(classes)} classes"]
    if "patient" in records:
        lines[0] += f", {records['patient'].nunique():,} patients"
    pictures = []
    if source is not None and "path" in records:
        rows = records.reset_index(drop=True)
        scans, labels = [], []
        with decoders(1) as decode:
            for place in _examples(rows, classes):
                path = Path(rows["path"][place])
                if path.is_absolute() or ".." in path.parts:  # it is outside the source
                    continue
                try:
                    scans.append(decode(Path(source) / path))
                except ScanError:
                    continue
                labels.append(_labels(rows, classes, place))
        pictures = _strip(scans, labels)
    return Shown(f"Records of {heading(name)}" if name else "Records", lines, pictures, tables)


def of_prediction(prediction: Prediction) -> Shown:
    """The scan beside its heat map, the probabilities, and how often similar answers were correct."""
    named = ", ".join(title(name) for name in prediction.predicted) or "none of the classes"
    lines = [f"{prediction.model}: {named}"]
    if prediction.similar:
        lines.append(similar_text(prediction.similar, prediction.task, prediction.explained))
    pictures = [scan_picture(prediction.scan, "The scan as prepared", "prepared")]
    if prediction.heat_map is not None:
        about = title(prediction.explained)
        covered = overlay(prediction.scan, prediction.heat_map)
        pictures.append(scan_picture(covered, f"Grad-CAM for {about} over the scan", f"Grad-CAM: {about}"))
    rows = [
        [title(name), decimal(calibrated, 3), decimal(given, 3)]
        for name, calibrated, given in zip(prediction.classes, prediction.probabilities, prediction.given, strict=True)
    ]
    return Shown(
        prediction.file,
        lines,
        pictures,
        [Table("Probabilities", ("class", "calibrated", "as the model gives it"), rows)],
    )


def similar_text(similar: SimilarAnswers, task: str, name: str) -> str:
    """How often answers with similar confidence were correct, as a sentence."""
    span = "no interval, for fewer than two patients"
    if similar.low == similar.low:
        span = f"95 % interval {100 * similar.low:.0f} to {100 * similar.high:.0f} %"
    bounds = f"{similar.least:.2f} to {similar.most:.2f}"
    if task == "multilabel":
        return (
            f"Of {similar.scans:,} test scans with a probability of {title(name)} of {bounds}, "
            f"{100 * similar.fraction_correct:.0f} % have it ({span})."
        )
    return (
        f"Of {similar.scans:,} test scans that were answered with similar confidence ({bounds}), "
        f"{100 * similar.fraction_correct:.0f} % were answered correctly ({span})."
    )


def names_of(row: Sequence[float], classes: Sequence[str], none: str = "none") -> str:
    """The titles of the classes whose label in `row` is 1."""
    return ", ".join(title(name) for name, label in zip(classes, row, strict=True) if label == 1) or none


def _labels(records: pd.DataFrame, classes: Sequence[str], place: int) -> str:
    return names_of(records.loc[place, list(classes)].tolist(), classes)


def _examples(records: pd.DataFrame, classes: Sequence[str]) -> list[int]:
    """Places of at most THUMBNAILS scans, class by class, equally many of each."""
    chosen: dict[int, None] = {}
    for name in classes:
        holders = [place for place in np.flatnonzero(records[name].to_numpy() == 1) if place not in chosen]
        chosen |= dict.fromkeys(int(place) for place in holders[: max(THUMBNAILS // max(len(classes), 1), 1)])
    return list(chosen)[:THUMBNAILS]


def _strip(scans: Sequence[np.ndarray], labels: Sequence[str]) -> list[Picture]:
    """A picture of each scan, labelled."""
    return [
        scan_picture(scan, f"A scan: {label}", label if place == 0 or label != labels[place - 1] else "", TILE)
        for place, (scan, label) in enumerate(zip(scans, labels, strict=True))
    ]


def _counts(records: pd.DataFrame) -> Table:
    """Scans of each class in each split and in all."""
    known = records if "split" in records else records.assign(split="scans")
    known = known if "patient" in known else known.assign(patient=known["scan"])
    known.attrs = records.attrs
    counts = class_counts(known)
    counts = counts if "split" in records else counts.drop(columns="all")
    counts = counts if "patient" in records else counts.drop(index="patients")
    rows = [[printable(name), *(f"{number:,}" for number in row)] for name, row in counts.iterrows()]
    return Table("Scans of each class", ("class", *map(printable, counts.columns)), rows)


def _flow(prepared: Prepared) -> pd.DataFrame | None:
    """The steps of the selection, as they lie beside the arrays; None where no folder was opened."""
    file = getattr(prepared.images.get("train"), "filename", None)
    try:
        flow = table_files.read_csv(Path(file).with_name("flow.csv")) if file else None
    except (OSError, ValueError):
        return None
    return flow if flow is not None and {"step", "scans"} <= set(flow.columns) else None
