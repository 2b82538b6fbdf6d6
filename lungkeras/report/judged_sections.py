"""The sections of a judgement's page below the answer: {id, title, text, parts}, one function each."""

from collections.abc import Iterator, Mapping

import pandas as pd

from lungkeras.evaluation import image_gain
from lungkeras.evaluation.judged_thresholds import FROM_VAL
from lungkeras.evaluation.judgement import Judgement
from lungkeras.report import judged_tables
from lungkeras.study.words import listed

MOST_ROWS = 300  # of a table on the page
EMPTY = {"text": "", "grid": None, "image": None, "live": "", "more": "", "files": []}
FILES_OF_THE_DIAGRAM = [{"text": kind.upper(), "link": f"figures/reliability.{kind}"} for kind in ("png", "svg", "csv")]
Tables = Mapping[str, pd.DataFrame]


def sections(judgement: Judgement, made: Tables, picture: dict, drawn: str) -> Iterator[dict]:
    """All sections that have a table. `picture` is the reliability diagram, `drawn` its data for the page's script."""
    yield scores(judgement, made)
    if "pairs" in made:
        yield pairs(made)
    if "claims" in made:
        yield claims(made)
    yield calibration(judgement, made, picture, drawn)
    yield thresholds(judgement, made)
    if "groups" in made:
        yield groups(judgement, made)
    yield baselines(made)
    yield understood(made)


def scores(judgement: Judgement, made: Tables) -> dict:
    rule = "the likeliest class" if judgement.read.task == "multiclass" else "a class is predicted from 0.5 on"
    return {
        "id": "scores",
        "title": "Scores",
        "text": "How well scans with a class are ranked above scans without it, and how good decisions are "
        f"({rule}). In brackets, intervals of 95 %.",
        "parts": [
            part(made, "scores", "All classes together", "Means over classes that some scans have and others lack."),
            part(made, "class_scores", "Each class", "Over its own scans: those whose label is known."),
        ],
    }


def pairs(made: Tables) -> dict:
    return {
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


def claims(made: Tables) -> dict:
    return {
        "id": "claims",
        "title": "Claims",
        "text": "A claim holds where each of its comparisons is true in at least 95 % of the draws of patients, "
        "and fails where one is true in hardly any; between them these scans cannot tell.",
        "parts": [part(made, "claims", "Verdicts")],
    }


def calibration(judgement: Judgement, made: Tables, picture: dict, drawn: str) -> dict:
    coloured = " Coloured: after scaling by the temperature fitted on val." if judgement.calibration.calibrated else ""
    diagram = {
        "title": "Reliability",
        "text": f"On the diagonal, confidence equals the fraction that is correct. Grey: as given.{coloured}",
    }
    return {
        "id": "calibration",
        "title": "Calibration",
        "text": "Are the probabilities calibrated: is a probability of 0.8 right four times in five?",
        "parts": [
            EMPTY | diagram | {"id": "reliability", "image": picture, "live": drawn, "files": FILES_OF_THE_DIAGRAM},
            part(made, "calibration", "Calibration error", "The mean gap between the confidence of answers and the "
                 "share of them that is correct (ECE, 15 bins), and the Brier score."),
        ],
    }  # fmt: skip


def thresholds(judgement: Judgement, made: Tables) -> dict:
    chosen = (
        "Chosen on the scans of val only."
        if judgement.thresholds.chosen_on == FROM_VAL
        else "Cross-fitted: each fifth of the patients is judged at the threshold chosen on the other four. The "
        "threshold shown is the one chosen on all scans, including those that are judged."
    )
    tables = [
        part(made, "thresholds", "The threshold with the highest F1", "Compared with a threshold of 0.5."),
        part(made, "operating_points", "Sensitivity at a specificity", "Each class against all others. Predictive "
             "values are computed for prevalences of 1 and of 10 %."),
    ]  # fmt: skip
    return {
        "id": "thresholds",
        "title": "Thresholds",
        "text": chosen,
        "parts": tables[judgement.read.task == "multiclass" :],
    }


def groups(judgement: Judgement, made: Tables) -> dict:
    return {
        "id": "groups",
        "title": "Groups",
        "text": "The same scores for some of the scans, over the classes that five of them have and five lack. A "
        "group of fewer than 20 scans or 10 patients has none.",
        "parts": [part(made, "groups", listed(judgement.read.test.metadata.columns).capitalize())],
    }


def baselines(made: Tables) -> dict:
    return {
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


def understood(made: Tables) -> dict:
    return {
        "id": "understood",
        "title": "What was read",
        "text": "How the columns were understood, and the labels that count.",
        "parts": [
            part(made, "labels", "Labels", "Positive and negative ones count; uncertain and blank ones do not."),
            part(made, "understood", "Columns"),
        ],
    }


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
