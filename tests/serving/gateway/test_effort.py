"""How long a version takes is learnt from its calls."""

import numpy as np
import pytest

from headrace.serving.gateway.effort import Effort


def test_nothing_known_keeps_nobody_away() -> None:
    assert Effort().expected_s(1_000_000) == 0.0


def test_calls_of_one_size_say_nothing_of_rows() -> None:
    effort = Effort()
    for _ in range(30):
        effort.learn(1, 0.01)
    assert effort.expected_s(4_000) == pytest.approx(0.01)
    assert effort.expected_s(4_000, calls=3) == pytest.approx(0.03)


def test_the_cost_of_a_call_and_of_a_row_are_told_apart() -> None:
    effort = Effort()
    for rows in (1, 10, 100, 1_000) * 10:
        effort.learn(rows, 0.004 + 0.000_02 * rows)
    assert effort.expected_s(2_000) == pytest.approx(0.044)
    assert effort.expected_s(8_000, calls=2) == pytest.approx(0.168)


def test_a_model_that_became_slower_is_believed_soon() -> None:
    effort = Effort()
    for _ in range(1_000):
        effort.learn(1, 0.001)
    for _ in range(100):
        effort.learn(1, 0.1)
    assert effort.expected_s(1) == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize("calls", [[(1, 0.5), (100, 0.1)], [(10, 0.001), (1_000, 1.0)]])
def test_it_never_expects_less_than_nothing(calls: list[tuple[int, float]]) -> None:
    effort = Effort()
    for rows, took_s in calls:
        effort.learn(rows, took_s)
    for rows in (1, 10, 10_000):
        assert effort.expected_s(rows) > 0


def test_calls_that_vary_by_themselves_do_not_make_rows_dear() -> None:
    """Who believed that would turn callers away, and have only small calls to learn from."""
    generator = np.random.default_rng(5)
    effort = Effort()
    worst = 0.0
    for _ in range(2_000):
        rows = int(generator.integers(1, 8))
        effort.learn(rows, 0.02 + float(generator.exponential(0.02)))
        worst = max(worst, effort.expected_s(256))
    assert worst < 256 * 0.02 / 2  # half of what as many calls would take
    effort = Effort()
    for _ in range(200):
        rows = int(generator.integers(1, 500))
        effort.learn(rows, 0.02 + 0.000_5 * rows + float(generator.exponential(0.02)))
    assert effort.expected_s(1_000) == pytest.approx(0.04 + 0.5, rel=0.2)  # and what rows do cost is found
