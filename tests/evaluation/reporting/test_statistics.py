"""Intervals that cover, tests against scipy's meaning, corrections by hand."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.reporting.statistics import auroc, auroc_interval, bootstrap_mean, bootstrap_median, holm, paired_test


def test_interval_is_that_of_the_normal_for_many_values():
    values = np.random.default_rng(1).normal(5, 2, 400)
    mean, low, high = bootstrap_mean(values)
    half = 1.96 * values.std() / np.sqrt(400)
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.03)


def test_images_of_one_patient_widen_the_interval():
    patient_means = np.random.default_rng(2).normal(0, 1, 40)
    values, groups = np.repeat(patient_means, 10), [str(i) for i in np.repeat(np.arange(40), 10)]
    _, low, high = bootstrap_mean(values)
    mean, wide_low, wide_high = bootstrap_mean(values, groups)
    assert mean == pytest.approx(values.mean())
    assert (wide_high - wide_low) / (high - low) == pytest.approx(np.sqrt(10), rel=0.15)


def test_undefined_values_are_left_out_and_one_value_has_no_interval():
    mean, low, high = bootstrap_mean(np.array([3.0, np.nan]))
    assert mean == 3 and np.isnan(low) and np.isnan(high)


def test_a_median_ignores_wild_ratios_and_has_the_interval_of_order_statistics():
    values = np.random.default_rng(5).normal(1, 0.3, 399)
    wild = np.concatenate([values, [1e6, -1e6, np.nan]])
    median, low, high = bootstrap_median(wild)
    half = 1.96 * 1.2533 * 0.3 / np.sqrt(399)  # of a normal's median
    assert median == np.median(values)
    assert (low, high) == pytest.approx((median - half, median + half), abs=0.02)
    groups = np.repeat(np.arange(8), 50)[: len(values)]
    centres = np.repeat(np.random.default_rng(6).normal(0, 1, 8), 50)[: len(values)]
    _, low, high = bootstrap_median(values + centres, groups.astype(str))
    assert high - low > 4 * 2 * half  # eight groups that differ say less than 399 values
    assert np.isnan(bootstrap_median(values, ["one"] * len(values))[1])


def test_medians_of_even_numbers_lie_between_two_values():
    values = np.random.default_rng(7).normal(0, 1, 12)
    _, low, high = bootstrap_median(values)
    drawn = np.median(np.random.default_rng(8).choice(values, (200_000, 12)), axis=1)
    assert (low, high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.05)
    assert bootstrap_median(-values)[1:] == pytest.approx((-high, -low), abs=0.05)  # neither side is favoured


def test_paired_test_sees_a_constant_gain_that_the_spread_hides():
    spread = np.random.default_rng(3).normal(30, 5, 30)
    gain = spread + 0.5 + np.random.default_rng(4).normal(0, 0.1, 30)
    test = paired_test(gain, spread)
    assert test["p"] < 1e-6 and 0.4 < test["low"] < test["difference"] < test["high"] < 0.6
    assert paired_test(spread, spread)["p"] == 1


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_auroc_by_hand_and_its_interval():
    truth, score = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    assert auroc(truth, score) == 0.75
    assert np.isnan(auroc(np.zeros(4), score))
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 300)
    value, low, high = auroc_interval(labels, labels + random.normal(0, 1, 300))
    n, m = labels.sum(), (1 - labels).sum()
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)  # Hanley and McNeil 1982
    error = np.sqrt((value * (1 - value) + (n - 1) * (q1 - value**2) + (m - 1) * (q2 - value**2)) / (n * m))
    assert low < value < high and high - low == pytest.approx(2 * 1.96 * error, rel=0.2)
