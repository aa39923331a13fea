"""Durations of two models in turns: what slows both is no difference between them."""

import numpy as np
import pytest

from headrace.statistics import latency

ROUNDS = np.repeat(np.arange(30), 50)


def durations(seed: int, times: float) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Calls of 1 ms and more, on a machine whose rounds differ by up to a half."""
    load = np.repeat(np.random.default_rng(0).uniform(1.0, 1.5, size=30), 50)
    return np.asarray(0.001 * times * load * np.random.default_rng(seed).gamma(20.0, 0.05, size=len(ROUNDS)))


def test_a_quantile_is_numpys() -> None:
    calls = durations(1, 1.0)
    found = latency.quantile_interval(calls, ROUNDS)
    assert found.value == pytest.approx(np.quantile(calls, 0.95, method="inverted_cdf"))
    assert found.low < found.value < found.high
    assert found.rows == len(calls)


def test_a_ratio_is_sharper_than_two_quantiles_of_a_changing_machine() -> None:
    new, old = durations(1, 1.2), durations(2, 1.0)
    ratio = latency.quantile_ratio(new, ROUNDS, old, ROUNDS)
    assert ratio.low < 1.2 < ratio.high
    alone = latency.quantile_interval(new, ROUNDS)
    assert (ratio.high - ratio.low) / ratio.value < 1.2 * (alone.high - alone.low) / alone.value
    assert ratio.low > 1.05


def test_an_equal_model_is_not_slower() -> None:
    ratio = latency.quantile_ratio(durations(3, 1.0), ROUNDS, durations(4, 1.0), ROUNDS)
    assert 0.9 < ratio.low < 1.0 < ratio.high < 1.1
