"""Anybody's probabilities, as read by foreign.py -> tables of scores, with intervals over patients.

The tables match those of a study's runs (comparison, calibration, operating_points, subgroups, baselines), for labels
that may be unknown and for many scans: with more than 2,000 patients, blocks of patients are drawn. A class is scored
on the scans where its label is known. `class` is empty in the row for all classes together.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.stats import norm
from scipy.stats import t as student

from lungkeras.evaluation import calibration as calibrations
from lungkeras.evaluation import image_gain
from lungkeras.evaluation.comparison import SIGNIFICANT
from lungkeras.evaluation.foreign import Foreign
from lungkeras.evaluation.operating_points import SPECIFICITIES, at_prevalences, threshold_at
from lungkeras.evaluation.subgroups import (
    AGE_BANDS,
    FEWEST_OF_A_CLASS,
    FEWEST_SCANS,
    UNKNOWN,
    age_bands,
)
from lungkeras.scores import delong, intervals, left_out, metrics, paired, precision
from lungkeras.scores.temperature import Correction, fit_temperature

SCORES = ("macro_f1", "macro_auroc", "macro_average_precision", "macro_sensitivity", "macro_specificity")
CLASS_SCORES = ("f1", "auroc", "average_precision", "sensitivity", "specificity")
MAJORITY, EVERY_CLASS, METADATA = "majority", "every class", "metadata"
WIDEST = 6.0  # standard errors that an interval of few patients reaches
FROM_VAL, CROSS_FITTED = "validation", "cross-fitted"
PAIRED = ("difference", "low", "high", "p", "auroc_difference", "auroc_low", "auroc_high", "auroc_p")
TABLES = (
    "scores", "class_scores", "calibration", "reliability", "thresholds", "operating_points", "groups", "baselines",
    "image_gain", "pairs",
)  # fmt: skip


def ended(names: Sequence[str]) -> list[str]:
    """Each name, then with _low and _high."""
    return [f"{name}{end}" for name in names for end in ("", "_low", "_high")]


@dataclass(frozen=True)
class Asked:
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
        asked = (self.labels, self.probabilities, self.blocks, self.known)
        return {
            "auroc": delong.auroc_shares(self.marked, self.probabilities, self.blocks),
            "average_precision": left_out.average_precisions(*asked),
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
            intervals.macro_f1_of_counts(counts)
            if place is None
            else float(intervals.f1_of_counts(counts.sum(axis=0))[place])
        )
        return point, *intervals.f1_interval(counts, column=place, patient_count=self.patients)

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
    """{name, name_low, name_high}; the ends hold the point."""
    point = float(point)
    return {name: point, f"{name}_low": min(low, point), f"{name}_high": max(high, point)}


def sums(values: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """The sum over the scans of each patient: float64 (patients, columns), of values (scans, columns)."""
    places, count = _places(blocks)
    return np.stack([np.bincount(places, column, minlength=count) for column in np.asarray(values, float).T], axis=1)


def _places(blocks: np.ndarray) -> tuple[np.ndarray, int]:
    """`intervals.patient_places` of numbers: in the order of the names that it would sort."""
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
    return intervals.share_interval_of_sums(np.stack([parts[asked], wholes[asked]], axis=1), level)


@dataclass
class Judgement:
    """The tables for the scans that were read, each computed once, on demand; `draws` is for claims."""

    read: Foreign
    seed: int = 0
    made: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def predictors(self) -> list[str]:
        return list(self.read.test.probabilities)

    @cached_property
    def blocks(self) -> np.ndarray:
        return intervals.patient_blocks(self.read.test.patients)

    @cached_property
    def folds(self) -> np.ndarray:
        """The fold of each test scan, by its block: no patient is split."""
        return image_gain.folds_of(self.blocks, self.seed)

    @cached_property
    def patient_places(self) -> np.ndarray:
        return intervals.patient_places(self.read.test.patients)[0]

    @cached_property
    def asked(self) -> dict[str, Asked]:
        """{predictor: its answers on the test scans}, decisions at 0.5, or for the most likely class."""
        return {name: self.of_scans(given) for name, given in self.read.test.probabilities.items()}

    def of_scans(
        self, given: np.ndarray, decided: np.ndarray | None = None, chosen: np.ndarray | slice = slice(None)
    ) -> Asked:
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
        return Asked(self.read.classes, labels, known, *parts, patients, *sides)

    def table(self, name: str) -> pd.DataFrame:
        """One of TABLES, made once."""
        if name not in self.made:
            self.made[name] = getattr(self, f"_{name}")()
        return self.made[name]

    def _scores(self) -> pd.DataFrame:
        test, rows = self.read.test, []
        about = {"scans": len(test), "patients": int(self.patient_places.max()) + 1}
        for name, asked in self.asked.items():
            rows.append({"predictor": name} | about | {"classes": int(asked.defined.sum())} | asked.macro())
        return pd.DataFrame(rows)

    def _class_scores(self) -> pd.DataFrame:
        return pd.DataFrame(
            [{"predictor": name} | row for name, asked in self.asked.items() for row in asked.of_classes()]
        )

    def corrections(self) -> dict[str, Correction]:
        """{predictor: temperatures fitted on the scans of val}; empty without such scans."""
        val, found = self.read.val, {}
        if val is None:
            return found
        for name, given in val.probabilities.items():
            classes = len(self.read.classes)
            if self.read.task == "multiclass":
                temperatures = (fit_temperature(val.labels, given, "multiclass"),) * classes
            else:
                temperatures = tuple(
                    fit_temperature(val.labels[own, [place]][:, None], given[own, [place]][:, None], "multilabel")
                    for place, own in enumerate(val.known.T)
                )
            found[name] = Correction((0.0,) * classes, temperatures)
        return found

    @cached_property
    def calibrated(self) -> dict[str, np.ndarray]:
        """{predictor: its probabilities of the test scans, corrected}; empty without val."""
        test = self.read.test.probabilities
        return {name: fit.probabilities(test[name], self.read.task) for name, fit in self.corrections().items()}

    def _calibration(self) -> pd.DataFrame:
        rows, temperatures = [], self.corrections()
        for name in self.predictors:
            for place, title in enumerate(("", *self.read.classes)):
                row = {"predictor": name, "class": title}
                if name in temperatures:
                    fit = temperatures[name]
                    row["temperature"] = fit.temperatures[place - 1] if place else fit.temperature
                for end, given in (("", self.read.test.probabilities), ("_scaled", self.calibrated)):
                    if name not in given:
                        continue
                    own = self.bins(given[name], place - 1 if place else None)
                    point = float(calibrations.error_of_bins(own.sum(axis=0)))
                    low, high = calibrations.error_interval(own)
                    row |= dict(zip((f"ece{end}", f"ece{end}_low", f"ece{end}_high"),
                                    (point, min(low, point), max(high, point)), strict=True))  # fmt: skip
                    row[f"brier{end}"] = self.brier(given[name], place - 1 if place else None)
                few = place and self.asked[name].rarer[place - 1] < intervals.FEWEST_PATIENTS
                if few:
                    row |= {key: np.nan for key in row if key.endswith(("_low", "_high"))}
                rows.append(row | {"note": intervals.TOO_FEW if few else ""})
        return pd.DataFrame(rows)

    def answers(self, given: np.ndarray, place: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(confidence, correctness, block), each (answers,): of one class, or of all together."""
        test = self.read.test
        if place is not None:
            own = test.known[:, place]
            return given[own, place].astype(float), test.labels[own, place], self.blocks[own]
        if self.read.task == "multiclass":
            sure, so = calibrations.answers(test.labels, given, "multiclass")
            return sure[:, 0], so[:, 0], self.blocks
        return given[test.known].astype(float), test.labels[test.known], self.blocks[np.nonzero(test.known)[0]]

    def bins(self, given: np.ndarray, place: int | None) -> np.ndarray:
        """`calibration.in_bins`, summed by patient: float64 (patients, 3, bins)."""
        (sure, so, blocks), bins = self.answers(given, place), calibrations.BINS
        places, count = _places(blocks)
        at = places * bins + np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
        parts = [np.bincount(at, weights, minlength=count * bins) for weights in (np.ones_like(sure), sure, so)]
        return np.stack([part.reshape(count, bins) for part in parts], axis=1)

    def brier(self, given: np.ndarray, place: int | None) -> float:
        test = self.read.test
        if place is None and self.read.task == "multiclass":
            return float(calibrations.brier_of_scans(test.labels, given, "multiclass").mean())
        sure, so, _ = self.answers(given, place)
        return float(np.mean((sure - so) ** 2)) if len(sure) else float("nan")

    def _reliability(self) -> pd.DataFrame:
        rows = []
        for is_scaled, probabilities in ((False, self.read.test.probabilities), (True, self.calibrated)):
            for name, given in probabilities.items():
                count, sure, so = self.bins(given, None).sum(axis=0)
                for place in np.flatnonzero(count):
                    drawn = {"confidence": sure[place] / count[place], "share": so[place] / count[place]}
                    row = {"predictor": name, "scaled": is_scaled, "bin": place + 1}
                    rows.append(row | drawn | {"answers": int(count[place])})
        return pd.DataFrame(rows)

    @property
    def chosen_on(self) -> str:
        return CROSS_FITTED if self.read.val is None else FROM_VAL

    def called(self, name: str, place: int, choose: Callable) -> tuple[float, np.ndarray]:
        """(a threshold, what is called at it, bool (scans,)) of one class.

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

    def _thresholds(self) -> pd.DataFrame:
        """For each finding, the threshold with the highest F1, and F1 there and at 0.5; empty for exclusive classes."""
        rows = []
        if self.read.task == "multiclass":
            return pd.DataFrame(rows)
        for name, asked in self.asked.items():
            found = [self.called(name, place, _best_f1) for place in range(len(self.read.classes))]
            tuned = self.of_scans(asked.probabilities, np.stack([calls for _, calls in found], axis=1).astype(int))
            for place, title in ((None, ""), *enumerate(self.read.classes)):
                row = {"predictor": name, "class": title, "chosen_on": self.chosen_on}
                row["threshold"] = np.nan if place is None else found[place][0]
                for end, each in (("", asked), ("_tuned", tuned)):
                    row |= triple(f"f1{end}", *each.f1(place))
                    for score in ("sensitivity", "specificity"):
                        points = each.ranked[score][0]
                        row[f"{score}{end}"] = float(
                            intervals.mean_of_defined(points) if place is None else points[place]
                        )
                rows.append(row | {"note": ""} if place is None else asked.without_thin_ends(row, place))
        return pd.DataFrame(rows)

    def _operating_points(self) -> pd.DataFrame:
        """For each class, the sensitivity at a target specificity, as in operating_points."""
        rows = []
        for name, asked in self.asked.items():
            for place, title in enumerate(self.read.classes):
                for wanted in SPECIFICITIES:
                    about = {"predictor": name, "class": title, "asked": wanted, "chosen_on": self.chosen_on}
                    threshold, calls = self.called(name, place, lambda labels, scores, s=wanted: _at(labels, scores, s))
                    rows.append(asked.without_thin_ends(about | self.at(asked, place, threshold, calls), place))
        return pd.DataFrame(rows)

    def at(self, asked: Asked, place: int, threshold: float, calls: np.ndarray) -> dict:
        """Sensitivity and specificity of the calls, and predictive values at two prevalences."""
        own, has = asked.known[:, place], asked.labels[:, place] == 1
        row = {"threshold": threshold, "support": int((own & has).sum())}
        judged = []
        for score, side, right in (("sensitivity", own & has, calls), ("specificity", own & ~has, ~calls)):
            parts = sums(np.stack([side & right, side], axis=1), asked.blocks).T
            point = parts[0].sum() / parts[1].sum() if parts[1].sum() else np.nan
            judged.append((point, *(wilson(*parts) if parts[1].any() else (np.nan, np.nan))))
            row |= triple(score, *judged[-1])
        for name, values in at_prevalences(*judged).items():
            row |= triple(name, *values)
        return row

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
                for name, asked in self.asked.items():
                    about = {"predictor": name, "attribute": attribute, "group": group}
                    part = self.of_scans(asked.probabilities, asked.decided, chosen)
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
    def baselines(self) -> dict[str, Asked]:
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
        for name, asked in self.asked.items():
            for baseline, other in self.baselines.items():
                scores = {
                    f"{start}macro_f1": intervals.macro_f1_of_counts(each.counts[:, :3])
                    for start, each in (("", asked), ("baseline_", other))
                }
                rows.append({"predictor": name, "baseline": baseline} | scores | self.compared(asked, other))
        table = pd.DataFrame(rows)
        for p in ("p", "auroc_p"):
            table[f"{p}_holm"] = table.groupby("baseline")[p].transform(lambda each: paired.holm(each.to_numpy()))
        told = table["p_holm"] < SIGNIFICANT
        table["better"] = np.select([told & (table["difference"] > 0), told], ["yes", "worse"], "cannot tell")
        return table

    def compared(self, first: Asked, second: Asked) -> dict[str, float]:
        """The paired difference in macro F1 and AUROC, first minus second, with interval and p."""
        labels, blocks = first.marked, first.blocks
        f1 = paired.compare_f1(labels, first.decided, second.decided, blocks, patient_count=first.patients)
        auroc = paired.compare_auroc(labels, first.probabilities, second.probabilities, blocks)
        return f1 | {f"auroc_{key}": value for key, value in auroc.items()}

    def _pairs(self) -> pd.DataFrame:
        """Each pair of predictors on the same scans, as in comparison.pairs."""
        names = self.predictors
        rows = [
            {"first": first, "second": second} | self.compared(self.asked[first], self.asked[second])
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
        asked = (test.labels, test.known, self.blocks, self.folds)
        return {
            name: image_gain.image_gain(test.metadata, self.metadata_alone, given, *asked)
            for name, given in test.probabilities.items()
        }

    def _image_gain(self) -> pd.DataFrame:
        """What the predictor adds to metadata: first for all classes together, then for each."""
        rows = []
        for name, (found, _) in self.gains.items():
            about = {"predictor": name, "metadata": ", ".join(self.read.test.metadata.columns)}
            points, asked = self.asked[name].ranked["auroc"][0], self.asked[name]
            rows.append(
                about | {"class": "", "image_auroc": intervals.mean_of_defined(points)} | found[-1] | {"note": ""}
            )
            for place, title in enumerate(self.read.classes):
                row = about | {"class": title, "image_auroc": points[place]} | found[place]
                rows.append(asked.without_thin_ends(row, place))
        return pd.DataFrame(rows)

    def all_tables(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """(name, table) of each of TABLES that has a row."""
        for name in TABLES:
            if len(table := self.table(name)):
                yield name, table


def _best_f1(labels: np.ndarray, scores: np.ndarray) -> float:
    return float(calibrations.fit_thresholds(labels[:, None], scores[:, None])[0])


def _at(labels: np.ndarray, scores: np.ndarray, specificity: float) -> float:
    return threshold_at(labels, scores, specificity)


def _of_group(part: Asked) -> dict:
    positives = (part.labels * part.known).sum(axis=0)
    counted = np.minimum(positives, part.known.sum(axis=0) - positives) >= FEWEST_OF_A_CLASS
    row = {"scans": len(part.labels), "patients": part.patients, "classes": int(counted.sum())}
    if row["scans"] < FEWEST_SCANS or part.patients < intervals.FEWEST_PATIENTS or not counted.any():
        return row | {"note": intervals.TOO_FEW}
    asked = Asked(
        tuple(np.array(part.classes)[counted]),
        *(each[:, counted] for each in (part.labels, part.known, part.probabilities, part.decided)),
        part.blocks,
        part.patients,
        *(each[counted] for each in (part.carriers, part.others)),
    )
    scores = asked.macro()
    return row | {name: scores[name] for name in ended(("macro_f1", "macro_auroc"))} | {"note": ""}
