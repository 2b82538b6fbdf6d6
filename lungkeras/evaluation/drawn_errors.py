"""How often a run errs on the test split, and how: the scores that claims ask for, in each draw of patients."""

from dataclasses import dataclass

import numpy as np

from lungkeras.evaluation.paper.evidence import P
from lungkeras.scores import f1_scores, intervals, metrics
from lungkeras.study.runs import Run, patients_of, split_of

UNKNOWN = np.full(1, np.nan), np.nan


@dataclass(frozen=True)
class DrawnErrors:
    """Scores of a run's decisions: each is (values float64 (draws,), the value on the test split itself).

    `normal_f1`, of normal against the rest, and `between_pneumonias`, the share of errors that take one pneumonia for
    the other, are known of the pneumonia dataset alone. All are NaN if the model gives no finite probabilities.
    """

    macro_f1: tuple[np.ndarray, float] = UNKNOWN
    normal_f1: tuple[np.ndarray, float] = UNKNOWN
    between_pneumonias: tuple[np.ndarray, float] = UNKNOWN


def drawn_errors(run: Run, draws: int, seed: int) -> DrawnErrors:
    """The scores of a run on its test split, in bootstrap draws over patients."""
    labels, probabilities = split_of(run, "test")
    if not np.isfinite(probabilities).all():
        return DrawnErrors()
    decided, patients = metrics.decide(probabilities, run.task), patients_of(run, "test")
    drawn = f1_scores.drawn_f1(labels, decided, patients, draws, seed)
    whole = f1_scores.f1_of_counts(f1_scores.decision_counts(labels, decided, patients).sum(axis=0))
    macro_f1 = drawn.mean(axis=1), float(whole.mean())
    if run.dataset != P:
        return DrawnErrors(macro_f1)
    normal = run.classes.index("normal")
    wrong = (labels * decided).sum(axis=1) == 0
    between = wrong & (labels[:, normal] == 0) & (decided[:, normal] == 0)
    shares = _drawn_share(between, wrong, patients, draws, seed)
    return DrawnErrors(macro_f1, (drawn[:, normal], float(whole[normal])), shares)


def _drawn_share(part: np.ndarray, of: np.ndarray, patients, draws: int, seed: int) -> tuple[np.ndarray, float]:
    """The share of the scans `of` that are in `part`; 1 without any, as no error is then of another kind."""
    sums = intervals.sums_by_patient(np.stack([part, of], axis=1), patients)
    some, all_ = intervals.drawn_sums(sums, draws, seed).T
    total = sums.sum(axis=0)
    shares = np.divide(some, all_, out=np.ones(draws), where=all_ > 0)
    return shares, float(total[0] / total[1]) if total[1] else 1.0
