"""Drift alarms agree with scipy, keep their error rate without drift, and see what they should."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from headrace.statistics.drift import (
    ColumnDrift,
    Correction,
    DriftReport,
    DriftVerdict,
    adjust,
    compare,
    effective_rows,
    homogeneity,
    kolmogorov_smirnov,
    population_stability,
    total_variation,
)
from headrace.statistics.profiles import count, profile

Data = dict[str, npt.NDArray[Any]]


def report(reference: Data, window: Data, **options: Any) -> DriftReport:
    known = profile(reference)
    return compare(known, count(known, window), **options)


def column(found: DriftReport, name: str) -> ColumnDrift:
    return next(each for each in found.columns if each.name == name)


def test_binned_distance_is_within_a_bin_of_the_exact_one() -> None:
    generator = np.random.default_rng(1)
    reference, window = generator.normal(size=5000), generator.normal(0.4, 1.2, size=3000)
    exact = stats.ks_2samp(reference, window, method="asymp")
    found = column(report({"x": reference}, {"x": window}), "x")
    assert exact.statistic - 1 / 64 <= found.distance <= exact.statistic + 1e-12
    assert found.p_value is not None
    assert found.p_value >= exact.pvalue


def test_on_values_with_a_bin_each_the_test_is_scipys() -> None:
    generator = np.random.default_rng(2)
    first, second = generator.integers(0, 30, size=900), generator.integers(0, 31, size=700)
    counts = [np.bincount(values, minlength=31) for values in (first, second)]
    exact = stats.ks_2samp(first, second, method="asymp")
    distance, p_value = kolmogorov_smirnov(counts[0], counts[1])
    assert distance == pytest.approx(exact.statistic)
    assert p_value == pytest.approx(exact.pvalue)


def test_homogeneity_is_scipys_where_no_bin_is_rare() -> None:
    first, second = np.array([30, 40, 30]), np.array([60, 50, 90])
    assert homogeneity(first, second) == pytest.approx(stats.chi2_contingency([first, second]).pvalue)


def test_small_two_by_two_tables_are_exact() -> None:
    first, second = np.array([1, 99]), np.array([5, 95])
    assert homogeneity(first, second) == pytest.approx(stats.fisher_exact([first, second]).pvalue)


def test_identical_or_empty_bins_are_no_evidence() -> None:
    assert homogeneity(np.array([10, 0, 0]), np.array([7, 0, 0])) == 1.0
    assert homogeneity(np.array([10, 20]), np.array([10, 20])) == pytest.approx(1.0)


def test_total_variation() -> None:
    assert total_variation(np.array([1, 0]), np.array([0, 3])) == 1.0
    assert total_variation(np.array([1, 1]), np.array([3, 1])) == pytest.approx(0.25)


def test_population_stability_has_mean_near_zero_without_drift_and_the_textbook_value_with() -> None:
    generator = np.random.default_rng(3)
    shares = np.full(10, 0.1)
    raw = [
        population_stability(generator.multinomial(500, shares), generator.multinomial(500, shares))
        for _ in range(50)
    ]
    assert float(np.mean(raw)) < 0.02
    first, second = np.array([500_000, 500_000]), np.array([250_000, 750_000])
    expected = (0.5 - 0.25) * np.log(0.5 / 0.25) + (0.5 - 0.75) * np.log(0.5 / 0.75)
    assert population_stability(first, second) == pytest.approx(expected, rel=1e-3)


def test_adjusted_p_values_are_scipys_and_holms() -> None:
    p_values = [0.02, 0.001, 0.8, 0.04]
    expected = stats.false_discovery_control(p_values)
    assert adjust(p_values, Correction.BENJAMINI_HOCHBERG) == pytest.approx(expected)
    assert adjust(p_values, Correction.HOLM) == pytest.approx([0.06, 0.004, 0.8, 0.08])
    assert adjust([], Correction.HOLM) == []


@pytest.mark.parametrize("correction", list(Correction))
@pytest.mark.parametrize(("reference_rows", "window_rows"), [(400, 400), (500, 5000), (5000, 60)])
def test_false_alarms_stay_within_alpha(correction: Correction, reference_rows: int, window_rows: int) -> None:
    generator = np.random.default_rng(reference_rows + window_rows)
    zipf = 1.0 / np.arange(1, 31)

    def sample(rows: int) -> Data:
        return {
            "normal": generator.normal(size=rows),
            "pareto": generator.pareto(1.5, size=rows),
            "count": generator.poisson(1.5, size=rows),
            "gaps": np.where(generator.random(rows) < 0.1, np.nan, generator.random(rows)),
            "category": generator.choice(30, p=zipf / zipf.sum(), size=rows).astype(str).astype(object),
        }

    alarms, runs = 0, 150
    for _ in range(runs):
        found = report(
            sample(reference_rows), sample(window_rows), alpha=0.05, minimum_distance=0.0, correction=correction
        )
        alarms += found.verdict is DriftVerdict.DRIFTED
    assert stats.binomtest(alarms, runs, 0.05, alternative="greater").pvalue > 0.01


def test_a_shift_is_drift_and_is_named_first() -> None:
    generator = np.random.default_rng(5)
    reference = {"still": generator.normal(size=2000), "moved": generator.normal(size=2000)}
    window = {"still": generator.normal(size=1000), "moved": generator.normal(0.8, 1.0, size=1000)}
    found = report(reference, window)
    assert found.verdict is DriftVerdict.DRIFTED
    assert found.drifted == ["moved"]
    assert found.columns[0].name == "moved"
    assert found.columns[0].reason.startswith("the distribution moved by 0.28 (adjusted p = ")


def test_a_significant_but_small_difference_is_stable() -> None:
    generator = np.random.default_rng(6)
    found = report({"x": generator.normal(size=100_000)}, {"x": generator.normal(0.05, 1.0, size=100_000)})
    assert found.verdict is DriftVerdict.STABLE
    only = column(found, "x")
    assert only.adjusted_p_value is not None
    assert only.adjusted_p_value < 0.01
    assert only.reason == "a real but small difference"


def test_a_large_difference_in_few_rows_is_not_enough_evidence() -> None:
    generator = np.random.default_rng(7)
    found = report({"x": generator.normal(size=60)}, {"x": generator.normal(0.3, 1.0, size=60)})
    assert column(found, "x").distance >= 0.1
    assert found.verdict is DriftVerdict.STABLE


def test_too_few_rows_are_inconclusive_however_different() -> None:
    found = report({"x": np.zeros(1000)}, {"x": np.ones(49)})
    assert found.verdict is DriftVerdict.INCONCLUSIVE
    assert column(found, "x").verdict is DriftVerdict.INCONCLUSIVE
    assert report({"x": np.zeros(1000)}, {"x": np.ones(50)}).verdict is DriftVerdict.DRIFTED


def test_a_column_that_goes_silent_is_drift() -> None:
    generator = np.random.default_rng(8)
    found = report({"x": generator.normal(size=500)}, {"x": np.full(500, np.nan)})
    assert found.verdict is DriftVerdict.DRIFTED
    assert column(found, "x").reason == "missing values went from 0.0% to 100.0%"


def test_infinities_count_as_missing() -> None:
    values = np.random.default_rng(9).normal(size=500)
    window = values.copy()
    window[:200] = np.inf
    found = column(report({"x": values}, {"x": window}), "x")
    assert found.missing_rate == pytest.approx(0.4)
    assert found.verdict is DriftVerdict.DRIFTED


def test_an_absent_column_is_drift() -> None:
    values = np.random.default_rng(10).normal(size=500)
    found = report({"x": values, "y": values}, {"x": values})
    assert found.verdict is DriftVerdict.DRIFTED
    assert found.absent == ["y"]


def test_an_unseen_category_is_drift() -> None:
    found = report({"c": np.array(["a", "b"] * 500, dtype=object)}, {"c": np.array(["a", "z"] * 200, dtype=object)})
    assert found.drifted == ["c"]
    assert column(found, "c").distance == pytest.approx(0.5)


def test_effective_rows() -> None:
    assert effective_rows([1] * 200) == pytest.approx(200)
    assert effective_rows([5] * 40) == pytest.approx(40)
    assert effective_rows([961, *[1] * 39]) == pytest.approx(1000**2 / (961**2 + 39))
    assert effective_rows([]) == 0


@pytest.mark.parametrize("kind", ["numbers", "few numbers", "categories", "missing"])
def test_rows_that_repeat_an_entity_keep_the_error_rate(kind: str) -> None:
    """100 entities with ten equal rows each, none of them drifted."""
    generator = np.random.default_rng(11)

    def draw(size: int) -> npt.NDArray[Any]:
        if kind == "numbers":
            return generator.normal(size=size)
        if kind == "few numbers":
            return generator.integers(0, 4, size=size).astype(float)
        if kind == "categories":
            return generator.choice(["a", "b", "c"], size=size).astype(object)
        return np.where(generator.random(size) < 0.3, np.nan, generator.integers(0, 40, size=size))

    naive = weighed = 0
    for _ in range(60):
        known = profile({"x": draw(2000)})
        window = count(known, {"x": np.repeat(draw(100), 10)})
        naive += compare(known, window, minimum_distance=0.0).verdict is DriftVerdict.DRIFTED
        found = compare(known, window, minimum_distance=0.0, independent_rows=effective_rows([10] * 100))
        weighed += found.verdict is DriftVerdict.DRIFTED
    assert naive >= 10
    assert weighed <= 3


def test_repeated_rows_that_did_drift_are_seen() -> None:
    generator = np.random.default_rng(12)
    known = profile({"x": generator.normal(size=2000)})
    window = count(known, {"x": np.repeat(generator.normal(1.0, 1.0, size=100), 10)})
    assert compare(known, window, independent_rows=100).verdict is DriftVerdict.DRIFTED
    assert compare(known, window, independent_rows=49).verdict is DriftVerdict.INCONCLUSIVE
