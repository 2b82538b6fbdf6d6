"""Thresholds of a judgement, chosen on val or by cross-fitting: with the highest F1, and at target specificities."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lungkeras.evaluation import decision_thresholds, image_gain
from lungkeras.evaluation.foreign import Foreign
from lungkeras.evaluation.judged_answers import Answers, sums, triple, wilson
from lungkeras.evaluation.operating_points import SPECIFICITIES, at_prevalences, threshold_at
from lungkeras.scores import intervals

FROM_VAL, CROSS_FITTED = "validation", "cross-fitted"


@dataclass
class Thresholds:
    """The thresholds of each predictor for what was read.

    `folds` (scans,) divide the test scans by patient, `answers` are those of each predictor, and `of_scans` turns
    probabilities and decisions into answers.
    """

    read: Foreign
    folds: np.ndarray
    answers: dict[str, Answers]
    of_scans: Callable[..., Answers]

    @property
    def chosen_on(self) -> str:
        return CROSS_FITTED if self.read.val is None else FROM_VAL

    def called(self, name: str, place: int, choose: Callable) -> tuple[float, np.ndarray]:
        """(a threshold, which scans are predicted at it, bool (scans,)) of one class.

        `choose(labels, scores)` chooses it on val. Without val, it is chosen by cross-fitting over folds of patients,
        and the threshold shown is that of all scans.
        """
        test, val = self.read.test, self.read.val
        given = test.probabilities[name][:, place]
        if val is not None:
            own = val.known[:, place]
            threshold = choose(val.labels[own, place], val.probabilities[name][own, place])
            return threshold, given >= threshold
        own = test.known[:, place]
        labels, decided = test.labels[:, place], np.zeros(len(test), dtype=bool)
        for fold in range(image_gain.FOLDS):
            here, others = self.folds == fold, own & (self.folds != fold)
            decided[here] = given[here] >= choose(labels[others], given[others])
        return choose(labels[own], given[own]), decided

    def with_highest_f1(self) -> pd.DataFrame:
        """For each finding, the threshold with the highest F1, and F1 there and at 0.5; empty for exclusive classes."""
        rows = []
        if self.read.task == "multiclass":
            return pd.DataFrame(rows)
        for name, answers in self.answers.items():
            found = [self.called(name, place, _best_f1) for place in range(len(self.read.classes))]
            tuned = self.of_scans(answers.probabilities, np.stack([calls for _, calls in found], axis=1).astype(int))
            for place, title in ((None, ""), *enumerate(self.read.classes)):
                row = {"predictor": name, "class": title, "chosen_on": self.chosen_on}
                row["threshold"] = np.nan if place is None else found[place][0]
                for end, each in (("", answers), ("_tuned", tuned)):
                    row |= triple(f"f1{end}", *each.f1(place))
                    for score in ("sensitivity", "specificity"):
                        points = each.ranked[score][0]
                        row[f"{score}{end}"] = float(
                            intervals.mean_of_defined(points) if place is None else points[place]
                        )
                rows.append(row | {"note": ""} if place is None else answers.without_thin_ends(row, place))
        return pd.DataFrame(rows)

    def operating_points(self) -> pd.DataFrame:
        """For each class, the sensitivity at a target specificity, as in operating_points."""
        rows = []
        for name, answers in self.answers.items():
            for place, title in enumerate(self.read.classes):
                for wanted in SPECIFICITIES:
                    about = {"predictor": name, "class": title, "asked": wanted, "chosen_on": self.chosen_on}
                    threshold, calls = self.called(
                        name, place, lambda labels, scores, s=wanted: threshold_at(labels, scores, s)
                    )
                    rows.append(answers.without_thin_ends(about | at(answers, place, threshold, calls), place))
        return pd.DataFrame(rows)


def at(answers: Answers, place: int, threshold: float, calls: np.ndarray) -> dict:
    """Sensitivity and specificity of the calls, and predictive values at two prevalences."""
    own, has = answers.known[:, place], answers.labels[:, place] == 1
    row = {"threshold": threshold, "support": int((own & has).sum())}
    judged = []
    for score, side, right in (("sensitivity", own & has, calls), ("specificity", own & ~has, ~calls)):
        parts = sums(np.stack([side & right, side], axis=1), answers.blocks).T
        point = parts[0].sum() / parts[1].sum() if parts[1].sum() else np.nan
        judged.append((point, *(wilson(*parts) if parts[1].any() else (np.nan, np.nan))))
        row |= triple(score, *judged[-1])
    for name, values in at_prevalences(*judged).items():
        row |= triple(name, *values)
    return row


def _best_f1(labels: np.ndarray, scores: np.ndarray) -> float:
    return float(decision_thresholds.fit_thresholds(labels[:, None], scores[:, None])[0])
