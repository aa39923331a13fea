"""The bootstrap agrees with what is known, draws whole clusters, and is the same for the same seed."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headrace.errors import InvalidInput
from headrace.statistics import resampling
from headrace.statistics.intervals import mean_interval


def test_drawn_sums_give_students_interval() -> None:
    values = np.random.default_rng(7).normal(size=(400, 1))
    drawn = resampling.drawn_sums(values, seed=1)[:, 0] / 400
    found = resampling.percentile_interval(float(values.mean()), drawn, confidence=0.95, rows=400, units=400)
    closed = mean_interval(values[:, 0])
    assert (found.low, found.high) == pytest.approx((closed.low, closed.high), abs=0.02)


def test_few_units_have_a_wider_interval_than_their_percentiles() -> None:
    values = np.random.default_rng(3).normal(size=(10, 1))
    drawn = resampling.drawn_sums(values)[:, 0] / 10
    found = resampling.percentile_interval(float(values.mean()), drawn, confidence=0.9, rows=10, units=10)
    low, high = np.quantile(drawn, [0.05, 0.95])
    assert found.low < low
    assert found.high > high
    closed = mean_interval(values[:, 0], confidence=0.9)
    assert found.high - found.low == pytest.approx(closed.high - closed.low, rel=0.1)


def test_patterns_are_drawn_as_often_as_units() -> None:
    few = (np.random.default_rng(4).random((300, 2)) < 0.3).astype(float)
    slightly_different = few + np.arange(300)[:, None] * 1e-9
    patterns, units = (resampling.drawn_sums(values, seed=5) for values in (few, slightly_different))
    assert patterns.std(axis=0) == pytest.approx(units.std(axis=0), rel=0.1)
    assert patterns.mean(axis=0) == pytest.approx(few.sum(axis=0), rel=0.02)


def test_whole_clusters_are_drawn() -> None:
    values = np.repeat(np.random.default_rng(5).normal(size=50), 8)[:, None]
    clusters = np.repeat(np.arange(50), 8)
    together, apart = resampling.drawn_sums(values, clusters).std(), resampling.drawn_sums(values).std()
    assert together == pytest.approx(apart * np.sqrt(8), rel=0.1)


@pytest.mark.parametrize("clusters", [None, np.repeat(np.arange(100), 3)])
def test_a_weighted_statistic_is_that_of_the_sums(clusters: npt.NDArray[np.intp] | None) -> None:
    values = np.random.default_rng(6).normal(size=300)
    weighted = resampling.drawn_statistics(lambda weights: weights @ values, 300, clusters, seed=9)
    assert weighted == pytest.approx(resampling.drawn_sums(values[:, None], clusters, resamples=1000, seed=9)[:, 0])


def test_memory_is_bounded_by_drawing_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(resampling, "CELLS", 1_000)

    def statistic(weights: npt.NDArray[Any]) -> npt.NDArray[Any]:
        seen.append(weights.size)
        return weights.sum(axis=1)

    assert (resampling.drawn_statistics(statistic, 300, resamples=10) == 300).all()
    assert max(seen) <= 1_000
    assert len(seen) == 4


def test_the_same_seed_gives_the_same_draws() -> None:
    values = np.random.default_rng(8).normal(size=(50, 1))
    one, two, other = (resampling.drawn_sums(values, seed=seed) for seed in (1, 1, 2))
    assert (one == two).all()
    assert (one != other).any()


def test_draws_without_values_are_refused() -> None:
    drawn = np.where(np.arange(100) < 20, np.nan, 1.0)
    with pytest.raises(InvalidInput, match="too few draws"):
        resampling.percentile_interval(1.0, drawn, confidence=0.9, rows=10, units=10)
    with pytest.raises(InvalidInput, match="too few draws"):
        resampling.percentile_interval(1.0, np.ones(100), confidence=0.9, rows=10, units=1)


def test_an_interval_is_not_narrower_than_its_floor() -> None:
    found = resampling.percentile_interval(0.5, np.full(100, 0.5), confidence=0.9, rows=50, units=50, floor=0.1)
    assert (found.low, found.high) == (0.4, 0.6)
