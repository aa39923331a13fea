"""The calibration error is unbiased, its bounds hold at zero and away from it, and its slope is a regression's."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression

from headrace.errors import InvalidInput
from headrace.statistics.calibration import binned, calibration

Array = npt.NDArray[Any]


def foretold(seed: int, rows: int, bias: float = 0.0) -> tuple[Array, Array]:
    """Labels whose chance is the score plus a bias."""
    generator = np.random.default_rng(seed)
    scores = generator.uniform(0.1, 0.8, size=rows)
    return (generator.random(rows) < scores + bias).astype(int), scores


@pytest.mark.parametrize("bias", [0.0, 0.05])
def test_either_bound_is_missed_as_seldom_as_said(bias: float) -> None:
    runs, below, above, squares = 400, 0, 0, []
    for seed in range(runs):
        found = calibration(*foretold(seed, 600, bias), confidence=0.9).error
        below, above = below + (found.high < bias), above + (found.low > bias)
        squares.append(found.value**2)
    assert stats.binomtest(below, runs, 0.05, alternative="greater").pvalue > 0.001
    assert stats.binomtest(above, runs, 0.05, alternative="greater").pvalue > 0.001


def test_a_calibrated_model_seems_calibrated_where_the_plain_estimate_does_not() -> None:
    labels, scores = foretold(1, 1000)
    codes = binned(scores)
    gaps = [(labels - scores)[codes == code].mean() for code in range(codes.max() + 1)]
    plain = float(np.sqrt(np.mean(np.square(gaps))))
    found = calibration(labels, scores).error
    assert found.low == 0.0
    assert found.value < plain


def test_copies_of_rows_add_nothing() -> None:
    labels, scores = foretold(2, 600, 0.05)
    once = calibration(labels, scores).error
    groups = np.repeat(np.arange(600), 3)
    copies = calibration(np.repeat(labels, 3), np.repeat(scores, 3), groups=groups).error
    assert (copies.low, copies.high) == pytest.approx((once.low, once.high), abs=0.015)
    naive = calibration(np.repeat(labels, 3), np.repeat(scores, 3)).error
    assert naive.high - naive.low < copies.high - copies.low


def test_the_slope_is_a_logistic_regressions() -> None:
    labels, scores = foretold(3, 4000)
    sure = 1 / (1 + np.exp(-2 * np.log(scores / (1 - scores))))  # twice as sure as it should be
    found = calibration(labels, sure)
    odds = np.log(sure / (1 - sure))[:, None]
    assert found.slope is not None
    assert found.slope.value == pytest.approx(LogisticRegression(C=1e9).fit(odds, labels).coef_[0, 0], rel=1e-3)
    assert found.slope.low < 0.5 < found.slope.high


def test_constant_scores_have_one_bin_and_no_slope() -> None:
    labels, _ = foretold(4, 500)
    found = calibration(labels, np.full(500, 0.2))
    assert (len(found.bins), found.slope) == (1, None)
    assert found.error.value == pytest.approx(abs(labels.mean() - 0.2), rel=0.05)
    assert found.in_the_large.value == pytest.approx(labels.mean() - 0.2)


def test_one_outcome_has_an_error_and_no_slope() -> None:
    found = calibration(np.zeros(100, dtype=int), np.full(100, 0.3))
    assert found.slope is None
    assert found.error.value == pytest.approx(0.3, abs=0.001)
    assert 0.27 < found.error.low < found.error.value < found.error.high < 0.33


@pytest.mark.parametrize("values", [2, 3, 40])
def test_ties_share_a_bin_and_no_bin_is_small(values: int) -> None:
    scores = np.random.default_rng(5).integers(0, values, size=700) / values
    codes = binned(scores)
    assert np.bincount(codes).min() >= 30
    for score in np.unique(scores):
        assert len(np.unique(codes[scores == score])) == 1


def test_too_few_rows_and_scores_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(InvalidInput, match="needs 30 rows"):
        calibration(*foretold(6, 20))
    with pytest.raises(InvalidInput, match="no probabilities"):
        calibration(np.array([0, 1] * 30), np.array([0.0, 1.5] * 30))
