"""Tables of a study as the report sets them: rows in groups, headings over columns, numbers ready to read.

A table is a dictionary for the template: `head`, two rows of {text, columns, rows}; `bodies`, groups of {title, rows},
where a row is a list of {text, number (aligned right), link, strong}. Nothing here is HTML: the template escapes.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from lungkeras import runtimes
from lungkeras.published import published
from lungkeras.runs import ABLATION
from lungkeras.style import backbone_title, decimal, heading, run_name_title, run_title
from lungkeras.tables import ALL_SCANS


@dataclass(frozen=True)
class Column:
    """A column of a CSV as the report shows it: `places` after the point (None: text), `over` groups its headings."""

    key: str
    title: str
    places: int | None = None
    over: str = ""


def count(value: float) -> str:
    """12345 -> "12,345"; a dash where there is none."""
    return "–" if pd.isna(value) else f"{value:,.0f}"


def anchor(run: str) -> str:
    """The id of a run's section: its name, without what an id or an address can't hold."""
    return "run-" + re.sub(r"[^\w.-]", "-", run)


def _text(value: object, places: int | None) -> str:
    if places is None:
        return "–" if pd.isna(value) else str(value)
    return count(value) if places == 0 else decimal(value, places)


def _head(columns: list[Column]) -> list[list[dict]]:
    """Two rows of headings: columns of one group stand under its title, others reach over both."""
    above, below = [], []
    for place, column in enumerate(columns):
        if not column.over:
            above.append({"text": column.title, "columns": 1, "rows": 2, "number": column.places is not None})
            continue
        if place == 0 or columns[place - 1].over != column.over:
            above.append({"text": column.over, "columns": 0, "rows": 1, "number": True})
        above[-1]["columns"] += 1
        below.append({"text": column.title, "columns": 1, "rows": 1, "number": True})
    if not below:
        above = [cell | {"rows": 1} for cell in above]
    return [row for row in (above, below) if row]


def grid(
    frame: pd.DataFrame,
    columns: list[Column],
    *,
    group: Callable[[pd.Series], str] = lambda row: "",
    link: Callable[[pd.Series], str] = lambda row: "",
    strong: Callable[[pd.Series], bool] = lambda row: False,
) -> dict:
    """A table for the template. The first column names the row, and may link; rows of one `group` stand together."""
    columns = [column for column in columns if column.key in frame]
    bodies: dict[str, list] = {}
    for _, row in frame.iterrows():
        cells = [
            {"text": _text(row[column.key], column.places), "number": column.places is not None} for column in columns
        ]
        cells[0]["link"] = link(row)
        cells[0]["strong"] = bool(strong(row))
        bodies.setdefault(group(row), []).append(cells)
    return {"head": _head(columns), "bodies": [{"title": title, "rows": rows} for title, rows in bodies.items()]}


def table_1(frame: pd.DataFrame) -> dict:
    """A group a dataset, a row a class."""
    frame = frame.assign(name=[_sentence(name) for name in frame["class"]])
    columns = [Column("name", "class"), *(Column(split, split, 0, "scans here") for split in ("train", "val", "test"))]
    columns += [Column("total", "all", 0, "scans here"), Column("published", "paper", 0)]
    return grid(frame, columns, group=lambda row: heading(row["dataset"]), strong=lambda row: row["class"] == ALL_SCANS)


def table_2(frame: pd.DataFrame) -> dict:
    """A row a backbone."""
    frame = frame.assign(name=frame["backbone"].map(backbone_title))
    operations = "multiply-accumulates (giga)"
    columns = [
        Column("name", "backbone"),
        Column("parameters_millions", "here", 1, "parameters (million)"),
        Column("published_parameters_millions", "paper", 1, "parameters (million)"),
        Column("layers", "here", 0, "layers"),
        Column("published_layers", "paper", 0, "layers"),
        Column("giga_operations_per_image", "one scan", 2, operations),
        Column("giga_operations", "32 scans", 1, operations),
        Column("published_giga_operations", "paper", 1, operations),
        Column("published_imagenet_top5", "ImageNet top-5 (%)", 1),
    ]
    return grid(frame, columns)


def devices(frame: pd.DataFrame) -> dict:
    """A group a run, a row a format."""
    titles = {"keras": "Keras"} | runtimes.TITLES
    names = [titles.get(row.format, row.format) + ", int8" * bool(row.int8) for row in frame.itertuples()]
    columns = [
        Column("name", "format"),
        Column("megabytes", "size (MB)", 1),
        Column("milliseconds", "milliseconds a scan", 1),
        Column("labels", "labels as Keras (%)", 1),
        Column("largest_difference", "largest difference of a probability", 4),
    ]
    return grid(
        frame.assign(name=names, labels=100 * frame["labels_agree"]),
        columns,
        group=lambda row: f"{heading(row['dataset'])}: {run_title(row['backbone'], row['weights'], scratch=True)}",
    )


def table_3(frame: pd.DataFrame) -> dict:
    """A group a dataset and one for the ablation, a row a run."""
    ablation = frame["run"].str.contains(ABLATION)
    best = frame[~ablation].groupby("dataset")["macro_f1"].transform("max").reindex(frame.index)
    names = [
        f"learning rate {row.learning_rate:g}" if ABLATION.search(row.run) else run_title(row.backbone, row.weights)
        for row in frame.itertuples()
    ]
    columns = [
        Column("name", "model"),
        Column("macro_f1", "here", 3, "macro F1"),
        Column("published_macro_f1", "paper", 3, "macro F1"),
        Column("macro_auroc", "macro AUROC", 3),
        Column("seconds_per_epoch", "here", 1, "seconds an epoch"),
        Column("published_seconds_per_epoch", "paper", 0, "seconds an epoch"),
        Column("best_epoch", "here", 0, "best epoch"),
        Column("published_best_epoch", "paper", 0, "best epoch"),
    ]
    return grid(
        frame.assign(name=names, best=frame["macro_f1"] == best),
        columns,
        group=lambda row: heading(row["dataset"]) + (", learning rates" if ABLATION.search(row["run"]) else ""),
        link=lambda row: "#" + anchor(row["run"]),
        strong=lambda row: row["best"],
    )


def baselines(frame: pd.DataFrame) -> dict:
    """A row a dataset."""
    frame = frame.assign(
        name=frame["dataset"].map(heading),
        model=[run_title(row.backbone, row.weights) for row in frame.itertuples()],
        paper=[run_name_title(run) if isinstance(run, str) else "–" for run in frame["published_run"]],
    )
    columns = [
        Column("name", "dataset"),
        Column("model", "best model here"),
        Column("macro_f1", "model", 3, "macro F1 here"),
        Column("linear_macro_f1", "linear", 3, "macro F1 here"),
        Column("difference", "difference", 3, "macro F1 here"),
        Column("paper", "best model, paper"),
        Column("published_macro_f1", "macro F1, paper", 3),
    ]
    return grid(frame, columns, link=lambda row: "#" + anchor(row["run"]))


def parity(frame: pd.DataFrame) -> dict:
    """A group a backbone, a row a backend."""
    differences = ("logits", "grey_levels", "losses")
    frame = frame.assign(**{key: frame[key].map("{:.1g}".format) for key in differences})
    columns = [
        Column("backend", "backend"),
        Column("reference", "beside"),
        Column("scans", "scans", 0),
        Column("logits", "logits", None, "largest difference"),
        Column("grey_levels", "grey levels", None, "largest difference"),
        Column("losses", "losses", None, "largest difference"),
        Column("steps", "training steps", 0),
    ]
    return grid(frame, columns, group=lambda row: backbone_title(row["backbone"]))


def per_class(scores: Mapping[str, Mapping[str, float]]) -> dict:
    """The scores of a run's classes."""
    frame = pd.DataFrame([{"name": _sentence(name), **values} for name, values in scores.items()])
    columns = [Column("name", "class")] + [
        Column(key, title, places)
        for key, title, places in (
            ("f1", "F1", 3), ("precision", "precision", 3), ("recall", "recall", 3), ("auroc", "AUROC", 3),
            ("support", "test scans", 0),
        )
    ]  # fmt: skip
    return grid(frame.astype({key: float for key in frame if key != "name"}), columns)


def settings(ours: Mapping[str, object], datasets: list[str]) -> dict:
    """A row a setting, with the paper's where it has one."""
    paper = {key: value for key, value in published()["training"].items() if not isinstance(value, dict)}
    sizes = [published()["datasets"][name]["image_size"] for name in datasets if name in published()["datasets"]]
    paper["image_size"] = ", ".join(map(str, dict.fromkeys(sizes)))
    rows = [
        {"name": key.replace("_", " "), "here": _plain(value), "paper": _plain(paper.get(key))}
        for key, value in ours.items()
    ]
    return grid(pd.DataFrame(rows), [Column("name", "setting"), Column("here", "here"), Column("paper", "paper")])


def pairs(values: Mapping[str, object], names: tuple[str, str]) -> dict:
    """A row a key and its value."""
    rows = pd.DataFrame([{"name": str(key), "value": _plain(value)} for key, value in values.items()])
    return grid(rows, [Column("name", names[0]), Column("value", names[1])])


def _plain(value: object) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(entry)}" for key, entry in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _sentence(name: str) -> str:
    return name if name == ALL_SCANS else heading(name)
