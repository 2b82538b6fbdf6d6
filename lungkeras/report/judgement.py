"""A judgement of anybody's predictions -> DIR/report.html, one file that needs no other, and DIR/tables/*.csv.

First what was asked and the answer with its interval, then what not to conclude, then a section per kind of table.
"""

import base64
import datetime
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.evaluation import image_gain, judged_claims
from lungkeras.evaluation.comparison import SIGNIFICANT
from lungkeras.evaluation.judgement import CROSS_FITTED, TABLES, Judgement
from lungkeras.report.figures.files import save_figure
from lungkeras.report.grid import NUMBER, UNDEFINED, Column, grid, span, spanned
from lungkeras.report.page import TEMPLATES, _environment, embedded
from lungkeras.scores import intervals
from lungkeras.study.words import decimal, heading
from lungkeras.system.files import write_csv, write_text

COLOURS = ("#0b78b8", "#d55e00", "#009e73", "#9a68b8", "#c4598f", "#a6761d", "#4d7fff", "#7f7f00")
FURTHER = ("understood", "labels", "claims")  # tables beside those of a judgement
MOST_ROWS = 300  # of a table on the page
MOST_CLASSES = 30  # of the figure
NAMES, RIGHT, FIRST, STEP = 200, 620, 22, 13  # of the figure, in its units
LONGEST = 24
BASELINES = {
    "majority": "the more frequent answer",
    "every class": "every finding on every scan",
    "metadata": "metadata alone",
}


def write_judgement(judgement: Judgement, folder: Path | str, *, claims: Sequence[dict] = (), date: str | None = None):
    """Writes report.html, tables/*.csv and figures/ in a folder, and returns the page's path.

    Tables of an earlier judgement that this one does not have are removed. `claims` are those of `read_claims`.
    """
    folder = Path(folder)
    made = dict(judgement.all_tables())
    made |= {"understood": judgement.read.understood, "labels": judgement.read.label_counts}
    if claims:
        made["claims"] = judged_claims.verdicts(judgement, list(claims))
    for name in (*TABLES, *FURTHER):
        file = folder / "tables" / f"{name}.csv"
        if name in made:
            write_csv(file, made[name])
        else:
            file.unlink(missing_ok=True)
    picture = _reliability_picture(judgement, folder)
    environment = _environment()
    style = str(environment.globals["css"]) + (TEMPLATES / "judgement.css").read_text(encoding="utf-8")
    html = environment.get_template("judgement.html.j2").render(
        title="How good are these predictions?" if len(judgement.predictors) > 1 else f"How good is {judgement.predictors[0]}?",
        style=_markup(style),
        style_hash="sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        date=date or datetime.date.today().isoformat(),
        lead=lead(judgement),
        asked=asked(judgement),
        answer=answer(judgement, made),
        forest=forest(judgement),
        cautions=cautions(judgement),
        sections=[section for section in _sections(judgement, made, picture) if section["parts"]],
        version=_version(),
    )  # fmt: skip
    write_text(folder / "report.html", html)
    return folder / "report.html"


def _markup(text: str):
    from markupsafe import Markup

    return Markup(text)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("lungkeras")
    except PackageNotFoundError:
        return ""


def _reliability_picture(judgement: Judgement, folder: Path) -> dict | None:
    from lungkeras.report.figures.judgement import reliability_of_predictors

    errors = judgement.table("calibration")
    points = judgement.table("reliability")
    if points.empty:
        return None
    figure = reliability_of_predictors(points, errors[errors["class"] == ""])
    return embedded(save_figure(figure, folder / "figures", "reliability", points))


def lead(judgement: Judgement) -> dict:
    """The first line: how many scans of whom, and whether patients are known."""
    read, scores = judgement.read, judgement.table("scores").iloc[0]
    whom = f"{scores['scans']:,} scans of {scores['patients']:,} patients"
    if not read.patients_known:
        return {
            "warns": True,
            "strong": f"{scores['scans']:,} scans, patients not known.",
            "text": "Every scan counts as a patient of its own: if patients have several, intervals are too short.",
        }
    return {"warns": False, "strong": f"{whom}.", "text": "Intervals are over patients, not over scans."}


def asked(judgement: Judgement) -> str:
    """What was asked, in a sentence."""
    read = judgement.read
    names = _and([f"“{name}”" for name in judgement.predictors])
    classes = _and([heading(name).lower() if name.islower() else name for name in read.classes[:6]])
    more = f" and {len(read.classes) - 6} further findings" if len(read.classes) > 6 else ""
    kind = "which one of these a scan shows" if read.task == "multiclass" else "whether a scan shows each of these"
    plural = "do" if len(judgement.predictors) > 1 else "does"
    if len(read.classes) == 1:
        return f"How well {plural} {names} tell {classes} from its absence?"
    return f"How well {plural} {names} say {kind}: {classes}{more}?"


def answer(judgement: Judgement, made: dict[str, pd.DataFrame]) -> list[str]:
    """The answer in a paragraph, with intervals; that of claims, if there are, in a second."""
    read, scores = judgement.read, judgement.table("scores")
    rule = "the likeliest class" if read.task == "multiclass" else "a threshold of 0.5"
    mean = "" if len(read.classes) == 1 else "macro "
    parts = []
    for place, row in enumerate(scores.to_dict("records")):
        asked_of = f"{row['predictor']} has" if place or len(scores) > 1 else "It has"
        parts.append(
            f"{asked_of} a {mean}AUROC of {_with_interval(row, 'macro_auroc')} and, "
            f"at {rule}, a {mean}F1 of {_with_interval(row, 'macro_f1')}."
        )
    if "pairs" in made and len(made["pairs"]) == 1:
        parts.append(_difference(made["pairs"].iloc[0]))
    if "image_gain" in made:
        first = made["image_gain"][made["image_gain"]["class"] == ""]
        for row in first.to_dict("records"):
            name = row["predictor"] if len(first) > 1 else "the prediction"
            if pd.notna(row["gain"]):
                ends = f"{decimal(row['gain_low'], 3)} to {decimal(row['gain_high'], 3)}"
                parts.append(
                    f"{_capital(_and(row['metadata'].split(', ')))} alone reach {decimal(row['metadata_auroc'], 3)}; with "
                    f"{name} beside them it is {decimal(row['both_auroc'], 3)}, so that the image adds "
                    f"{decimal(row['gain'], 3)} ({ends})."
                )
    errors = made["calibration"][made["calibration"]["class"] == ""]
    for row in errors.to_dict("records"):
        whose = f"The probabilities of {row['predictor']}" if len(errors) > 1 else "Its probabilities"
        scaled = f", {decimal(row['ece_scaled'], 3)} after a temperature from val" if "ece_scaled" in row else ""
        parts.append(f"{whose} are off by {_with_interval(row, 'ece')} in the mean{scaled}.")
    paragraphs = [" ".join(parts)]
    if "claims" in made:
        counts = made["claims"]["verdict"].value_counts()
        paragraphs.append("Of the claims, " + _and([f"{number} {verdict}" for verdict, number in counts.items()]) + ".")
    return paragraphs


def _difference(pair: pd.Series) -> str:
    p = pair["auroc_p_holm"]
    ends = f"{decimal(pair['auroc_low'], 3)} to {decimal(pair['auroc_high'], 3)}"
    size = f"a difference of {decimal(pair['auroc_difference'], 3)} ({ends}; p {_p(p)})"
    if pd.isna(p):
        return "Whether they differ in AUROC can't be tested."
    return f"In AUROC they differ significantly: {size}." if p < SIGNIFICANT else f"They may be equal in AUROC: {size}."


def _with_interval(row: dict, name: str) -> str:
    if pd.isna(row[name]):
        return "undefined value"
    ends = span(row[f"{name}_low"], row[f"{name}_high"], 3)
    return decimal(row[name], 3) + ("" if ends == "–" else f" ({ends})")


def cautions(judgement: Judgement) -> list[str]:
    """What these numbers do not show, from what was read."""
    read, classes = judgement.read, judgement.table("class_scores")
    found = ["Nothing here shows that the predictions would serve patients: no reader, no clinic and no other hospital "
             "was asked."]  # fmt: skip
    if not read.patients_known:
        found.append(
            "Patients are not known. Intervals and tests take scans for independent, and thus promise too much."
        )
    found.append(
        "Copies of a scan can’t be seen in a table: scans that stand there twice under two names, or that the model was "
        "trained on, make scores too high. Nothing here excludes either."
    )
    if read.val is None:
        what = "Thresholds are cross-fitted: each fifth of the patients is judged at a threshold that the other four chose. "
        found.append(what + "Those that the tables show are chosen on the scans that are judged, so that they are "
                     "optimistic; a split column with val gives fair ones.")  # fmt: skip
    thin = list(dict.fromkeys(classes.loc[classes["note"] == intervals.TOO_FEW, "class"]))
    if thin:
        found.append(
            f"{_and([heading(name) for name in thin[:8]])}{' and others' if len(thin) > 8 else ''}: fewer than "
            f"{intervals.FEWEST_PATIENTS} patients have it, or lack it. These classes have no interval, and their scores "
            "may be anything."
        )
    counts = read.label_counts
    if (left := int(counts[["uncertain", "blank"]].to_numpy().sum())) > 0:
        found.append(
            f"{left:,} labels are uncertain or blank and count for nothing. Scans with a known label may be easier, or "
            "harder, than those without."
        )
    if len(read.test.metadata.columns):
        found.append(
            "Groups differ in more than their name: how sick they are, how often they were scanned, on which scanner. A "
            "gap is a reason to look, not its own explanation."
        )
    else:
        found.append("Age, sex, view and scanner are not known (--records): what the image adds to them can’t be said, nor "
                     "whether groups are served alike.")  # fmt: skip
    found.append(
        "The labels are taken for the truth. A prediction that repeats the errors of labels looks better than it is."
    )
    return found + list(read.notes)


def forest(judgement: Judgement) -> dict | None:
    """The figure: AUROC of all classes and of each, in the units of the drawing."""
    scores, classes = judgement.table("scores"), judgement.table("class_scores")
    rows = (
        [("", scores.rename(columns=lambda name: name.removeprefix("macro_")))]
        if len(judgement.read.classes) > 1
        else []
    )
    shown = judgement.read.classes[:MOST_CLASSES]
    rows += [(name, classes[classes["class"] == name]) for name in shown]
    values = pd.concat([frame[["auroc", "auroc_low"]] for _, frame in rows]).to_numpy(float)
    if np.isnan(values).all():
        return None
    start = min(0.5, np.floor(10 * np.nanmin(values)) / 10)
    colours = dict(zip(judgement.predictors, COLOURS * len(judgement.predictors), strict=False))

    def x(value: float) -> float | None:
        return None if pd.isna(value) else round(NAMES + (RIGHT - NAMES) * (value - start) / (1 - start), 1)

    y, drawn = FIRST, []
    for title, frame in rows:
        dots = []
        for place, row in enumerate(frame.to_dict("records")):
            text = f"{row['predictor']} {_with_interval(row, 'auroc')}"
            dots.append({"x": x(row["auroc"]), "low": x(row["auroc_low"]), "high": x(row["auroc_high"]), "text": text,
                         "y": y + STEP * place, "colour": colours[row["predictor"]]})  # fmt: skip
        name = heading(title) if title else "all classes"
        short = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
        middle = y + STEP * (len(frame) - 1) / 2
        drawn.append({"name": name, "short": short, "y": middle, "dots": dots, "all": not title})
        y += STEP * len(frame) + 13
    ticks = [{"x": x(value), "text": f"{value:.1f}"} for value in np.arange(start, 1.01, 0.1)]
    left = len(judgement.read.classes) - len(shown)
    return {
        "rows": drawn,
        "ticks": ticks,
        "chance": x(0.5),
        "height": y + 20,
        "names": NAMES,
        "legend": [{"name": name, "colour": colour} for name, colour in colours.items()],
        "note": f"{left} further classes are in the table." if left > 0 else "",
    }


def _sections(judgement: Judgement, made: dict[str, pd.DataFrame], picture: dict | None):
    several = len(judgement.predictors) > 1
    yield {
        "id": "scores",
        "title": "Scores",
        "text": "How well scans with a class are ranked above scans without it, and how good the decisions are: "
        + ("the likeliest class." if judgement.read.task == "multiclass" else "a class is called from 0.5 on."),
        "parts": [
            _part(
                made, "scores", "All classes together", "Means over the classes that have both kinds of scans.", _scores
            ),
            _part(made, "class_scores", "Each class", "Over its own scans, those whose label is known.", _class_scores),
        ],
    }
    if several:
        yield {
            "id": "pairs",
            "title": "Predictors compared",
            "text": "On the same scans, paired: the difference, its interval, and p of a permutation test over patients.",
            "parts": [_part(made, "pairs", "Each pair", "Bold: differs significantly in macro AUROC.", _pairs)],
        }
    if "claims" in made:
        yield {
            "id": "claims",
            "title": "Claims",
            "text": "A claim holds where each of its comparisons is true in at least 95 % of the draws of patients, and "
            "fails where one is true in hardly any; between them these scans cannot tell.",
            "parts": [_part(made, "claims", "Verdicts", "", _claims)],
        }
    calibration = _part(made, "calibration", "Calibration error", "The mean gap between how sure answers are and how many "
                        "of them are so (ECE, 15 bins), and the Brier score.", _calibration)  # fmt: skip
    diagram = {"title": "Reliability", "image": picture, "grid": None, "more": "", "file": "figures/reliability.csv",
               "text": "On the diagonal, a probability means what it says. Grey: as given."
               + (" Coloured: after the temperature from val." if judgement.calibrated else "")}  # fmt: skip
    yield {
        "id": "calibration",
        "title": "Calibration",
        "text": "Do the probabilities mean what they say?",
        "parts": [*([diagram] if picture else []), calibration],
    }
    chosen = (
        "cross-fitted: each fifth of the patients at the threshold that the other four chose. The threshold shown is that "
        "of all scans, which are also those that are judged"
        if judgement.chosen_on == CROSS_FITTED
        else "chosen on the scans of val alone"
    )
    yield {
        "id": "thresholds",
        "title": "Thresholds",
        "text": f"Thresholds are {chosen}.",
        "parts": [
            _part(made, "thresholds", "The threshold of the highest F1", "Beside a threshold of 0.5.", _thresholds),
            _part(made, "operating_points", "Sensitivity at a specificity", "Predictive values are worked out for "
                  "prevalences of 1 and of 10 %.", _operating_points),
        ],
    }  # fmt: skip
    yield {
        "id": "groups",
        "title": "Groups",
        "text": "The same scores for some of the scans. A group of fewer than 20 scans or 10 patients has none.",
        "parts": [_part(made, "groups", "Age, sex, view and scanner", "", _groups)] if "groups" in made else [],
    }
    yield {
        "id": "baselines",
        "title": "Baselines",
        "text": "What needs no image, on the same scans.",
        "parts": [
            _part(made, "image_gain", "What the image adds to metadata",
                  f"AUROC of logistic regressions on metadata alone, and with the prediction beside them, cross-fitted "
                  f"over {image_gain.FOLDS} folds of patients.", _image_gain),
            _part(made, "baselines", "Trivial answers", "Bold: significantly better in macro F1.", _baselines),
        ],
    }  # fmt: skip
    yield {
        "id": "understood",
        "title": "What was read",
        "text": "How the columns were understood, and the labels that count.",
        "parts": [
            _part(made, "understood", "Columns", "", _understood),
            _part(
                made, "labels", "Labels", "Positive and negative ones count; uncertain and blank ones do not.", _labels
            ),
        ],
    }


def _part(made: dict, name: str, title: str, text: str, turn) -> dict:
    """A table for the page: its first rows, and where all of them are."""
    part = {"title": title, "text": text, "grid": None, "image": None, "more": "", "file": ""}
    if name not in made or made[name].empty:
        return part | {"more": "Not known here." if name == "image_gain" else "None here."}
    frame = made[name]
    if len(frame) > MOST_ROWS:
        part["more"] = f"The first {MOST_ROWS:,} of {len(frame):,} rows; all are in the CSV."
    return part | {"grid": turn(frame.head(MOST_ROWS)), "file": f"tables/{name}.csv"}


def _value(key: str, title: str, places: int = 3) -> list[Column]:
    return [Column(key, "value", places, title, UNDEFINED), Column(f"{key}_span", "95 % interval", NUMBER, title)]


def _predictor(row: pd.Series) -> str:
    return row["predictor"]


def _scores(frame: pd.DataFrame) -> dict:
    names = {"macro_auroc": "AUROC", "macro_f1": "F1", "macro_average_precision": "average precision",
             "macro_sensitivity": "sensitivity", "macro_specificity": "specificity"}  # fmt: skip
    columns = [Column("predictor", "predictor"), Column("scans", "scans", 0), Column("patients", "patients", 0)]
    columns += [column for key, title in names.items() for column in _value(key, title)]
    return grid(spanned(frame, *names), columns)


def _class_scores(frame: pd.DataFrame) -> dict:
    names = {"auroc": "AUROC", "f1": "F1", "average_precision": "average precision", "sensitivity": "sensitivity",
             "specificity": "specificity"}  # fmt: skip
    columns = [Column("name", "class"), Column("scans", "scans", 0), Column("support", "with it", 0)]
    columns += [column for key, title in names.items() for column in _value(key, title, 2)]
    return grid(spanned(_named(frame), *names, places=2, few=True), columns, group=_predictor)


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(name=[heading(name) if name else "all classes" for name in frame["class"]])


def _pairs(frame: pd.DataFrame) -> dict:
    frame = frame.assign(
        name=frame["first"] + " − " + frame["second"], f1_low=frame["low"], f1_high=frame["high"],
        p_text=frame["p_holm"].map(_p), auroc_p_text=frame["auroc_p_holm"].map(_p),
    )  # fmt: skip
    columns = [Column("name", "predictors"), Column("auroc_difference", "difference", 3, "macro AUROC", UNDEFINED)]
    columns += [Column("auroc_span", "95 % interval", NUMBER, "macro AUROC")]
    columns += [Column("auroc_p_text", "p", NUMBER, "macro AUROC")]
    columns += [Column("difference", "difference", 3, "macro F1", UNDEFINED)]
    columns += [Column("f1_span", "95 % interval", NUMBER, "macro F1"), Column("p_text", "p", NUMBER, "macro F1")]
    return grid(spanned(frame, "f1", "auroc"), columns, strong=lambda row: row["auroc_p_holm"] < SIGNIFICANT)


def _claims(frame: pd.DataFrame) -> dict:
    rests = [". ".join(part for part in (row.reason, row.figures) if part) for row in frame.itertuples()]
    columns = [Column("claim", "claim"), Column("predicate", "predicate"), Column("verdict", "verdict", NUMBER)]
    columns += [Column("share_true", "true in", 2), Column("rests", "what the verdict rests on")]
    return grid(frame.assign(rests=rests), columns)


def _calibration(frame: pd.DataFrame) -> dict:
    scores = [name for name in ("ece", "ece_scaled") if name in frame]
    columns = [Column("name", "class"), Column("temperature", "temperature", 2), *_value("ece", "error, as given")]
    columns += _value("ece_scaled", "error, after the temperature")
    columns += [Column("brier", "as given", 3, "Brier score"), Column("brier_scaled", "after", 3, "Brier score")]
    return grid(spanned(_named(frame), *scores, few=True), columns, group=_predictor)


def _thresholds(frame: pd.DataFrame) -> dict:
    columns = [Column("name", "class"), Column("threshold", "threshold", 3)]
    columns += [*_value("f1", "F1 at 0.5"), *_value("f1_tuned", "F1 at the threshold")]
    columns += [Column(f"{name}_tuned", name, 2, "at the threshold") for name in ("sensitivity", "specificity")]
    return grid(spanned(_named(frame), "f1", "f1_tuned", few=True), columns, group=_predictor)


def _operating_points(frame: pd.DataFrame) -> dict:
    frame = frame.assign(name=[f"{heading(row['class'])}, at {row['asked']:.0%}" for _, row in frame.iterrows()])
    columns = [Column("name", "class, specificity asked"), Column("threshold", "threshold", 3)]
    columns += [*_value("sensitivity", "sensitivity", 2), *_value("specificity", "specificity", 2)]
    columns += [Column(f"{value}_{name}", f"{value.upper()} at {name} %", 2, "predictive values")
                for name in ("1", "10") for value in ("ppv", "npv")]  # fmt: skip
    return grid(spanned(frame, "sensitivity", "specificity", places=2, few=True), columns, group=_predictor)


def _groups(frame: pd.DataFrame) -> dict:
    scores = ("macro_auroc", "macro_f1")
    frame = frame.reindex(
        columns=list(dict.fromkeys([*frame, *(f"{s}{e}" for s in scores for e in ("", "_low", "_high"))]))
    )
    columns = [Column("group", "group"), Column("scans", "scans", 0), Column("patients", "patients", 0)]
    columns += [Column("classes", "classes", 0), *_value("macro_auroc", "macro AUROC"), *_value("macro_f1", "macro F1")]
    columns.append(Column("note", "note"))
    return grid(spanned(frame, *scores), columns, group=lambda row: f"{row['predictor']}, by {row['attribute']}")


def _image_gain(frame: pd.DataFrame) -> dict:
    columns = [Column("name", "class"), Column("image_auroc", "prediction alone", 3, "AUROC", UNDEFINED)]
    columns += [Column("metadata_auroc", "metadata alone", 3, "AUROC", UNDEFINED)]
    columns += [Column("both_auroc", "both", 3, "AUROC", UNDEFINED), *_value("gain", "the image adds")]
    group = lambda row: f"{row['predictor']}, beside {row['metadata']}"  # noqa: E731
    return grid(spanned(_named(frame), "gain", few=True), columns, group=group)


def _baselines(frame: pd.DataFrame) -> dict:
    frame = frame.assign(
        name=frame["baseline"].map(BASELINES),
        f1_low=frame["low"],
        f1_high=frame["high"],
        p_text=frame["p_holm"].map(_p),
    )
    columns = [Column("name", "baseline"), Column("macro_f1", "prediction", 3, "macro F1", UNDEFINED)]
    columns += [Column("baseline_macro_f1", "baseline", 3, "macro F1", UNDEFINED)]
    columns += [Column("difference", "difference", 3, "macro F1", UNDEFINED)]
    columns += [Column("f1_span", "95 % interval", NUMBER, "macro F1"), Column("p_text", "p", NUMBER, "macro F1")]
    columns += [Column("auroc_difference", "difference", 3, "macro AUROC", UNDEFINED)]
    columns += [Column("auroc_span", "95 % interval", NUMBER, "macro AUROC")]
    return grid(spanned(frame, "f1", "auroc"), columns, group=_predictor, strong=lambda row: row["better"] == "yes")


def _understood(frame: pd.DataFrame) -> dict:
    columns = [Column("column", "column"), Column("meaning", "is understood as")]
    return grid(frame, columns, group=lambda row: row["file"])


def _labels(frame: pd.DataFrame) -> dict:
    columns = [Column("name", "class"), *(Column(name, name, 0) for name in frame if name != "class")]
    return grid(_named(frame), columns)


def _p(value: float) -> str:
    return "–" if pd.isna(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _and(words: Sequence[str]) -> str:
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
