"""A judgement of anybody's predictions -> DIR/report.html, one file that needs no other, and DIR/tables/*.csv.

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
from lungkeras.report.page import TEMPLATES, policy_hash
from lungkeras.report.page import environment as page_environment
from lungkeras.report.pictures import embedded
from lungkeras.study.words import heading
from lungkeras.system.files import write_csv, write_text

BESIDE = ("understood", "labels", "claims")  # tables besides those of a judgement
MOST_ROWS = 300  # of a table on the page
MOST_CLASSES = 30  # of the figure
NAMES, RIGHT, FIRST, STEP, GAP = 200, 620, 22, 13, 13  # of the figure, in its units
LONGEST = 24


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
    html = _with_style().render(
        title="How good are these predictions?" if several else f"How good is {judgement.predictors[0]}?",
        date=date or datetime.date.today().isoformat(),
        lead=judged_words.lead(judgement),
        asked=judged_words.asked(judgement),
        answer=judged_words.answer(judgement, made),
        forest=forest(judgement),
        cautions=judged_words.cautions(judgement),
        sections=list(sections(judgement, made, picture)),
        version=version("lungkeras"),
    )
    write_text(folder / "report.html", html)
    return folder / "report.html"


def _with_style():
    """The page's template, with the report's style and its own, and the hash of the style for the page's policy."""
    from markupsafe import Markup

    environment = page_environment()
    style = environment.globals["css"] + Markup((TEMPLATES / "judgement.css").read_text(encoding="utf-8"))
    environment.globals |= {"style": style, "style_hash": policy_hash(style)}
    return environment.get_template("judgement.html.j2")


def forest(judgement: Judgement) -> dict | None:
    """The figure: AUROC of all classes and of each, in the units of the drawing; None if none is defined."""
    scores, classes = judgement.table("scores"), judgement.table("class_scores")
    shown = judgement.read.classes[:MOST_CLASSES]
    rows = [(name, classes[classes["class"] == name]) for name in shown]
    if len(judgement.read.classes) > 1:
        rows.insert(0, ("", scores.rename(columns=lambda name: name.removeprefix("macro_"))))
    values = pd.concat([frame[["auroc", "auroc_low"]] for _, frame in rows]).to_numpy(float)
    if np.isnan(values).all():
        return None
    start = min(0.5, np.floor(10 * np.nanmin(values)) / 10)
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(judgement.predictors)}

    def x(value: float) -> float | None:
        return None if pd.isna(value) else round(NAMES + (RIGHT - NAMES) * (value - start) / (1 - start), 1)

    y, drawn = FIRST, []
    for title, frame in rows:
        dots = [
            {key: x(row[name]) for key, name in (("x", "auroc"), ("low", "auroc_low"), ("high", "auroc_high"))}
            | {"y": y + STEP * place, "colour": colours[row["predictor"]]}
            | {"text": f"{row['predictor']} {judged_words.with_interval(row, 'auroc')}"}
            for place, row in enumerate(frame.to_dict("records"))
        ]
        name = heading(title) if title else "all classes"
        short = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
        drawn.append(
            {"name": name, "short": short, "y": y + STEP * (len(dots) - 1) / 2, "dots": dots, "all": not title}
        )
        y += STEP * len(dots) + GAP
    left = len(judgement.read.classes) - len(shown)
    return {
        "rows": drawn,
        "ticks": [{"x": x(value), "text": f"{value:.1f}"} for value in np.arange(start, 1.01, 0.1)],
        "chance": x(0.5),
        "height": y + 20,
        "names": NAMES,
        "legend": [{"name": name, "colour": colour} for name, colour in colours.items()] if len(colours) > 1 else [],
        "note": f"{left} further classes are in the table." if left > 0 else "",
    }


def sections(judgement: Judgement, made: Mapping[str, pd.DataFrame], picture: dict) -> Iterator[dict]:
    """The sections below the answer: {id, title, text, parts}; those without a table are left out."""
    rule = "the likeliest class" if judgement.read.task == "multiclass" else "a class is called from 0.5 on"
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
            "text": "On the same scans, paired: the difference, its interval, and p of a permutation test of patients.",
            "parts": [
                part(made, "pairs", "Each pair", "Bold: differs significantly in macro AUROC. An interval of F1 allows "
                     "for errors that these scans happen not to show, p does not: where a class is hardly ever called, "
                     "p may be small and the interval hold 0."),
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
    coloured = " Coloured: after the temperature that val chose." if judgement.calibration.calibrated else ""
    diagram = {
        "title": "Reliability",
        "text": f"On the diagonal, a probability means what it says. Grey: as given.{coloured}",
    }
    yield {
        "id": "calibration",
        "title": "Calibration",
        "text": "Do the probabilities mean what they say?",
        "parts": [
            EMPTY | diagram | {"image": picture, "file": "figures/reliability.csv"},
            part(made, "calibration", "Calibration error", "The mean gap between how sure answers are and how many of "
                 "them are so (ECE, 15 bins), and the Brier score."),
        ],
    }  # fmt: skip
    chosen = (
        "Chosen on the scans of val alone."
        if judgement.chosen_on == FROM_VAL
        else "Cross-fitted: each fifth of the patients is judged at the threshold that the other four chose. The "
        "threshold that is shown is that of all scans, which are also those that are judged."
    )
    thresholds = [
        part(made, "thresholds", "The threshold of the highest F1", "Beside a threshold of 0.5."),
        part(made, "operating_points", "Sensitivity at a specificity", "Each class against all others. Predictive "
             "values are worked out for prevalences of 1 and of 10 %."),
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
        "text": "What needs no image, on the same scans.",
        "parts": [
            part(made, "image_gain", "What the image adds to metadata", "AUROC of logistic regressions on metadata "
                 "alone, and with the prediction beside them, cross-fitted over "
                 f"{image_gain.FOLDS} folds of patients.", none="No metadata is known."),
            part(made, "baselines", "Trivial answers", "Bold: significantly better in macro F1."),
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


EMPTY = {"text": "", "grid": None, "image": None, "more": "", "file": ""}


def part(made: Mapping[str, pd.DataFrame], name: str, title: str, text: str = "", none: str = "None.") -> dict:
    """A table for the page: its first rows, and a link to all of them."""
    about = EMPTY | {"title": title, "text": text}
    if name not in made or made[name].empty:
        return about | {"more": none}
    frame = made[name]
    if len(frame) > MOST_ROWS:
        about["more"] = f"The first {MOST_ROWS:,} of {len(frame):,} rows; the CSV has all of them."
    return about | {"grid": getattr(judged_tables, name)(frame.head(MOST_ROWS)), "file": f"tables/{name}.csv"}
