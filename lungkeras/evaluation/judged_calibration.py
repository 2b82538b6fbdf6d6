"""The calibration of a user's predictions, whose labels may be unknown: corrections from val, errors by patient."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from lungkeras.evaluation.foreign import Foreign
from lungkeras.evaluation.judged_answers import patient_positions
from lungkeras.scores import calibration_error, intervals
from lungkeras.scores.temperature import Correction, fit_temperature


@dataclass
class Calibration:
    """The calibration of the predictions read; `blocks` (scans,) are the patients of the test scans, as numbers."""

    read: Foreign
    blocks: np.ndarray

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

    def answers(self, given: np.ndarray, place: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(confidence, correctness, block), each (answers,): of one class, or of all together."""
        test = self.read.test
        if place is not None:
            own = test.known[:, place]
            return given[own, place].astype(float), test.labels[own, place], self.blocks[own]
        if self.read.task == "multiclass":
            confidence, correct = calibration_error.answers(test.labels, given, "multiclass")
            return confidence[:, 0], correct[:, 0], self.blocks
        return given[test.known].astype(float), test.labels[test.known], self.blocks[np.nonzero(test.known)[0]]

    def bins(self, given: np.ndarray, place: int | None) -> np.ndarray:
        """`calibration.in_bins`, summed by patient: float64 (patients, 3, bins)."""
        (confidence, correct, blocks), bins = self.answers(given, place), calibration_error.BINS
        places, count = patient_positions(blocks)
        at = places * bins + np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
        parts = [
            np.bincount(at, weights, minlength=count * bins)
            for weights in (np.ones_like(confidence), confidence, correct)
        ]
        return np.stack([part.reshape(count, bins) for part in parts], axis=1)

    def brier(self, given: np.ndarray, place: int | None) -> float:
        test = self.read.test
        if place is None and self.read.task == "multiclass":
            return float(calibration_error.brier_of_scans(test.labels, given, "multiclass").mean())
        confidence, correct, _ = self.answers(given, place)
        return float(np.mean((confidence - correct) ** 2)) if len(confidence) else float("nan")

    def table(self, rarer: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """One row per predictor for all classes, then one per class; `rarer` counts the patients of the rarer side."""
        rows, temperatures = [], self.corrections()
        for name in self.read.test.probabilities:
            for place, title in enumerate(("", *self.read.classes)):
                row = {"predictor": name, "class": title}
                if name in temperatures:
                    fit = temperatures[name]
                    row["temperature"] = fit.temperatures[place - 1] if place else fit.temperature
                for end, given in (("", self.read.test.probabilities), ("_scaled", self.calibrated)):
                    if name not in given:
                        continue
                    own = self.bins(given[name], place - 1 if place else None)
                    point = float(calibration_error.error_of_bins(own.sum(axis=0)))
                    low, high = calibration_error.error_interval(own)
                    row |= dict(zip((f"ece{end}", f"ece{end}_low", f"ece{end}_high"),
                                    (point, min(low, point), max(high, point)), strict=True))  # fmt: skip
                    row[f"brier{end}"] = self.brier(given[name], place - 1 if place else None)
                few = place and rarer[name][place - 1] < intervals.FEWEST_PATIENTS
                if few:
                    row |= {key: np.nan for key in row if key.endswith(("_low", "_high"))}
                rows.append(row | {"note": intervals.TOO_FEW if few else ""})
        return pd.DataFrame(rows)

    def reliability(self) -> pd.DataFrame:
        """What the diagrams show: one row per predictor, scaling and bin with answers."""
        rows = []
        for is_scaled, probabilities in ((False, self.read.test.probabilities), (True, self.calibrated)):
            for name, given in probabilities.items():
                count, confidence, correct = self.bins(given, None).sum(axis=0)
                for place in np.flatnonzero(count):
                    drawn = {"confidence": confidence[place] / count[place], "share": correct[place] / count[place]}
                    row = {"predictor": name, "scaled": is_scaled, "bin": place + 1}
                    rows.append(row | drawn | {"answers": int(count[place])})
        return pd.DataFrame(rows)
