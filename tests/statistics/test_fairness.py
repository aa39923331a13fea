"""Measures are fairlearn's, bounds hold over many groups, and a change is seen where there is one."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fairlearn import metrics as theirs
from scipy import stats

from headrace.errors import InvalidInput
from headrace.statistics import fairness

Array = npt.NDArray[Any]


def people(seed: int, rows: int = 1500, groups: int = 3, gap: float = 0.0) -> tuple[Array, Array, Array]:
    """Labels, decisions, groups; group g0 is decided to be 1 less often by `gap`."""
    generator = np.random.default_rng(seed)
    members = np.array([f"g{place}" for place in range(groups)], dtype="U8")[generator.integers(groups, size=rows)]
    labels = generator.integers(0, 2, rows)
    chance = 0.3 + 0.3 * labels - gap * (members == "g0")
    return labels, generator.random(rows) < chance, members


@pytest.mark.parametrize("measure", sorted(fairness.MEASURES))
def test_every_measure_is_fairlearns(measure: str) -> None:
    labels, decided, members = people(1, gap=0.1)
    found = fairness.disparity(measure, labels, decided, members)
    expected = getattr(theirs, measure)(labels, decided.astype(int), sensitive_features=members)
    assert found.estimate.value == pytest.approx(expected)
    assert found.estimate.low <= found.estimate.value <= found.estimate.high
    assert "g0" in found.furthest


def test_rates_are_fairlearns_and_have_wilsons_interval() -> None:
    labels, decided, members = people(2)
    frame = theirs.MetricFrame(
        metrics={"selection_rate": theirs.selection_rate, "rows": theirs.count},
        y_true=labels, y_pred=decided.astype(int), sensitive_features=members,
    )  # fmt: skip
    for found in fairness.disparity("demographic_parity_difference", labels, decided, members).rates:
        row = frame.by_group.loc[found.group]
        assert found.rows == row["rows"]
        assert found.share.value == pytest.approx(row["selection_rate"])
        wilson = stats.binomtest(int(decided[members == found.group].sum()), found.rows).proportion_ci(
            0.9, method="wilson"
        )
        assert (found.share.low, found.share.high) == pytest.approx((wilson.low, wilson.high))


@pytest.mark.parametrize("groups", [2, 6])
@pytest.mark.parametrize("measure", ["demographic_parity_difference", "equal_opportunity_ratio"])
def test_the_bound_is_missed_as_seldom_as_said(measure: str, groups: int) -> None:
    truth = 0.1 if measure == "demographic_parity_difference" else 0.5 / 0.6
    runs, missed, accused = 300, 0, 0
    for seed in range(runs):
        found = fairness.disparity(measure, *people(seed, groups=groups, gap=0.1)).estimate
        far, near = (found.low, found.high) if fairness.is_ratio(measure) else (found.high, found.low)
        missed += far > truth if fairness.is_ratio(measure) else far < truth
        accused += near < truth if fairness.is_ratio(measure) else near > truth
    for count in (missed, accused):
        assert stats.binomtest(count, runs, 0.05, alternative="greater").pvalue > 0.001


def test_many_fair_groups_are_seldom_accused() -> None:
    accused = 0
    for seed in range(200):
        found = fairness.disparity("equalized_odds_difference", *people(seed, rows=2000, groups=10))
        accused += found.estimate.low > 0.0
    assert accused / 200 <= 0.095


def test_a_group_that_is_always_decided_alike_is_not_certain() -> None:
    labels, members = np.ones(100, dtype=int), np.repeat(["a", "b"], 50)
    found = fairness.disparity("equal_opportunity_difference", labels, np.ones(100, dtype=bool), members)
    assert found.estimate.value == 0.0
    assert found.estimate.high > 0.04
    assert found.detectable() > 0.04


def test_a_group_of_three_rows_is_set_aside_and_named() -> None:
    labels, decided, members = people(3)
    members[:3] = "tiny"
    found = fairness.disparity("equalized_odds_difference", labels, decided, members, minimum_units=50)
    assert {one.group for one in found.small} == {"tiny"}
    assert "tiny" not in {one.group for one in found.rates}
    alone = np.where(members == "tiny", "tiny", "all")
    with pytest.raises(InvalidInput, match="1 of 2 groups"):
        fairness.disparity("equalized_odds_difference", labels, decided, alone, minimum_units=50)


def test_a_rare_label_makes_a_group_small_for_that_rate() -> None:
    labels, decided, members = people(4)
    labels[members == "g1"] = 0
    found = fairness.disparity("equal_opportunity_difference", labels, decided, members, minimum_units=20)
    assert [(one.group, one.rows) for one in found.small] == [("g1", 0)]
    both = fairness.disparity("equalized_odds_difference", labels, decided, members, minimum_units=20)
    assert {one.group for one in both.rates} == {"g0", "g2"}
    assert len(both.small) == 2


def test_copies_of_rows_add_nothing() -> None:
    labels, decided, members = people(5, rows=600)
    once = fairness.disparity("demographic_parity_difference", labels, decided, members).estimate
    copies = [np.repeat(column, 3) for column in (labels, decided, members)]
    entities = np.repeat(np.arange(600), 3)
    found = fairness.disparity("demographic_parity_difference", *copies, entities=entities).estimate
    assert (found.low, found.high) == pytest.approx((once.low, once.high), abs=0.01)


def test_a_ratio_of_nothing_is_refused() -> None:
    labels, decided, members = people(6)
    with pytest.raises(InvalidInput, match="no ratio"):
        fairness.disparity("demographic_parity_ratio", labels, np.zeros_like(decided), members)
    with pytest.raises(InvalidInput, match="not a known measure"):
        fairness.disparity("parity", labels, decided, members)


@pytest.mark.parametrize("measure", ["demographic_parity_difference", "equal_opportunity_difference"])
def test_a_widening_of_two_groups_is_the_difference_of_two_measures(measure: str) -> None:
    labels, old, members = people(7, groups=2, gap=0.1)
    new = old & ~((members == "g0") & (np.random.default_rng(8).random(len(old)) < 0.3))
    found = fairness.widening(measure, labels, new, old, members)
    before, after = (
        getattr(theirs, measure)(labels, decided.astype(int), sensitive_features=members) for decided in (old, new)
    )
    assert found.estimate.value == pytest.approx(after - before)
    assert 0.0 < found.estimate.low < found.estimate.value < found.estimate.high
    assert set(found.furthest[:2]) == {"g0", "g1"}


def test_groups_that_change_places_and_stay_as_far_apart_have_not_moved() -> None:
    labels, _, members = people(8, rows=4000, groups=2)
    generator = np.random.default_rng(9)
    old = generator.random(4000) < np.where(members == "g0", 0.3, 0.5)
    new = generator.random(4000) < np.where(members == "g0", 0.5, 0.3)
    found = fairness.widening("demographic_parity_difference", labels, new, old, members)
    assert found.estimate.value == pytest.approx(0.0, abs=0.03)
    assert found.estimate.high < 0.15
    closer = fairness.widening("demographic_parity_difference", labels, np.zeros(4000, dtype=bool), old, members)
    assert closer.estimate.high < 0.0


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("gap", [0.0, 0.1])
def test_a_widening_at_the_margin_passes_as_seldom_as_said(gap: float, groups: int) -> None:
    """From equal groups, too, where a bootstrap of the largest gap's change passed up to half of them."""
    margin, runs, passed, accused = 0.05, 300, 0, 0
    for seed in range(runs):
        labels, old, members = people(seed, groups=groups, gap=gap)
        generator = np.random.default_rng(10_000 + seed)
        fresh = generator.random(len(old)) < 0.3 + 0.3 * labels - gap * (members == "g0")
        new = np.where(generator.random(len(old)) < 0.1, fresh, old)
        new &= ~((members == "g0") & (generator.random(len(old)) < margin / (0.45 - gap)))
        found = fairness.widening("demographic_parity_difference", labels, new, old, members).estimate
        passed, accused = passed + (found.high < margin), accused + (found.low > margin)
    for count in (passed, accused):
        assert stats.binomtest(count, runs, 0.05, alternative="greater").pvalue > 0.001


def test_what_is_detectable_is_met_four_times_in_five() -> None:
    parity, runs, met, moved = "demographic_parity_difference", 200, 0, 0
    labels, decided, members = people(0, groups=2)
    tolerance = fairness.disparity(parity, labels, decided, members).detectable()
    margin = fairness.widening(parity, labels, *redrawn(0, labels, decided), members).detectable()
    for seed in range(runs):
        labels, decided, members = people(seed, groups=2)
        met += fairness.disparity(parity, labels, decided, members).estimate.high <= tolerance
        moved += fairness.widening(parity, labels, *redrawn(seed, labels, decided), members).estimate.high < margin
    assert 0.7 < met / runs < 0.9
    assert 0.7 < moved / runs < 0.95


def redrawn(seed: int, labels: Array, old: Array) -> tuple[Array, Array]:
    """New decisions, a tenth of them drawn afresh, and the old ones."""
    generator = np.random.default_rng(20_000 + seed)
    fresh = generator.random(len(old)) < 0.3 + 0.3 * labels
    return np.where(generator.random(len(old)) < 0.1, fresh, old), old


def test_the_same_decisions_leave_room_for_what_was_not_seen() -> None:
    labels, decided, members = people(9)
    found = fairness.widening("equal_opportunity_difference", labels, decided, decided, members).estimate
    assert found.value == 0.0
    assert found.high > 0.0


def test_a_change_of_a_ratio_and_of_a_group_without_rows_is_refused() -> None:
    labels, decided, members = people(10)
    with pytest.raises(InvalidInput, match="change of a ratio"):
        fairness.widening("demographic_parity_ratio", labels, decided, decided, members)
    labels[members == "g1"] = 0
    with pytest.raises(InvalidInput, match="g1 has no row"):
        fairness.widening("equal_opportunity_difference", labels, decided, decided, members)
