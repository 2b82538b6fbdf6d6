"""The answers of one predictor on the scans to judge, and their scores with intervals over patients.

Labels may be unknown. With more than 2,000 patients, the bootstrap draws blocks of patients. A class is scored on
the scans where its label is known.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from lungkeras.scores import (
    delong,
    f1_scores,
    intervals,
    left_out,
    precision,
    share_intervals,
)

SCORES = ("macro_f1", "macro_auroc", "macro_average_precision", "macro_sensitivity", "macro_specificity")
CLASS_SCORES = ("f1", "auroc", "average_precision", "sensitivity", "specificity")
WIDEST = 6.0  # standard errors that an interval of few patients reaches


@dataclass(frozen=True)
class Answers:
    """The answers of one predictor, and intermediate results used more than once; arrays as in `Scans`.

    `blocks` (scans,) represent a number of `patients`; `carriers` and `others` (classes,) count the patients with a
    class and those with a scan without it.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    known: np.ndarray
    probabilities: np.ndarray
    decided: np.ndarray
    blocks: np.ndarray
    patients: int
    carriers: np.ndarray
    others: np.ndarray

    @cached_property
    def marked(self) -> np.ndarray:
        """Labels for the scores: float64 (scans, classes), NaN where unknown."""
        return np.where(self.known, self.labels, np.nan)

    @property
    def rarer(self) -> np.ndarray:
        return np.minimum(self.carriers, self.others)

    @cached_property
    def counts(self) -> np.ndarray:
        """Hits, decisions, positives and scans of each patient and class: float64 (patients, 4, classes)."""
        known = self.known
        parts = (self.labels * self.decided * known, self.decided * known, self.labels * known, known)
        return np.stack([sums(part, self.blocks) for part in parts], axis=1)

    @cached_property
    def ranked(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """{score: (points (classes,), influence of each patient (patients, classes))} for ranks and shares."""
        hits, decided, positives, scans = np.moveaxis(self.counts, 1, 0)
        return {
            "auroc": delong.auroc_shares(self.marked, self.probabilities, self.blocks),
            "average_precision": left_out.average_precisions(self.marked, self.probabilities, self.blocks),
            "sensitivity": precision.ratios(hits, positives),
            "specificity": precision.ratios(scans - decided - positives + hits, scans - positives),
        }

    @property
    def defined(self) -> np.ndarray:
        """The classes, bool, that scans have and scans lack."""
        return self.rarer > 0

    def f1(self, place: int | None = None) -> tuple[float, float, float]:
        """(the F1 of a class, or the macro F1, and its interval)."""
        counts = self.counts[:, :3]
        if place is not None and not self.carriers[place]:
            return (float("nan"),) * 3
        point = (
            f1_scores.macro_f1_of_counts(counts)
            if place is None
            else float(f1_scores.f1_of_counts(counts.sum(axis=0))[place])
        )
        return point, *f1_scores.f1_interval(counts, column=place, patient_count=self.patients)

    def macro(self) -> dict[str, float]:
        """SCORES with their intervals: means over classes."""
        found = triple("macro_f1", *self.f1())
        defined, trials = self.defined, int(min(self.rarer[self.defined], default=0))
        _, covariance = delong.delong(self.marked, self.probabilities, self.blocks)
        for name, (points, shares) in self.ranked.items():
            if not defined.any():
                found |= triple(f"macro_{name}", *(float("nan"),) * 3)
                continue
            point = float(points[defined].mean())
            if name == "auroc":
                variance = float(covariance[np.ix_(defined, defined)].mean())
                low, high = delong.auroc_interval(point, variance, trials=trials, freedom=trials - 1)
            else:
                low, high = precision.interval_of_shares(point, shares[:, defined].mean(axis=1), trials)
            found |= triple(f"macro_{name}", point, low, high)
        return found

    def of_classes(self) -> Iterator[dict]:
        """One row per class: CLASS_SCORES with their intervals, or none if there are too few patients."""
        _, covariance = delong.delong(self.marked, self.probabilities, self.blocks)
        scans = self.known.sum(axis=0)
        for place, name in enumerate(self.classes):
            positives = int((self.labels * self.known)[:, place].sum())
            row = {"class": name, "scans": int(scans[place]), "support": positives}
            row |= {"prevalence": positives / max(scans[place], 1), "patients_with": int(self.carriers[place])}
            row |= triple("f1", *self.f1(place))
            for score, (points, shares) in self.ranked.items():
                trials = int(self.rarer[place])
                if score == "auroc":
                    ends = delong.auroc_interval(points[place], covariance[place, place], trials=trials)
                elif score == "average_precision":
                    ends = precision.interval_of_shares(points[place], shares[:, place], trials)
                else:
                    ends = self.share(score, place)
                row |= triple(score, points[place], *ends)
            yield self.without_thin_ends(row, place)

    def share(self, score: str, place: int) -> tuple[float, float]:
        """Wilson's interval of the sensitivity or specificity of a class, over patients."""
        hits, decided, positives, scans = np.moveaxis(self.counts[:, :, place], 1, 0)
        parts = (hits, positives) if score == "sensitivity" else (scans - decided - positives + hits, scans - positives)
        return wilson(*parts)

    def without_thin_ends(self, row: dict, place: int) -> dict:
        few = self.rarer[place] < intervals.FEWEST_PATIENTS
        if few:
            row |= {name: float("nan") for name in row if name.endswith(("_low", "_high"))}
        return row | {"note": intervals.TOO_FEW if few else ""}


def triple(name: str, point: float, low: float, high: float) -> dict[str, float]:
    """{name, name_low, name_high}; the interval always contains the point."""
    point = float(point)
    return {name: point, f"{name}_low": min(low, point), f"{name}_high": max(high, point)}


def sums(values: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """The sum over the scans of each patient: float64 (patients, columns), of values (scans, columns)."""
    places, count = patient_positions(blocks)
    return np.stack([np.bincount(places, column, minlength=count) for column in np.asarray(values, float).T], axis=1)


def patient_positions(blocks: np.ndarray) -> tuple[np.ndarray, int]:
    """`intervals.patient_places` for numbers, in the order in which it sorts them as text."""
    levels, places = np.unique(blocks, return_inverse=True)
    order = np.argsort(np.argsort(levels.astype(str), kind="stable"), kind="stable")
    return order[places], len(levels)


def wilson(parts: np.ndarray, wholes: np.ndarray) -> tuple[float, float]:
    """The interval of a share over patients, from each patient's part and whole (patients,).

    Wilson's, with the quantile of Student's t, as the variance is estimated from that many patients.
    """
    asked = wholes > 0
    reach = student.ppf((1 + intervals.LEVEL) / 2, max(np.count_nonzero(asked) - 1, 1))
    level = 2 * norm.cdf(min(reach, WIDEST)) - 1
    return share_intervals.share_interval_of_sums(np.stack([parts[asked], wholes[asked]], axis=1), level)
