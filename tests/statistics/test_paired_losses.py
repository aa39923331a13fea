"""Losses and their sums, and an interval that misses the mean difference as seldom as it says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidInput
from headrace.statistics.paired import BETS, capital, greatest_bets
from headrace.statistics.paired_losses import add_up, losses, mean_bounds

ALPHA = 0.05
P = np.array([0.9, 0.5, 0.0, 1.0])
Y = np.array([1.0, 0.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("loss", "bound", "wanted"),
    [
        ("log_loss", 4.6, [-math.log(0.9), math.log(2), 4.6, 0.0]),
        ("brier", 1.0, [0.01, 0.25, 1.0, 0.0]),
        ("error", 1.0, [0.0, 1.0, 1.0, 0.0]),
        ("absolute_error", 0.6, [0.1, 0.5, 0.6, 0.0]),
        ("squared_error", 0.5, [0.01, 0.25, 0.5, 0.0]),
    ],
)
def test_losses_are_what_their_names_say_and_never_above_the_bound(
    loss: str, bound: float, wanted: list[float]
) -> None:
    assert losses(loss, P, Y, bound=bound) == pytest.approx(wanted)


def test_a_loss_that_nobody_knows_is_refused() -> None:
    with pytest.raises(InvalidInput):
        losses("hinge", P, Y, bound=1.0)


@pytest.mark.parametrize("wrong", [9.0, -0.1, math.nan])
def test_a_loss_that_could_ruin_a_bet_is_refused(wrong: float) -> None:
    with pytest.raises(InvalidInput):
        add_up(np.array([wrong]), np.array([0.0]), margin=0.1, bound=1.0, alpha=ALPHA)


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)), max_size=60), st.floats(0.01, 0.9))
def test_sums_add_up_unit_by_unit_and_in_any_order(pairs: list[tuple[float, float]], margin: float) -> None:
    challenger, champion = np.array(pairs).reshape(-1, 2).T
    whole = add_up(challenger, champion, margin=margin, bound=1.0, alpha=ALPHA)
    back = add_up(challenger[::-1], champion[::-1], margin=margin, bound=1.0, alpha=ALPHA)
    assert whole.not_worse == pytest.approx(back.not_worse)
    half = len(pairs) // 2
    parts = [
        add_up(challenger[some], champion[some], margin=margin, bound=1.0, alpha=ALPHA)
        for some in (slice(0, half), slice(half, None))
    ]
    for name in ("not_worse", "worse"):
        added = np.add(getattr(parts[0], name), getattr(parts[1], name))
        assert getattr(whole, name) == pytest.approx(added.tolist(), abs=1e-9)
    for name in ("units", "champion", "challenger", "squares", "fourths"):
        assert getattr(whole, name) == pytest.approx(getattr(parts[0], name) + getattr(parts[1], name))
    assert whole.low <= (np.mean(challenger - champion) if pairs else 0.0) <= whole.high


def test_the_interval_ends_where_the_bets_rule_a_mean_out() -> None:
    differences = np.random.default_rng(2).uniform(-0.4, 0.5, 300)
    low, high = mean_bounds(differences, bound=1.0, alpha=ALPHA)
    for_high, _ = greatest_bets(high, 1.0)
    at_high = capital([np.log1p(part * for_high * (high - differences)).sum() for part in BETS])
    assert 2 / ALPHA <= at_high < 1.02 * 2 / ALPHA
    assert low < differences.mean() < high
    assert mean_bounds(np.empty(0), bound=3.0, alpha=ALPHA) == (-3.0, 3.0)
    assert mean_bounds(np.zeros(3), bound=1.0, alpha=ALPHA)[1] > 0.5
    assert mean_bounds(np.ones(3), bound=1.0, alpha=ALPHA)[1] == 1.0


@given(
    st.lists(st.sampled_from([-1.0, -0.2, 0.0, 0.001, 0.3, 1.0]), min_size=1, max_size=400),
    st.floats(0.001, 0.2),
)
def test_the_ends_are_found_for_all_that_can_be_seen(differences: list[float], alpha: float) -> None:
    seen = np.array(differences)
    low, high = mean_bounds(seen, bound=1.0, alpha=alpha)
    for sign, end in ((1.0, high), (-1.0, -low)):
        mean = sign * seen.mean()
        assert mean <= end <= 1.0

        def ruled_out(at: float, sign: float = sign) -> bool:
            greatest = greatest_bets(at, 1.0)[0]
            return capital([np.log1p(part * greatest * (at - sign * seen)).sum() for part in BETS]) >= 2 / alpha

        if end < 1.0:
            assert ruled_out(end)
        nearer = mean + 0.99 * (end - mean)
        if mean < nearer < 1.0:
            assert not ruled_out(nearer)


@pytest.mark.parametrize("truth", [0.0, 0.05])
def test_the_mean_is_missed_seldom_by_looks_at_any_time(truth: float) -> None:
    generator = np.random.default_rng(4)
    runs, missed = 100, 0
    more = (0.3 + truth) / 2
    for _ in range(runs):
        seen = generator.choice([1.0, -1.0, 0.0], p=[more, 0.3 - more, 0.7], size=1500)
        looks = np.unique(np.geomspace(5, 1500, 15).astype(int))
        bounds = [mean_bounds(seen[:look], bound=1.0, alpha=ALPHA) for look in looks]
        missed += any(not low <= truth <= high for low, high in bounds)
    assert missed / runs <= ALPHA


def test_many_units_are_taken_in_parts() -> None:
    generator = np.random.default_rng(5)
    challenger, champion = generator.random((2, 250_000))
    found = add_up(challenger, champion, margin=0.1, bound=1.0, alpha=ALPHA)
    bet = BETS[3] * greatest_bets(0.1, 1.0)[0]
    assert found.not_worse[3] == pytest.approx(float(np.log1p(bet * (0.1 - challenger + champion)).sum()))
    assert found.low < 0.0 < found.high < 0.01
