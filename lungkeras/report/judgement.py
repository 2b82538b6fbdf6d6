"""A judgement of a user's predictions -> DIR/report.html, one file that needs no other, and DIR/tables/*.csv.

First the question and the answer with its interval, then what not to conclude, then a section per kind of table.
"""

import datetime
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.evaluation import judged_claims
from lungkeras.evaluation.judgement import TABLES, Judgement
from lungkeras.report import judged_words
from lungkeras.report.figures.files import save_figure
from lungkeras.report.figures.reliability import COLOURS, reliability_of_predictors
from lungkeras.report.figures.style import themed
from lungkeras.report.grid import span
from lungkeras.report.judged_sections import sections
from lungkeras.report.live import as_attribute, reliability_panel
from lungkeras.report.page import environment
from lungkeras.report.pictures import embedded
from lungkeras.study.words import decimal, heading
from lungkeras.system.files import together, write_csv, write_text

BESIDE = ("understood", "labels", "claims")  # tables besides those of a judgement
MOST_CLASSES = 30  # of the figure
MOST_CARDS = 4  # predictors with a card


def write_judgement(
    judgement: Judgement, folder: Path | str, *, claims: Sequence[Mapping] = (), date: str | None = None
) -> Path:
    """Writes report.html, tables/*.csv and figures/ in a folder, and returns the page's path.

    If it fails, an earlier judgement stays as it was, and tables that this one does not have are removed once it is
    complete. `claims` are those of `read_claims`.
    """
    folder, read = Path(folder), judgement.read
    made = dict(judgement.all_tables()) | {"understood": read.understood, "labels": read.label_counts}
    if claims:
        made["claims"] = judged_claims.verdicts(judgement, list(claims))
    errors, points = (judgement.table(name) for name in ("calibration", "reliability"))
    several = len(judgement.predictors) > 1
    former = [f"tables/{name}.csv" for name in (*TABLES, *BESIDE)]
    with together(folder, "report.html", former) as new:
        for name, table in made.items():
            write_csv(new / "tables" / f"{name}.csv", table)
        figure = reliability_of_predictors(points, errors[errors["class"] == ""])
        picture = embedded(save_figure(figure, new / "figures", "reliability", points))
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
        write_text(new / "report.html", html)
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
