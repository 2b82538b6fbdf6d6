"""Intervals of shares cover the share where scans are clustered in patients."""

import numpy as np
import pytest
from scipy.stats import t as student

from lungkeras.scores import share_intervals


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("patients", [12, 40])
def test_intervals_of_shares_and_of_their_paired_differences_cover_where_patients_repeat(share, patients):
    """Two hits of a patient's two or three scans, which mostly go together; the other asked is a fixed answer."""
    random, covered = np.random.default_rng([patients, int(10 * share)]), {"share": [], "difference": []}
    for _ in range(400):
        names = np.repeat(np.arange(patients), random.integers(1, 4, patients))
        together, alone = random.random((2, patients))[:, names], random.random((2, len(names)))
        either = np.where(random.random((2, len(names))) < 0.6, together, alone)
        hits, others = either[0] < share, either[1] < 0.3
        low, high = share_intervals.share_interval(hits, names)
        covered["share"].append(low <= share <= high)
        low, high = share_intervals.paired_share_interval(hits, others, names)
        covered["difference"].append(low <= share - 0.3 <= high)
    assert min(map(np.mean, covered.values())) >= 0.92 - 2 * np.sqrt(0.05 * 0.95 / 400), covered


def test_the_interval_of_a_paired_difference_is_agresti_and_mins():
    """Of 10, 20 and 5 scans that differ by 0, 1 and -1, where every patient has one."""
    hits, others = np.r_[np.ones(10), np.ones(20), np.zeros(5)], np.r_[np.ones(10), np.zeros(20), np.ones(5)]
    low, high = share_intervals.paired_share_interval(hits, others, np.arange(35))
    scans, middle = 37, 15 / 37
    spread = (20.5 + 5.5) / scans - middle**2
    reach = student.ppf(0.975, 34) * np.sqrt(spread / scans)
    assert (low, high) == pytest.approx((middle - reach, middle + reach), abs=0.006)
    low, high = share_intervals.paired_share_interval(np.ones(12), np.ones(12), np.arange(12))
    assert -0.3 < low < 0 < high < 0.3
