"""Tables of a study as the report sets them: rows in groups, headings over columns, numbers ready to read.

A table is a dictionary for the template: `head`, two rows of {text, columns, rows}; `bodies`, groups of {title, rows},
where a row is a list of {text, number (aligned right), link, strong}. Nothing here is HTML: the template escapes.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from lungkeras import runtimes
from lungkeras.comparison import SIGNIFICANT, not_told_apart
from lungkeras.datasets import title
from lungkeras.published import published
from lungkeras.runs import ABLATION, REPEAT
from lungkeras.style import backbone_title, decimal, heading, run_name_title, run_title
from lungkeras.tables import ALL_SCANS

NUMBER = -1
UNDEFINED = "undefined"
BASELINES = {
    "majority": "always the most frequent class",
    "every class": "every finding on every scan",
    "metadata": "age, sex, view and follow-up alone",
    "linear": "linear model on the pixels",
}


@dataclass(frozen=True)
class Column:
    """A column of a CSV as the report shows it: `over` groups its headings.

    `places` after the point; None for text; NUMBER for text that is set as a number. `none` stands where there is no
    value.
    """

    key: str
    title: str
    places: int | None = None
    over: str = ""
    none: str = "–"


def count(value: float) -> str:
    """12345 -> "12,345"; a dash where there is none."""
    return "–" if pd.isna(value) else f"{value:,.0f}"


def anchor(run: str) -> str:
    """The id of a run's section: its name, without what an id or an address can't hold."""
    return "run-" + re.sub(r"[^\w.-]", "-", run)


def _text(value: object, places: int | None, none: str) -> str:
    if pd.isna(value):
        return none
    if places is None or places == NUMBER:
        return str(value)
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
            {"text": _text(row[column.key], column.places, column.none), "number": column.places is not None}
            for column in columns
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


def table_3(frame: pd.DataFrame, trivial: pd.DataFrame | None = None, pairs: pd.DataFrame | None = None) -> dict:
    """A group a dataset and one for the ablation, a row a run; `trivial` baselines stand below the runs.

    Repeats of a run have a table of their own. Strong are, of each dataset, the run of the highest F1 and those that
    `pairs` does not tell from it. A run that diverged says so.
    """
    frame = frame[~frame["run"].str.contains(REPEAT)]
    ablation = frame["run"].str.contains(ABLATION)
    highest = frame[~ablation].groupby("dataset")["macro_f1"].transform("max").reindex(frame.index) == frame["macro_f1"]
    alike = {run for top in frame.loc[highest, "run"] for run in [top, *_not_told_apart(top, pairs)]}
    names = [
        f"learning rate {row.learning_rate:g}" if ABLATION.search(row.run) else run_name_title(row.run)
        for row in frame.itertuples()
    ]
    names = [name + diverged(row) for name, row in zip(names, frame.to_dict("records"), strict=True)]
    rows = frame.assign(name=names, strong=frame["run"].isin(alike))
    if trivial is not None:
        rows = pd.concat([rows, trivial.assign(name=trivial["baseline"].map(BASELINES), run="", strong=False)])
    rows = _spanned(rows, "macro_f1")
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


def diverged(row: Mapping) -> str:
    """What stands behind the name of a run that diverged: in which epoch, and whether no trained model is left."""
    if pd.isna(epoch := row.get("diverged")):
        return ""
    untrained = ": scores of the untrained model" if pd.isna(row.get("best_epoch")) else ""
    return f", diverged in epoch {epoch:.0f}{untrained}"


def _not_told_apart(run: str, pairs: pd.DataFrame | None) -> list[str]:
    return [] if pairs is None else not_told_apart(run, pairs)


def _spanned(frame: pd.DataFrame, *scores: str, places: int = 3) -> pd.DataFrame:
    """With a column <score>_span, the interval of each score: 0.812–0.901, or -0.02 to 0.04 where some are below 0."""
    spans = {}
    for score in scores:
        low, high = frame[f"{score}_low"], frame[f"{score}_high"]
        between = " to " if (low < 0).any() else "–"
        spans[f"{score}_span"] = [
            "–" if pd.isna(least) else f"{decimal(least, places)}{between}{decimal(most, places)}"
            for least, most in zip(low, high, strict=True)
        ]
    return frame.assign(**spans)


def model_pairs(frame: pd.DataFrame) -> dict:
    """A group a dataset, a row a pair of models."""
    frame = frame.assign(
        name=[f"{run_name_title(row.first)} − {run_name_title(row.second)}" for row in frame.itertuples()],
        f1_low=frame["low"], f1_high=frame["high"],
    )  # fmt: skip
    for key in ("p_holm", "auroc_p_holm"):
        frame[f"{key}_text"] = ["–" if pd.isna(p) else "< 0.001" if p < 0.001 else f"{p:.3f}" for p in frame[key]]
    columns = [
        Column("name", "models"),
        Column("difference", "difference", 3, "macro F1", UNDEFINED),
        Column("f1_span", "95 % interval", NUMBER, "macro F1"),
        Column("p_holm_text", "p", NUMBER, "macro F1"),
        Column("auroc_difference", "difference", 3, "macro AUROC"),
        Column("auroc_span", "95 % interval", NUMBER, "macro AUROC"),
        Column("auroc_p_holm_text", "p", NUMBER, "macro AUROC"),
    ]
    return grid(
        _spanned(frame, "f1", "auroc"),
        columns,
        group=lambda row: heading(row["dataset"]),
        strong=lambda row: row["p_holm"] < SIGNIFICANT,
    )


def class_scores(frame: pd.DataFrame) -> dict:
    """A group a dataset, a row a class, a column a model: AUROC with its interval."""
    frame = frame[~frame["run"].str.contains(ABLATION) & ~frame["run"].str.contains(REPEAT)]
    frame = _spanned(frame, "auroc", places=2)
    frame = frame.assign(
        text=[_with_span(row.auroc, row.auroc_span) for row in frame.itertuples()],
        model=frame["run"].map(run_name_title),
    )
    models = list(dict.fromkeys(frame["model"]))
    # The groups keep the order of the classes, which a pivot table does not.
    wide = frame.groupby(["dataset", "class"], sort=False)[["support", "prevalence"]].first()
    wide = wide.join(frame.pivot_table("text", ["dataset", "class"], "model", "first")).reset_index()
    columns = [Column("name", "class"), Column("support", "test scans", 0), Column("prevalence", "share", 2)]
    columns += [Column(model, model, NUMBER, "AUROC (95 % interval)") for model in models]
    return grid(wide.assign(name=wide["class"].map(heading)), columns, group=lambda row: heading(row["dataset"]))


def _with_span(score: float, span: str) -> str:
    return UNDEFINED if pd.isna(score) else f"{decimal(score, 2)} ({span})"


def published_auroc(frame: pd.DataFrame) -> dict:
    """A row a class of ChestX-ray8, ours with their intervals, then those of others."""
    runs = [name.removesuffix("_low") for name in frame if name.endswith("_low")]
    frame = _spanned(frame.assign(name=frame["class"].map(heading)), *runs, places=2)
    for run in runs:
        frame[run] = [_with_span(score, span) for score, span in zip(frame[run], frame[f"{run}_span"], strict=True)]
    others = published()["auroc"]["publications"]
    columns = [Column("name", "class"), *(Column(run, run_name_title(run), NUMBER, "here") for run in runs)]
    columns += [Column(name, text, 3, "published") for name, text in others.items()]
    return grid(frame, columns)


def seeds(frame: pd.DataFrame) -> dict:
    """A group a dataset, a row a repeated run."""
    frame = frame.assign(name=frame["run"].map(run_name_title))
    columns = [Column("name", "model"), Column("seeds", "seeds", 0)]
    columns += [
        Column(f"{key}_{kind}", title, places, over)
        for key, places, over in (("macro_f1", 3, "macro F1"), ("best_epoch", 1, "best epoch"))
        for kind, title in (("mean", "mean"), ("least", "least"), ("most", "most"))
    ]
    return grid(frame, columns, group=lambda row: heading(row["dataset"]))


def calibration(frame: pd.DataFrame) -> dict:
    """A group a dataset, a row a run, before and after the temperature."""
    frame = frame.assign(name=[run_title(row.backbone, row.weights) for row in frame.itertuples()])
    frame = _spanned(frame, "ece", "ece_scaled")
    before, after = "calibration error, as trained", "calibration error, scaled"
    columns = [
        Column("name", "model"),
        Column("temperature", "temperature", 2),
        Column("ece", "error", 3, before, UNDEFINED),
        Column("ece_span", "95 % interval", NUMBER, before),
        Column("ece_null", "chance", 3, before),
        Column("ece_scaled", "error", 3, after, UNDEFINED),
        Column("ece_scaled_span", "95 % interval", NUMBER, after),
        Column("ece_scaled_null", "chance", 3, after),
        Column("brier", "trained", 3, "Brier score"),
        Column("brier_scaled", "scaled", 3, "Brier score"),
    ]
    return grid(frame, columns, group=lambda row: heading(row["dataset"]), link=lambda row: "#" + anchor(row["run"]))


def thresholds(frame: pd.DataFrame) -> dict:
    """A row a multilabel run: one half, and the thresholds that validation chose."""
    frame = frame.assign(
        name=[run_title(row.backbone, row.weights) for row in frame.itertuples()],
        difference_low=frame["low"], difference_high=frame["high"],
    )  # fmt: skip
    frame = _spanned(frame, "macro_f1", "macro_f1_tuned", "difference")
    half, chosen = "macro F1 at 0.5", "macro F1 at thresholds from validation"
    columns = [
        Column("name", "model"),
        Column("macro_f1", "value", 3, half),
        Column("macro_f1_span", "95 % interval", NUMBER, half),
        Column("macro_f1_tuned", "value", 3, chosen),
        Column("macro_f1_tuned_span", "95 % interval", NUMBER, chosen),
        Column("difference", "value", 3, "difference"),
        Column("difference_span", "95 % interval", NUMBER, "difference"),
        Column("contradictory", "at 0.5", 2, "called clear and sick"),
        Column("contradictory_tuned", "at thresholds", 2, "called clear and sick"),
    ]
    return grid(frame, columns, link=lambda row: "#" + anchor(row["run"]))


def claims(frame: pd.DataFrame) -> dict:
    """A row a claim."""
    paper = {"true": "holds", "false": "fails"}
    frame = frame.assign(
        paper=[paper.get(str(value).lower(), value) for value in frame["holds_in_paper"]],
        rests=[
            " ".join(str(part) + "." for part in (row.reason, row.figures) if isinstance(part, str) and part)
            for row in frame.itertuples()
        ],
    )
    columns = [
        Column("claim", "claim of the paper"),
        Column("paper", "its own tables", NUMBER),
        Column("verdict", "here", NUMBER),
        Column("share_true", "true in", 2),
        Column("rests", "what the verdict rests on"),
    ]
    return grid(frame, columns)


def baselines(frame: pd.DataFrame) -> dict:
    """A row a dataset."""
    frame = frame.assign(
        name=frame["dataset"].map(heading),
        model=[run_title(row.backbone, row.weights) for row in frame.itertuples()],
        paper=[run_name_title(run) if isinstance(run, str) else "–" for run in frame["published_run"]],
    )
    columns = [
        Column("name", "dataset"),
        Column("model", "highest here"),
        Column("macro_f1", "model", 3, "macro F1 here"),
        Column("linear_macro_f1", "linear", 3, "macro F1 here"),
        Column("difference", "difference", 3, "macro F1 here"),
        Column("paper", "highest in the paper"),
        Column("published_macro_f1", "macro F1, paper", 3),
    ]
    return grid(frame, columns, link=lambda row: "#" + anchor(row["run"]))


def failure_counts(frame: pd.DataFrame) -> dict:
    """A group a dataset, a row a class, a column a model: missed, and wrongly called."""
    frame = frame[~frame["run"].str.contains(ABLATION) & ~frame["run"].str.contains(REPEAT)]
    frame = frame.assign(
        text=[f"{row.missed:,.0f} / {row.called:,.0f}" for row in frame.itertuples()],
        model=frame["run"].map(run_name_title),
    )
    models = list(dict.fromkeys(frame["model"]))
    wide = frame.groupby(["dataset", "class"], sort=False)[["scans"]].first()
    wide = wide.join(frame.pivot_table("text", ["dataset", "class"], "model", "first")).reset_index()
    columns = [Column("name", "class"), Column("scans", "test scans", 0)]
    columns += [Column(model, model, NUMBER, "missed / wrongly called") for model in models]
    return grid(wide.assign(name=wide["class"].map(heading)), columns, group=lambda row: heading(row["dataset"]))


def external_scans(frame: pd.DataFrame) -> dict:
    """A group a dataset of models and another collection, a row a class."""
    frame = frame.assign(name=[heading(name) if isinstance(name, str) else "–" for name in frame["class"]])
    columns = [
        Column("name", "class"),
        Column("scans", "all", 0, "its scans"),
        Column("allowed", "may be asked", 0, "its scans"),
        Column("copies", "copies of own", 0, "its scans"),
        Column("left", "left", 0, "its scans"),
        Column("note", "why"),
    ]
    return grid(frame, columns, group=_asked)


def _asked(row: pd.Series) -> str:
    """ "Pneumonia models on COVID-19"."""
    return f"{heading(row['dataset'])} models" + (
        f" on {heading(row['other'])}" if isinstance(row["other"], str) else ""
    )


def external(frame: pd.DataFrame) -> dict:
    """A group a dataset and another collection, a row a run and measure, beside the run's own test split."""
    frame = frame.assign(
        name=frame["run"].map(run_name_title),
        title=[measure_title(*pair) for pair in zip(frame["measure"], frame["class"], strict=True)],
    ).rename(columns={f"{own}{end}": f"{own}value_{end}" for own in ("", "own_") for end in ("low", "high")})
    columns = [
        Column("name", "model"),
        Column("title", "measure"),
        Column("scans", "scans", 0, "other collection"),
        Column("value", "score", 3, "other collection"),
        Column("value_span", "95 % interval", NUMBER, "other collection"),
        Column("own_scans", "scans", 0, "own test split"),
        Column("own_value", "score", 3, "own test split"),
        Column("own_value_span", "95 % interval", NUMBER, "own test split"),
    ]
    return grid(
        _spanned(frame, "value", "own_value"),
        columns,
        group=_asked,
        link=lambda row: "#" + anchor(row["run"]),
    )


def measure_title(measure: str, name: object) -> str:
    """ "recall", "normal" -> "recall of normal"; a macro score as tables call it."""
    words = {"macro_f1": "macro F1", "macro_auroc": "macro AUROC"}.get(measure, measure)
    return f"{words} of {title(name)}" if isinstance(name, str) and name else words


def subgroups(frame: pd.DataFrame) -> dict:
    """A group a dataset and attribute, a row a group of test scans, a column a model: macro AUROC with its interval."""
    untold = frame[frame["run"].isna()]
    frame = _spanned(frame[frame["run"].notna()], "macro_auroc", places=2)
    frame = frame.assign(
        text=[
            row.note
            if isinstance(row.note, str) and row.note
            else f"{decimal(row.macro_auroc, 2)} ({row.macro_auroc_span})"
            for row in frame.itertuples()
        ],
        model=frame["run"].map(run_name_title),
    )
    models, keys = list(dict.fromkeys(frame["model"])), ["dataset", "attribute", "group"]
    counted = frame.groupby(keys, sort=False)[["scans", "patients", "classes"]].first()
    if models:
        counted = counted.join(frame.pivot_table("text", keys, "model", "first"))
    words = untold.groupby("dataset", sort=False)["attribute"].agg(", ".join).reset_index()
    words = words.assign(group=words["attribute"] + ": not told by the collection", attribute="")
    columns = [Column("group", "group"), Column("scans", "scans", 0), Column("patients", "patients", 0)]
    columns += [Column("classes", "classes", 0)]
    columns += [Column(model, model, NUMBER, "macro AUROC (95 % interval)") for model in models]
    return grid(
        pd.concat([counted.reset_index(), words], ignore_index=True),
        columns,
        group=lambda row: heading(row["dataset"]) + (f", {row['attribute']}" if row["attribute"] else ""),
    )


def checklists(frame: pd.DataFrame) -> dict:
    """A group a checklist, a row an item, which links to the section that answers it."""
    frame = frame.fillna("")
    columns = [Column("name", "item"), Column("answer", "where"), Column("note", "note")]
    return grid(
        frame.assign(name=frame["item"].astype(str) + " " + frame["topic"]),
        columns,
        group=lambda row: row["checklist"],
        link=lambda row: f"#{row['section']}" if row["section"] else "",
    )


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
        Column(key, title, places, none=UNDEFINED)
        for key, title, places in (
            ("f1", "F1", 3), ("precision", "precision", 3), ("recall", "recall", 3), ("auroc", "AUROC", 3),
            ("support", "test scans", 0),
        )
    ]  # fmt: skip
    return grid(frame.astype({key: float for key in frame if key != "name"}), columns)


def settings(ours: Mapping[str, object], datasets: list[str]) -> dict:
    """A row a setting, with the paper's where it has one; where files lie is none."""
    paper = {key: value for key, value in published()["training"].items() if not isinstance(value, dict)}
    sizes = [published()["datasets"][name]["image_size"] for name in datasets if name in published()["datasets"]]
    paper["image_size"] = ", ".join(map(str, dict.fromkeys(sizes)))
    rows = [
        {"name": key.replace("_", " "), "here": _plain(value), "paper": _plain(paper.get(key))}
        for key, value in ours.items()
        if key not in ("source", "acquire", "prepared", "runs")
    ]
    return grid(pd.DataFrame(rows), [Column("name", "setting"), Column("here", "here"), Column("paper", "paper")])


def pairs(values: Mapping[str, object], names: tuple[str, str]) -> dict:
    """A row a key and its value."""
    rows = pd.DataFrame([{"name": str(key), "value": _plain(value)} for key, value in values.items()])
    return grid(rows, [Column("name", names[0]), Column("value", names[1])])


def texts(frame: pd.DataFrame | None) -> dict | None:
    """A table of texts as it is; None where there is none, or no row."""
    return grid(frame, [Column(name, name) for name in frame]) if frame is not None and len(frame) else None


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
