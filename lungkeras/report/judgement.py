"""A judgement of a user's predictions -> DIR/report.html, one file that needs no other, and DIR/tables/*.csv.

First the question and the answer with its interval, then what not to conclude, then a section per kind of table.
"""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.evaluation import image_gain, judged_claims
from lungkeras.evaluation.judgement import FROM_VAL, TABLES, Judgement
from lungkeras.report import judged_tables, judged_words
from lungkeras.report.figures.files import save_figure
from lungkeras.report.figures.judgement import COLOURS, reliability_of_predictors
from lungkeras.report.figures.style import themed
from lungkeras.report.grid import span
from lungkeras.report.live import as_attribute, reliability_panel
from lungkeras.report.page import environment
from lungkeras.report.pictures import embedded
from lungkeras.study.words import decimal, heading
from lungkeras.system.files import write_csv, write_text

BESIDE = ("understood", "labels", "claims")  # tables besides those of a judgement
MOST_ROWS = 300  # of a table on the page
MOST_CLASSES = 30  # of the figure
MOST_CARDS = 4  # predictors with a card


def write_judgement(
    judgement: Judgement, folder: Path | str, *, claims: Sequence[Mapping] = (), date: str | None = None
) -> Path:
    """Writes report.html, tables/*.csv and figures/ in a folder, and returns the page's path.

    Tables of an earlier judgement that this one does not have are removed. `claims` are those of `read_claims`.
    """
    folder, read = Path(folder), judgement.read
    made = dict(judgement.all_tables()) | {"understood": read.understood, "labels": read.label_counts}
    if claims:
        made["claims"] = judged_claims.verdicts(judgement, list(claims))
    for name in (*TABLES, *BESIDE):
        file = folder / "tables" / f"{name}.csv"
        if name in made:
            write_csv(file, made[name])
        else:
            file.unlink(missing_ok=True)
    errors, points = (judgement.table(name) for name in ("calibration", "reliability"))
    figure = reliability_of_predictors(points, errors[errors["class"] == ""])
    picture = embedded(save_figure(figure, folder / "figures", "reliability", points))
    several = len(judgement.predictors) > 1
    template = environment().get_template("judgement.html.j2")
    html = template.render(
        title="How good are these predictions?" if several else f"How good is {judgement.predictors[0]}?",
        date=date or datetime.date.today().isoformat(),
        lead=judged_words.lead(judgement),
        asked=judged_words.asked(judgement),
        cards=cards(judgement, made),
        answer=judged_words.answer(judgement, made),
        forest=forest(judgement),
        lights=judged_words.lights(judgement, made),
        cautions=judged_words.cautions(judgement),
        sections=list(sections(judgement, made, picture, live(points))),
        version=version("lungkeras"),
    )
    write_text(folder / "report.html", html)
    return folder / "report.html"


def cards(judgement: Judgement, made: Mapping[str, pd.DataFrame]) -> list[dict]:
    """The scores of each predictor for the first page; none if they are too many."""
    macro = "Macro AUROC" if len(judgement.read.classes) > 1 else "AUROC"
    errors = made["calibration"].query("`class` == ''").set_index("predictor").to_dict("index")
    found = [
        {"title": row["predictor"], "name": macro, "value": decimal(row["macro_auroc"], 3)}
        | {"interval": span(row["macro_auroc_low"], row["macro_auroc_high"], 3, " to ")}
        | {"beside": [(macro.replace("AUROC", "F1"), judged_words.with_interval(row, "macro_f1")),
                      ("Calibration error", judged_words.with_interval(errors[row["predictor"]], "ece"))]}
        for row in judgement.table("scores").to_dict("records")
    ]  # fmt: skip
    return found if len(found) <= MOST_CARDS else []


def live(points: pd.DataFrame) -> str:
    """The reliability of each predictor for the page's script."""
    panels = [
        reliability_panel(name, own, themed(COLOURS[place % len(COLOURS)]), "as given")
        for place, (name, own) in enumerate(points.groupby("predictor", sort=False))
    ]
    return as_attribute({"kind": "reliability", "x": "confidence", "y": "share correct", "panels": panels})


def forest(judgement: Judgement) -> dict | None:
    """AUROC of all classes and of each on one axis; positions are percents of the axis. None if none is defined.

    With several predictors, each class is a group of lines; with one, all classes are one group.
    """
    scores, classes = judgement.table("scores"), judgement.table("class_scores")
    shown = judgement.read.classes[:MOST_CLASSES]
    rows = [(name, classes[classes["class"] == name]) for name in shown]
    if len(judgement.read.classes) > 1:
        rows.insert(0, ("", scores.rename(columns=lambda name: name.removeprefix("macro_"))))
    values = pd.concat([frame[["auroc", "auroc_low"]] for _, frame in rows]).to_numpy(float)
    if np.isnan(values).all():
        return None
    start = min(0.5, np.floor(10 * np.nanmin(values)) / 10)
    several = len(judgement.predictors) > 1
    colours = {name: themed(COLOURS[place % len(COLOURS)]) for place, name in enumerate(judgement.predictors)}

    def at(value: float) -> str | None:
        return None if pd.isna(value) else f"{100 * (value - start) / (1 - start):.2f}%"

    groups = [{"title": "", "lines": []}]
    for title, frame in rows:
        name = heading(title) if title else "all classes"
        if several:
            groups.append({"title": name, "lines": []})
        for row in frame.to_dict("records"):
            ends = row["auroc_low"], row["auroc_high"]
            line = {"name": row["predictor"] if several else name, "colour": colours[row["predictor"]]}
            line |= {key: at(value) for key, value in zip(("at", "low", "high"), (row["auroc"], *ends), strict=True)}
            line |= {"text": decimal(row["auroc"], 3), "interval": span(*ends, 3), "all": not title}
            groups[-1]["lines"].append(line)
    left = len(judgement.read.classes) - len(shown)
    return {
        "names": "predictor" if several else "class",
        "groups": [group for group in groups if group["lines"]],
        "ticks": [{"at": at(tick / 10), "text": f"{tick / 10:.1f}"} for tick in range(round(10 * start), 11, 2)],
        "chance": at(0.5),
        "note": f"{left} further class{'es are' if left > 1 else ' is'} in the table." if left > 0 else "",
    }


def sections(judgement: Judgement, made: Mapping[str, pd.DataFrame], picture: dict, drawn: str) -> Iterator[dict]:
    """The sections below the answer: {id, title, text, parts}; those without a table are left out."""
    rule = "the likeliest class" if judgement.read.task == "multiclass" else "a class is predicted from 0.5 on"
    yield {
        "id": "scores",
        "title": "Scores",
        "text": "How well scans with a class are ranked above scans without it, and how good decisions are "
        f"({rule}). In brackets, intervals of 95 %.",
        "parts": [
            part(made, "scores", "All classes together", "Means over classes that some scans have and others lack."),
            part(made, "class_scores", "Each class", "Over its own scans: those whose label is known."),
        ],
    }
    if "pairs" in made:
        yield {
            "id": "pairs",
            "title": "Predictors compared",
            "text": "On the same scans, paired: the difference, its interval, and p of a permutation test over "
            "patients.",
            "parts": [
                part(made, "pairs", "Each pair", "Bold: differs significantly in macro AUROC. An interval of F1 allows "
                     "for errors that these scans happen not to show, p does not: where a class is hardly ever "
                     "predicted, p may be small although the interval contains 0."),
            ],
        }  # fmt: skip
    if "claims" in made:
        yield {
            "id": "claims",
            "title": "Claims",
            "text": "A claim holds where each of its comparisons is true in at least 95 % of the draws of patients, "
            "and fails where one is true in hardly any; between them these scans cannot tell.",
            "parts": [part(made, "claims", "Verdicts")],
        }
    coloured = " Coloured: after scaling by the temperature fitted on val." if judgement.calibration.calibrated else ""
    diagram = {
        "title": "Reliability",
        "text": f"On the diagonal, confidence equals the fraction that is correct. Grey: as given.{coloured}",
    }
    yield {
        "id": "calibration",
        "title": "Calibration",
        "text": "Are the probabilities calibrated: is a probability of 0.8 right four times in five?",
        "parts": [
            EMPTY | diagram | {"id": "reliability", "image": picture, "live": drawn, "files": FILES_OF_THE_DIAGRAM},
            part(made, "calibration", "Calibration error", "The mean gap between the confidence of answers and the "
                 "share of them that is correct (ECE, 15 bins), and the Brier score."),
        ],
    }  # fmt: skip
    chosen = (
        "Chosen on the scans of val only."
        if judgement.chosen_on == FROM_VAL
        else "Cross-fitted: each fifth of the patients is judged at the threshold chosen on the other four. The "
        "threshold shown is the one chosen on all scans, including those that are judged."
    )
    thresholds = [
        part(made, "thresholds", "The threshold with the highest F1", "Compared with a threshold of 0.5."),
        part(made, "operating_points", "Sensitivity at a specificity", "Each class against all others. Predictive "
             "values are computed for prevalences of 1 and of 10 %."),
    ]  # fmt: skip
    yield {
        "id": "thresholds",
        "title": "Thresholds",
        "text": chosen,
        "parts": thresholds[judgement.read.task == "multiclass" :],
    }
    if "groups" in made:
        yield {
            "id": "groups",
            "title": "Groups",
            "text": "The same scores for some of the scans, over the classes that five of them have and five lack. A "
            "group of fewer than 20 scans or 10 patients has none.",
            "parts": [part(made, "groups", judged_words.joined(judgement.read.test.metadata.columns).capitalize())],
        }
    yield {
        "id": "baselines",
        "title": "Baselines",
        "text": "Predictions that need no image, on the same scans.",
        "parts": [
            part(made, "image_gain", "What the image adds to metadata", "AUROC of logistic regressions on metadata "
                 "alone, and with the prediction beside them, cross-fitted over "
                 f"{image_gain.FOLDS} folds of patients.", none="No metadata is known."),
            part(made, "baselines", "Trivial predictions", "Bold: significantly better in macro F1."),
        ],
    }  # fmt: skip
    yield {
        "id": "understood",
        "title": "What was read",
        "text": "How the columns were understood, and the labels that count.",
        "parts": [
            part(made, "labels", "Labels", "Positive and negative ones count; uncertain and blank ones do not."),
            part(made, "understood", "Columns"),
        ],
    }


EMPTY = {"text": "", "grid": None, "image": None, "live": "", "more": "", "files": []}
FILES_OF_THE_DIAGRAM = [{"text": kind.upper(), "link": f"figures/reliability.{kind}"} for kind in ("png", "svg", "csv")]


def part(made: Mapping[str, pd.DataFrame], name: str, title: str, text: str = "", none: str = "None.") -> dict:
    """A table for the page: its first rows, and a link to all of them."""
    about = EMPTY | {"id": f"table-{name}", "title": title, "text": text}
    if name not in made or made[name].empty:
        return about | {"more": none}
    frame = made[name]
    if len(frame) > MOST_ROWS:
        about["more"] = f"The first {MOST_ROWS:,} of {len(frame):,} rows; the CSV has all of them."
    link = {"text": "CSV", "link": f"tables/{name}.csv"}
    return about | {"grid": getattr(judged_tables, name)(frame.head(MOST_ROWS)), "files": [link]}
