"""The truth of comparisons in every draw of patients and every seed, and the verdict on it.

A truth is an array: 1 true, 0 false, 0.5 tied, NaN unknown. Most claims join several comparisons.
"""

import functools
from collections.abc import Iterable

import numpy as np

from lungkeras.scores.correlation import rank_correlations

VERDICTS = HOLDS, FAILS, CANNOT_TELL, NOT_RUN = "holds", "fails", "cannot tell", "not run"
CONFIDENT = 0.95
ROUNDING = 1e-9

Truth = np.ndarray


class Joined(np.ndarray):
    """The truth, in each draw, of a claim that joins several comparisons: `parts`, by and (`all_of`) or by or.

    Arithmetic acts on the truths alone.
    """

    parts: tuple[np.ndarray, ...] = ()
    all_of: bool = True


def joined(truth: np.ndarray, parts: Iterable[np.ndarray], *, all_of: bool) -> Joined:
    """The comparisons of a truth; a part that joins in the same way is flattened into its own comparisons."""
    found = np.asarray(truth).view(Joined)
    found.all_of = all_of
    found.parts = tuple(
        own
        for part in parts
        for own in (part.parts if isinstance(part, Joined) and part.parts and part.all_of is all_of else (part,))
    )
    return found


def less(first: np.ndarray, second: np.ndarray) -> Truth:
    """first < second; values equal up to rounding are tied."""
    first, second = np.broadcast_arrays(np.asarray(first, float), np.asarray(second, float))
    truth = np.where(np.isclose(first, second, rtol=ROUNDING, atol=ROUNDING), 0.5, np.where(first < second, 1.0, 0.0))
    return np.where(np.isnan(first) | np.isnan(second), np.nan, truth)


def every(truths: Iterable[Truth]) -> Truth:
    """And: false where one is false, even if others are unknown; else the minimum."""
    parts = list(truths)
    stacked = np.stack(np.broadcast_arrays(*map(np.asarray, parts)))
    return joined(np.where((stacked == 0).any(axis=0), 0.0, stacked.min(axis=0)), parts, all_of=True)


def some(truths: Iterable[Truth]) -> Truth:
    """Or: true where one is true, even if others are unknown; else the maximum."""
    parts = list(truths)
    return joined(1 - np.asarray(every(1 - np.asarray(part) for part in parts)), parts, all_of=False)


def least(value: np.ndarray, others: Iterable[np.ndarray]) -> Truth:
    """Whether a value is below every other one."""
    return every(less(value, other) for other in others)


def greatest(value: np.ndarray, others: Iterable[np.ndarray]) -> Truth:
    """Whether a value is above every other one."""
    return every(less(other, value) for other in others)


def most(values: Iterable[np.ndarray]) -> np.ndarray:
    """The greatest of several quantities in each draw."""
    return functools.reduce(np.maximum, values)


def rank_correlation(first: list[np.ndarray], second: list[np.ndarray]) -> np.ndarray:
    """Spearman's correlation over models, in each draw; 0 if all models are equal."""
    stacked = np.stack(np.broadcast_arrays(*first, *second))
    if np.isnan(stacked).any():
        return np.full((1, 1), np.nan)
    of_models = (part.reshape(len(part), -1).T for part in np.split(stacked, 2))
    return np.nan_to_num(rank_correlations(*of_models)).reshape(stacked.shape[1:])


def judge(truth: Truth, *, missing: bool = True) -> str:
    """The verdict on a predicate's truth. `missing`: unknown values were not run, rather than run and too few."""
    parts = truth.parts if isinstance(truth, Joined) and truth.parts else (np.asarray(truth),)
    each = [judge(part) if isinstance(part, Joined) and part.parts else _verdict(part, len(parts)) for part in parts]
    decisive, agreed = (HOLDS, FAILS) if isinstance(truth, Joined) and not truth.all_of else (FAILS, HOLDS)
    if decisive in each:
        return decisive
    if all(verdict == agreed for verdict in each):
        return agreed
    return NOT_RUN if missing and any(np.isnan(np.asarray(part)).any() for part in parts) else CANNOT_TELL


def _verdict(truth: np.ndarray, parts: int) -> str:
    """The verdict on one of `parts` comparisons.

    Since one comparison alone can make the claim fail, the level is divided by their number (Bonferroni). The level is
    2.5 % rather than 5 %, as the draws of few patients vary less than test sets do: at 5 % / parts, claims about equal
    models fail in up to 8 % of simulated studies of 60 patients and 7 % of 150, at 2.5 % / parts in about 5 % of
    either.
    """
    unknown = np.isnan(truth)
    at_least, at_most = np.where(unknown, 0.0, truth).mean(), np.where(unknown, 1.0, truth).mean()
    if at_least >= CONFIDENT:
        return HOLDS
    return FAILS if at_most <= (1 - CONFIDENT) / 2 / parts + ROUNDING else CANNOT_TELL
