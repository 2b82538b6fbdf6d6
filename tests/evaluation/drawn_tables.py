"""Tables of two predictors with planted effects, and what their scores are in the population that they come from."""

import functools

import numpy as np
import pandas as pd
from scipy.special import expit

from lungkeras.evaluation.foreign import read_foreign
from lungkeras.evaluation.foreign_cells import read_table
from lungkeras.evaluation.judgement import Judgement

CLASSES = ("mass", "nodule", "effusion")
SKILL = {"good": np.array([1.6, 1.1, 1.4]), "poor": np.array([1.2, 0.9, 0.8])}


def drawn(random, patients: int, scans=(1, 4)) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(table of the good predictor, of the poor one): scans of one patient resemble each other in all that they have.

    Labels follow age and sex. Scores see the label, and share an error that is the patient's and one of the scan's.
    """
    sizes = random.integers(scans[0], scans[1] + 1, patients)
    own = np.repeat(np.arange(patients), sizes)
    age, sex = random.uniform(20, 90, patients), random.integers(2, size=patients)
    sick = random.normal(size=(patients, 3))
    odds = -1.0 + 0.9 * ((age - 55) / 20)[:, None] + 0.6 * sex[:, None] + 0.8 * sick
    labels = (random.random((len(own), 3)) < expit(odds[own])).astype(int)
    shared = 0.6 * random.normal(size=(patients, 3))[own] + 0.6 * random.normal(size=labels.shape)
    base = pd.DataFrame({"scan": [f"{place}.png" for place in range(len(own))], "patient": own})
    base = base.assign(**{f"label_{name}": labels[:, place] for place, name in enumerate(CLASSES)})
    tables = []
    for skill in SKILL.values():
        seen = skill * labels + shared + 0.5 * random.normal(size=labels.shape)
        given = expit(2 * seen - 1.6)
        tables.append(base.assign(**{f"probability_{name}": given[:, place] for place, name in enumerate(CLASSES)}))
    tables[0] = tables[0].assign(age=np.round(age[own]), sex=np.where(sex[own], "M", "F"))
    return tables[0], tables[1]


def judged(tables, **others) -> Judgement:
    named = dict(zip(SKILL, tables, strict=True))
    return Judgement(read_foreign({name: read_table(f"{name}.csv", table) for name, table in named.items()}, **others))


def found(judgement: Judgement) -> dict[str, tuple[float, float, float]]:
    """{what is asked: (point, low, high)}."""
    scores, classes = (judgement.table(name).iloc[0] for name in ("scores", "class_scores"))
    pair, gain = judgement.table("pairs").iloc[0], judgement.table("image_gain").iloc[0]
    answers = {
        name: tuple(scores[f"{name}{end}"] for end in ("", "_low", "_high"))
        for name in ("macro_auroc", "macro_f1", "macro_average_precision", "macro_sensitivity")
    }
    answers |= {
        f"{name} of a class": tuple(classes[f"{name}{end}"] for end in ("", "_low", "_high"))
        for name in ("auroc", "f1", "sensitivity", "specificity", "average_precision")
    }
    answers["difference of macro F1"] = tuple(pair[["difference", "low", "high"]])
    answers["difference of macro AUROC"] = tuple(pair[[f"auroc_{key}" for key in ("difference", "low", "high")]])
    answers["image beyond metadata"] = tuple(gain[["gain", "gain_low", "gain_high"]])
    return answers


@functools.cache
def truth(patients: int = 20_000) -> dict[str, float]:
    """The same of a population: so many patients that chance is a tenth of what it is in a table."""
    return {name: answer[0] for name, answer in found(judged(drawn(np.random.default_rng(99), patients))).items()}


def coverage(tables: int, patients: int, seed: int = 0) -> pd.DataFrame:
    """Of each quantity how many intervals hold the truth, how many lie below and above it, and their mean width."""
    rows = []
    for table in range(tables):
        judgement = judged(drawn(np.random.default_rng([seed, table]), patients))
        for name, (_, low, high) in found(judgement).items():
            right = truth()[name]
            rows.append({"what": name, "covers": low <= right <= high, "below": high < right, "above": low > right,
                         "width": high - low})  # fmt: skip
    return pd.DataFrame(rows).groupby("what", sort=False).mean()
