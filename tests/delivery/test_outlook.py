"""What is foretold of a test of rewards: with a margin, at the ends of the range, and where nothing is known."""

from typing import Any

import pytest

from headrace.delivery import outlook
from headrace.delivery.outlook import ASSUMED, Spread
from headrace.project.experiments import ABTest
from headrace.statistics.experiments import Expected, rewards_to_detect


def units(spread: Spread, **declared: Any) -> int | None:
    rollout = ABTest(reward="purchase", **declared)
    (told,) = outlook.of_rewards(rollout, 0.0, spread).differences
    return told.units


def rate(mean: float, *, binary: bool = True) -> Spread:
    return Spread("seen", mean, mean * (1.0 - mean) / (1.0 if binary else 3.0), binary)


def test_it_is_that_of_the_two_means() -> None:
    arms = [Expected(mean=mean, variance=mean * (1.0 - mean)) for mean in (0.2, 0.25)]
    assert units(rate(0.2), find=0.05) == pytest.approx(rewards_to_detect(*arms, share=0.5, alpha=0.05), abs=1)


def test_units_of_rewards_are_those_of_their_range() -> None:
    assert units(rate(0.2), find=5.0, range=(-50, 50)) == units(rate(0.2), find=0.05)


def test_rewards_that_spread_less_take_fewer_units_and_unknown_ones_the_most() -> None:
    found = units(rate(0.4, binary=False), find=0.05), units(rate(0.4), find=0.05), units(ASSUMED, find=0.05)
    assert None not in found
    assert found[0] < found[1] <= found[2]  # type: ignore[operator]


def test_a_margin_is_what_the_difference_is_sought_beyond() -> None:
    """A version that is as good passes a margin of 0.05 about as soon as one that is better by 0.05 passes none."""
    with_margin, without = units(rate(0.3), find=0.05, margin=0.05), units(rate(0.3), find=0.05)
    assert with_margin is not None
    assert with_margin == pytest.approx(without, rel=0.15)


@pytest.mark.parametrize("mean", [0.0, 0.02, 0.98, 1.0])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("margin", [0.0, 0.04, 0.3])
def test_where_there_is_no_room_beside_the_mean_something_is_told_all_the_same(
    mean: float, binary: bool, margin: float
) -> None:
    for find in (0.05, 0.5, 1.0):
        told = units(rate(mean, binary=binary), find=find, margin=margin)
        assert told is not None
        assert told > 0
