"""The study's tables in the report, under the names of their CSVs, and the small tables of a run."""

from collections.abc import Mapping

import pandas as pd

from lungkeras.evaluation.comparison import not_significantly_different
from lungkeras.evaluation.paper.tables import ALL_SCANS
from lungkeras.evaluation.paper.truth import VERDICTS
from lungkeras.prediction import runtimes
from lungkeras.report.grid import NUMBER, UNDEFINED, Column, anchor, grid, spanned, table
from lungkeras.study.runs import ABLATION, REPEAT
from lungkeras.study.words import backbone_title, heading, run_name_title, run_title

BASELINES = {
    "majority": "always the most frequent class",
    "every class": "every finding on every scan",
    "metadata": "age, sex, view, follow-up, scanner and readers alone",
    "linear": "linear model on the pixels",
}


@table
def table_1(frame: pd.DataFrame) -> dict:
    """One group per dataset, one row per class."""
    frame = frame.assign(name=[_sentence(name) for name in frame["class"]])
    columns = [Column("name", "class"), *(Column(split, split, 0, "scans here") for split in ("train", "val", "test"))]
    columns += [Column("total", "all", 0, "scans here"), Column("published", "paper", 0)]
    columns += [Column(name, name, 0, "labels not known") for name in ("uncertain", "blank")] + [
        Column("policy", "policy")
    ]
    return grid(frame, columns, group=lambda row: heading(row["dataset"]), strong=lambda row: row["class"] == ALL_SCANS)


@table
def datasheets(frame: pd.DataFrame) -> dict:
    """One group per dataset, one row per question."""
    columns = [Column("question", "question"), Column("answer", "answer")]
    return grid(frame, columns, group=lambda row: heading(row["dataset"]))


def without_published(frame: pd.DataFrame) -> pd.DataFrame:
    """A table of a study without a collection of the paper: without the columns of published numbers."""
    beside = ["interval_holds_published", *(["difference"] if "published_weights" in frame else [])]
    return frame.drop(columns=[name for name in frame if name.startswith("published") or name in beside])


def plain_table(frame: pd.DataFrame) -> dict:
    """The layout of a table without a function of its own: a group per dataset and a row per run, if it has them."""
    columns = []
    if "run" in frame:
        frame, columns = frame.assign(name=frame["run"].map(run_name_title)), [Column("name", "model", run="run")]
    for name, kind in frame.drop(columns=["name", "run", "dataset"], errors="ignore").dtypes.items():
        columns.append(Column(name, name.replace("_", " "), {"f": 3, "i": 0}.get(kind.kind)))
    return grid(frame, columns, group=lambda row: heading(row["dataset"]) if "dataset" in frame else "")


@table
def table_2(frame: pd.DataFrame) -> dict:
    """One row per backbone."""
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


@table
def table_3(
    frame: pd.DataFrame,
    trivial: pd.DataFrame | None = None,
    pairs: pd.DataFrame | None = None,
    transfer: pd.DataFrame | None = None,
) -> dict:
    """One group per dataset and one for the ablation, one row per run; `trivial` baselines are below the runs.

    Repeats of a run have a table of their own. Bold: the run with the highest F1 of each dataset and those not
    significantly different from it in `pairs`. A run that diverged is marked, and so is one whose weights were trained
    on copies of its test scans, by `transfer`.
    """
    frame = frame[~frame["run"].str.contains(REPEAT)]
    ablation = frame["run"].str.contains(ABLATION)
    highest = frame[~ablation].groupby("dataset")["macro_f1"].transform("max").reindex(frame.index) == frame["macro_f1"]
    alike = {run for top in frame.loc[highest, "run"] for run in [top, *_not_significantly_different(top, pairs)]}
    copies = {} if transfer is None else transfer.set_index("run")["copies"].dropna().to_dict()
    names = [_run_of_table_3(row, copies.get(row["run"], 0)) for row in frame.to_dict("records")]
    rows = frame.assign(name=names, strong=frame["run"].isin(alike))
    if trivial is not None:
        rows = pd.concat([rows, trivial.assign(name=trivial["baseline"].map(BASELINES), run="", strong=False)])
    rows = spanned(rows, "macro_f1")
    columns = [
        Column("name", "model"),
        Column("macro_f1", "here", 3, "macro F1", UNDEFINED),
        Column("macro_f1_span", "95 % interval", NUMBER, "macro F1"),
        Column("published_macro_f1", "paper", 3, "macro F1"),
        Column("difference", "difference", 3, "macro F1"),
        Column("interval_holds_published", "paper in it", NUMBER, "macro F1"),
        Column("macro_auroc", "macro AUROC", 3, none=UNDEFINED),
        Column("seconds_per_epoch", "here", 1, "seconds an epoch"),
        Column("published_seconds_per_epoch", "paper", 0, "seconds an epoch"),
        Column("best_epoch", "here", 0, "best epoch"),
        Column("published_best_epoch", "paper", 0, "best epoch"),
    ]
    return grid(
        rows,
        columns,
        group=lambda row: heading(row["dataset"]) + (", learning rates" if ABLATION.search(row["run"]) else ""),
        link=lambda row: "#" + anchor(row["run"]) if row["run"] else "",
        strong=lambda row: row["strong"],
    )


def _run_of_table_3(row: Mapping, copies: float) -> str:
    """The name of a run, with what casts doubt on its scores."""
    ablation = ABLATION.search(row["run"])
    name = f"learning rate {row['learning_rate']:g}" if ablation else run_name_title(row["run"])
    return name + diverged(row) + _copied(copies)


def diverged(row: Mapping) -> str:
    """The note after the name of a run that diverged: the epoch, and whether no trained model is left."""
    if pd.isna(epoch := row.get("diverged")):
        return ""
    untrained = ": scores of the untrained model" if pd.isna(row.get("best_epoch")) else ""
    return f", diverged in epoch {epoch:.0f}{untrained}"


def _copied(copies: float) -> str:
    """The note after the name of a run whose weights were trained on copies of test scans."""
    return f", learned from copies of {copies:.0f} test scan{'s' * (copies > 1)}" if copies else ""


def _not_significantly_different(run: str, pairs: pd.DataFrame | None) -> list[str]:
    return [] if pairs is None else not_significantly_different(run, pairs)


@table
def devices(frame: pd.DataFrame) -> dict:
    """One group per run, one row per format."""
    titles = {"keras": "Keras"} | runtimes.TITLES
    names = [titles.get(row.format, row.format) + ", int8" * bool(row.int8) for row in frame.itertuples()]
    columns = [
        Column("name", "format", run="run"),
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


@table
def parity(frame: pd.DataFrame) -> dict:
    """One group per backbone, one row per backend."""
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


def scores_of_classes(scores: Mapping[str, Mapping[str, float]]) -> dict:
    """The scores of a run's classes."""
    frame = pd.DataFrame([{"name": _sentence(name), **values} for name, values in scores.items()])
    columns = [Column("name", "class")] + [
        Column(key, title, places, none=UNDEFINED)
        for key, title, places in (
            ("f1", "F1", 3), ("precision", "precision", 3), ("recall", "recall", 3), ("auroc", "AUROC", 3),
            ("support", "test scans", 0),
        )
    ]  # fmt: skip
    if "known" in frame and frame["known"].min() < frame["known"].max():
        columns.append(Column("known", "labels known", 0))
    return grid(frame.astype({key: float for key in frame if key != "name"}), columns)


def texts(frame: pd.DataFrame | None) -> dict | None:
    """A table of texts, unchanged; None if missing or without rows."""
    return grid(frame, [Column(name, name) for name in frame]) if frame is not None and len(frame) else None


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sentence(name: str) -> str:
    return name if name == ALL_SCANS else heading(name)


@table
def claims(frame: pd.DataFrame) -> dict:
    """One group per verdict, one row per claim."""
    paper, counts = {"true": "holds", "false": "fails"}, frame["verdict"].value_counts()
    frame = frame.sort_values("verdict", key=lambda verdict: verdict.map(VERDICTS.index), kind="stable")
    frame = frame.assign(
        claim=frame["claim"].map(_capital),
        paper=[paper.get(str(value).lower(), value) for value in frame["holds_in_paper"]],
        rests=[
            " ".join(f"{_capital(part)}." for part in (row.reason, row.figures) if isinstance(part, str) and part)
            for row in frame.itertuples()
        ],
    )
    columns = [
        Column("claim", "claim of the paper"),
        Column("paper", "in the paper’s tables", NUMBER),
        Column("share_true", "true in", 2),
        Column("rests", "what the verdict rests on"),
    ]
    return grid(frame, columns, group=lambda row: f"{heading(row['verdict'])} here: {counts[row['verdict']]}")


@table
def checklists(frame: pd.DataFrame) -> dict:
    """One group per checklist, one row per item, which links to the section that answers it."""
    frame = frame.fillna("")
    columns = [Column("name", "item"), Column("answer", "where"), Column("note", "note")]
    return grid(
        frame.assign(name=frame["item"].astype(str) + " " + frame["topic"]),
        columns,
        group=lambda row: row["checklist"],
        link=lambda row: f"#{row['section']}" if row["section"] else "",
    )
