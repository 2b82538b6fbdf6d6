"""A user's predictions, as read by foreign.py -> tables of scores, with intervals over patients.

The tables match those of a study's runs (comparison, calibration, operating_points, subgroups, baselines), for labels
that may be unknown and for many scans: with more than 2,000 patients, the bootstrap draws blocks of patients. A class
is scored on the scans where its label is known. `class` is empty in the row for all classes together.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from lungkeras.evaluation import image_gain
from lungkeras.evaluation.comparison import with_verdicts
from lungkeras.evaluation.foreign import Foreign
from lungkeras.evaluation.judged_answers import Answers
from lungkeras.evaluation.judged_calibration import Calibration
from lungkeras.evaluation.judged_thresholds import Thresholds
from lungkeras.evaluation.subgroups import AGE_BANDS, FEWEST_OF_A_CLASS, FEWEST_SCANS, UNKNOWN, age_bands
from lungkeras.scores import f1_scores, intervals, metrics, paired

MAJORITY, EVERY_CLASS, METADATA = "majority", "every class", "metadata"
PAIRED = ("difference", "low", "high", "p", "auroc_difference", "auroc_low", "auroc_high", "auroc_p")
TABLES = (
    "scores", "class_scores", "calibration", "reliability", "thresholds", "operating_points", "groups", "baselines",
    "image_gain", "pairs",
)  # fmt: skip


@dataclass
class Judgement:
    """The tables for the scans that were read, each computed once, on demand."""

    read: Foreign
    seed: int = 0
    made: dict[str, pd.DataFrame] = field(default_factory=dict, init=False)

    @property
    def predictors(self) -> list[str]:
        return list(self.read.test.probabilities)

    @cached_property
    def blocks(self) -> np.ndarray:
        return intervals.patient_blocks(self.read.test.patients)

    @cached_property
    def folds(self) -> np.ndarray:
        """The fold of each test scan, by its block, so that no patient is in two folds."""
        return image_gain.folds_of(self.blocks, self.seed)

    @cached_property
    def patient_places(self) -> np.ndarray:
        return intervals.patient_places(self.read.test.patients)[0]

    @cached_property
    def answers(self) -> dict[str, Answers]:
        """{predictor: its answers on the test scans}, decisions at 0.5, or for the most likely class."""
        return {name: self.of_scans(given) for name, given in self.read.test.probabilities.items()}

    def of_scans(
        self, given: np.ndarray, decided: np.ndarray | None = None, chosen: np.ndarray | slice = slice(None)
    ) -> Answers:
        """The answers of probabilities (scans, classes) on some of the test scans."""
        labels, known = self.read.test.labels[chosen], self.read.test.known[chosen]
        decided = metrics.decide(given, self.read.task) if decided is None else decided
        places = self.patient_places[chosen]
        sides = []
        for side in (labels == 1, labels == 0):
            counted = [np.count_nonzero(np.bincount(places[of_class])) for of_class in (side & known).T]
            sides.append(np.array(counted, dtype=int))
        patients = np.count_nonzero(np.bincount(places))
        parts = (given[chosen], decided[chosen], self.blocks[chosen])
        return Answers(self.read.classes, labels, known, *parts, patients, *sides)

    def table(self, name: str) -> pd.DataFrame:
        """One of TABLES, made once."""
        if name not in self.made:
            self.made[name] = getattr(self, f"_{name}")()
        return self.made[name]

    def _scores(self) -> pd.DataFrame:
        test, rows = self.read.test, []
        about = {"scans": len(test), "patients": int(self.patient_places.max()) + 1}
        for name, answers in self.answers.items():
            rows.append({"predictor": name} | about | {"classes": int(answers.defined.sum())} | answers.macro())
        return pd.DataFrame(rows)

    def _class_scores(self) -> pd.DataFrame:
        return pd.DataFrame(
            [{"predictor": name} | row for name, answers in self.answers.items() for row in answers.of_classes()]
        )

    @cached_property
    def calibration(self) -> Calibration:
        return Calibration(self.read, self.blocks)

    def _calibration(self) -> pd.DataFrame:
        return self.calibration.table({name: answers.rarer for name, answers in self.answers.items()})

    def _reliability(self) -> pd.DataFrame:
        return self.calibration.reliability()

    @cached_property
    def thresholds(self) -> Thresholds:
        return Thresholds(self.read, self.folds, self.answers, self.of_scans)

    def _thresholds(self) -> pd.DataFrame:
        return self.thresholds.with_highest_f1()

    def _operating_points(self) -> pd.DataFrame:
        return self.thresholds.operating_points()

    def _groups(self) -> pd.DataFrame:
        """Macro F1 and AUROC of each group of scans, over the classes that five or more scans have and lack."""
        rows = []
        for attribute, values in self.read.test.metadata.items():
            groups = (age_bands(values) if attribute == "age" else values.fillna(UNKNOWN)).to_numpy(str)
            names, counts = np.unique(groups, return_counts=True)
            kept = set(names[np.argsort(-counts, kind="stable")][: image_gain.MOST_CATEGORIES])
            order = [*AGE_BANDS, *sorted(kept - {*AGE_BANDS, UNKNOWN}), UNKNOWN]
            for group in (group for group in order if group in kept):
                chosen = groups == group
                for name, answers in self.answers.items():
                    about = {"predictor": name, "attribute": attribute, "group": group}
                    part = self.of_scans(answers.probabilities, answers.decided, chosen)
                    rows.append(about | _of_group(part))
        return pd.DataFrame(rows)

    @cached_property
    def metadata_alone(self) -> np.ndarray | None:
        """Cross-fitted predictions from metadata for each test scan and class; None if no metadata are known."""
        test = self.read.test
        if not len(test.metadata.columns):
            return None
        return image_gain.metadata_probabilities(test.metadata, test.labels, test.known, self.folds)

    @cached_property
    def baselines(self) -> dict[str, Answers]:
        """{baseline: its answers}: the more frequent answer, every finding, and metadata alone."""
        test, found = self.read.test, {}
        shares = (test.labels * test.known).sum(axis=0) / np.maximum(test.known.sum(axis=0), 1)
        if self.read.val is not None:
            val = self.read.val
            shares = (val.labels * val.known).sum(axis=0) / np.maximum(val.known.sum(axis=0), 1)
        frequent = np.tile(shares, (len(test), 1))
        found[MAJORITY] = self.of_scans(frequent)
        if self.read.task == "multilabel":
            found[EVERY_CLASS] = self.of_scans(np.ones(frequent.shape))
        if (alone := self.metadata_alone) is not None:
            given = np.where(np.isnan(alone), frequent, alone)
            decided = None if self.read.task == "multiclass" else (given >= frequent).astype(int)
            found[METADATA] = self.of_scans(given, decided)
        return found

    def _baselines(self) -> pd.DataFrame:
        rows = []
        for name, answers in self.answers.items():
            for baseline, other in self.baselines.items():
                scores = {
                    f"{start}macro_f1": f1_scores.macro_f1_of_counts(each.counts[:, :3])
                    for start, each in (("", answers), ("baseline_", other))
                }
                rows.append({"predictor": name, "baseline": baseline} | scores | self.compared(answers, other))
        return with_verdicts(pd.DataFrame(rows))

    def compared(self, first: Answers, second: Answers) -> dict[str, float]:
        """The paired difference in macro F1 and AUROC, first minus second, with interval and p."""
        labels, blocks = first.marked, first.blocks
        f1 = paired.compare_f1(labels, first.decided, second.decided, blocks, patient_count=first.patients)
        auroc = paired.compare_auroc(labels, first.probabilities, second.probabilities, blocks)
        return f1 | {f"auroc_{key}": value for key, value in auroc.items()}

    def _pairs(self) -> pd.DataFrame:
        """Each pair of predictors on the same scans, as in comparison.pairs."""
        names = self.predictors
        rows = [
            {"first": first, "second": second} | self.compared(self.answers[first], self.answers[second])
            for place, first in enumerate(names)
            for second in names[place + 1 :]
        ]
        table = pd.DataFrame(rows, columns=["first", "second", *PAIRED])
        for p in ("p", "auroc_p"):
            table[f"{p}_holm"] = paired.holm(table[p])
        return table

    @cached_property
    def gains(self) -> dict[str, tuple[list[dict], np.ndarray]]:
        """{predictor: result of `image_gain`}; empty without metadata."""
        if self.metadata_alone is None:
            return {}
        test = self.read.test
        scored = (test.labels, test.known, self.blocks, self.folds)
        return {
            name: image_gain.image_gain(test.metadata, self.metadata_alone, given, *scored)
            for name, given in test.probabilities.items()
        }

    def _image_gain(self) -> pd.DataFrame:
        """What the predictor adds to metadata: first for all classes together, then for each."""
        rows = []
        for name, (found, _) in self.gains.items():
            about = {"predictor": name, "metadata": ", ".join(self.read.test.metadata.columns)}
            points, answers = self.answers[name].ranked["auroc"][0], self.answers[name]
            rows.append(
                about | {"class": "", "image_auroc": intervals.mean_of_defined(points)} | found[-1] | {"note": ""}
            )
            for place, title in enumerate(self.read.classes):
                row = about | {"class": title, "image_auroc": points[place]} | found[place]
                rows.append(answers.without_thin_ends(row, place))
        return pd.DataFrame(rows)

    def all_tables(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """(name, table) of each of TABLES that has a row."""
        for name in TABLES:
            if len(table := self.table(name)):
                yield name, table


def _of_group(part: Answers) -> dict:
    positives = (part.labels * part.known).sum(axis=0)
    counted = np.minimum(positives, part.known.sum(axis=0) - positives) >= FEWEST_OF_A_CLASS
    row = {"scans": len(part.labels), "patients": part.patients, "classes": int(counted.sum())}
    if row["scans"] < FEWEST_SCANS or part.patients < intervals.FEWEST_PATIENTS or not counted.any():
        return row | {"note": intervals.TOO_FEW}
    answers = Answers(
        tuple(np.array(part.classes)[counted]),
        *(each[:, counted] for each in (part.labels, part.known, part.probabilities, part.decided)),
        part.blocks,
        part.patients,
        *(each[counted] for each in (part.carriers, part.others)),
    )
    scores = answers.macro()
    kept = (f"{name}{end}" for name in ("macro_f1", "macro_auroc") for end in ("", "_low", "_high"))
    return row | {name: scores[name] for name in kept} | {"note": ""}
