"""Score intervals are the published ones and keep their error where a share is near 0 or 1."""

import numpy as np
import pytest
from scipy import stats

from headrace.statistics import proportions


def test_a_share_has_wilsons_interval() -> None:
    wilson = stats.binomtest(7, 20).proportion_ci(0.95, method="wilson")
    share = proportions.proportion_interval(7, 20)
    assert (share.low, share.high) == pytest.approx((wilson.low, wilson.high))


def test_the_interval_of_a_difference_of_shares_is_newcombes() -> None:
    # Newcombe (1998), table II, method 10: 56/70 against 48/80
    found = proportions.proportion_difference((56, 70), (48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    low, high = proportions.pairwise_differences(np.array([0.8, 0.6]), np.array([70.0, 80.0]), confidence=0.95)
    assert (low[0, 1], high[0, 1]) == pytest.approx((found.low, found.high))
    assert (low[1, 0], high[1, 0]) == pytest.approx((-found.high, -found.low))


def test_the_interval_of_a_paired_difference_is_tangos() -> None:
    # the example that R's PropCIs gives for scoreci.mp: 50 pairs, of which 12 and 2 differ
    found = proportions.paired_difference(12, 2, 50, confidence=0.95)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0611, 0.3447), abs=5e-5)
    turned = proportions.paired_difference(2, 12, 50, confidence=0.95)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_pairs_that_never_differ_still_leave_room() -> None:
    z = stats.norm.ppf(0.95)
    found = proportions.paired_difference(0, 0, 200)
    assert (found.low, found.high) == pytest.approx((-(z**2) / (200 + z**2), z**2 / (200 + z**2)), rel=1e-3)


@pytest.mark.parametrize(("gained", "lost"), [(30, 0), (0, 30), (29, 1)])
def test_a_paired_difference_stays_between_minus_one_and_one(gained: int, lost: int) -> None:
    found = proportions.paired_difference(gained, lost, 30)
    assert -1.0 <= found.low <= found.value <= found.high <= 1.0
    assert found.low < found.high


@pytest.mark.parametrize("disagree", [0.02, 0.1])
def test_the_paired_bound_is_missed_about_as_often_as_said(disagree: float) -> None:
    """Exactly, over all tables: 200 rows, a new model worse by the disagreement itself."""
    rows, missed = 200, 0.0
    for lost in range(80):
        chance = float(stats.binom.pmf(lost, rows, disagree))
        missed += chance * (proportions.paired_difference(0, lost, rows).low > -disagree)
    assert missed <= 0.08


def test_the_ratio_agrees_with_draws_and_has_no_upper_end_below_nothing() -> None:
    shares, sizes = np.array([0.3, 0.5, 0.0]), np.array([400.0, 300.0, 50.0])
    low, high = proportions.pairwise_ratios(shares, sizes, confidence=0.9)
    generator = np.random.default_rng(1)
    drawn = generator.binomial(400, 0.3, 20_000) / 400 / (generator.binomial(300, 0.5, 20_000) / 300)
    assert (low[0, 1], high[0, 1]) == pytest.approx(tuple(np.quantile(drawn, [0.05, 0.95])), abs=0.01)
    assert high[0, 2] == np.inf
    assert low[2, 0] == 0.0


def test_a_design_effect_is_that_of_the_clusters() -> None:
    generator = np.random.default_rng(2)
    independent = (generator.random(2000) < 0.4).astype(float)
    assert proportions.design_effect(independent, None) == 1.0
    assert proportions.design_effect(np.repeat(independent, 4), np.repeat(np.arange(2000), 4)) == pytest.approx(
        4.0, rel=0.01
    )
    assert proportions.design_effect(independent, np.repeat(np.arange(500), 4)) == pytest.approx(1.0, abs=0.2)
    assert proportions.design_effect(np.ones(12), np.repeat(np.arange(3), 4)) == 4.0
