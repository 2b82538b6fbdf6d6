"""DeLong's covariance is that of all pairs, and of the bootstrap over patients."""

import numpy as np

from lungkeras.scores import delong, intervals, rankings


def brute_force_delong(labels, scores):
    """DeLong's covariance from the kernel of every pair, as in the paper."""
    positives, negatives = scores[labels == 1], scores[labels == 0]
    kernel = (positives[:, None] > negatives[None]) + 0.5 * (positives[:, None] == negatives[None])
    of_positives, of_negatives = kernel.mean(axis=1), kernel.mean(axis=0)
    covariance = np.cov(of_positives.T) / len(positives) + np.cov(of_negatives.T) / len(negatives)
    return kernel.mean(axis=(0, 1)), covariance


def test_delong_is_that_of_all_pairs_where_a_patient_has_one_scan(scored):
    labels, scores, _ = scored
    shared = np.repeat(labels[:, :1], 2, axis=1)
    aurocs, covariance = delong.delong(shared, scores[:, :2], np.arange(150))
    expected, spread = brute_force_delong(labels[:, 0], scores[:, :2])
    np.testing.assert_allclose(aurocs, expected, atol=1e-12)
    np.testing.assert_allclose(covariance, spread, atol=1e-12)


def test_delong_of_repeated_scans_is_that_of_the_patients_that_they_repeat(scored):
    labels, scores, _ = scored
    few, covariance = delong.delong(labels, scores, np.arange(150))
    many, repeated = delong.delong(*(np.repeat(part, 4, axis=0) for part in (labels, scores, np.arange(150))))
    np.testing.assert_allclose(many, few, atol=1e-12)
    np.testing.assert_allclose(repeated, covariance, atol=1e-12)


def test_delong_agrees_with_the_bootstrap_over_patients(scored):
    labels, scores, patients = scored
    aurocs, covariance = delong.delong(labels, scores, patients)
    drawn, _ = rankings.drawn_ranking(labels, scores, patients)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), drawn.std(axis=0), rtol=0.15)
    low, high = delong.auroc_interval(aurocs[0], covariance[0, 0])
    np.testing.assert_allclose([low, high], intervals.interval(drawn[:, 0]), atol=0.02)
