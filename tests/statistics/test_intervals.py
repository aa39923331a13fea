"""Intervals are scipy's, and what is said to be detectable is detected that often."""

import math

import numpy as np
import pytest
from scipy import stats

from headrace.statistics import intervals
from headrace.statistics.intervals import Interval


def test_a_mean_of_what_is_not_skewed_has_students_interval() -> None:
    values = np.random.default_rng(8).normal(size=50)
    values = np.concatenate([values, -values])
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    found = intervals.mean_interval(values)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert intervals.mean_interval(values[:1]).high == math.inf


def test_a_few_large_losses_are_missed_no_oftener_than_said() -> None:
    """Where Student's interval errs twice as often on one side as it says."""
    runs, student, corrected = 1000, 0, 0
    for seed in range(runs):
        losses = np.random.default_rng(seed).lognormal(sigma=1.2, size=200)
        truth = math.exp(1.2**2 / 2)
        plain = stats.ttest_1samp(losses, truth, alternative="less").pvalue
        student, corrected = (
            student + (plain < 0.05),
            corrected + (intervals.mean_interval(losses, confidence=0.9).high < truth),
        )
    assert student > 90
    assert corrected < 80
    assert corrected < student - 20


def test_what_is_detectable_passes_with_the_power_that_is_said() -> None:
    found = intervals.normal_interval(0.3, 0.1, confidence=0.9, rows=100)
    margin = intervals.detectable(found)
    assert margin == pytest.approx(0.1 * (stats.norm.ppf(0.95) + stats.norm.ppf(0.8)))
    assert intervals.power_at(found, margin) == pytest.approx(0.8)
    assert intervals.power_at(found, margin, truth=-margin) == pytest.approx(0.05)


def test_nothing_is_detectable_with_an_infinite_interval_and_all_with_an_empty_one() -> None:
    one_row = intervals.mean_interval(np.ones(1))
    assert intervals.detectable(one_row) == math.inf
    certain = Interval(value=0.0, low=0.0, high=0.0, confidence=0.9, rows=10)
    assert (intervals.detectable(certain), intervals.power_at(certain, 0.01)) == (0.0, 1.0)


def test_the_other_sign_turns_the_interval_round() -> None:
    turned = intervals.negated(Interval(value=1.0, low=0.5, high=2.0, confidence=0.9, rows=3))
    assert (turned.low, turned.value, turned.high) == (-2.0, -1.0, -0.5)


def test_rows_are_clusters_only_where_some_belong_together() -> None:
    assert intervals.cluster_codes(None) is None
    assert intervals.cluster_codes(np.array(["a", "b", "c"], dtype=object)) is None
    codes = intervals.cluster_codes(np.array(["b", "a", "b"], dtype=object))
    assert codes is not None
    assert codes.tolist() == [1, 0, 1]
    assert (intervals.units(3, None), intervals.units(3, codes)) == (3, 2)
