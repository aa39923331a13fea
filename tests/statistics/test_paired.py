"""Two versions judged by the losses of both: wrong verdicts are as rare as said, right ones as soon as foretold."""

import ast
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.statistics import paired
from headrace.statistics.paired import (
    BETS,
    Spread,
    capital,
    greatest_bets,
    judge_pairs,
    spread_seen,
    spread_unseen,
    units_to_go_on,
    units_to_take_back,
)
from headrace.statistics.sequential import Verdict

ALPHA, TESTS = 0.05, 5
MARGIN, BOUND = 0.05, 1.0


def paths(differences: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Both e-values after every unit, shape (runs, units); written anew, as the capital of somebody who bets."""
    not_worse, worse = greatest_bets(MARGIN, BOUND)
    for_it = np.mean([np.cumprod(1 + part * not_worse * (MARGIN - differences), axis=1) for part in BETS], axis=0)
    against = np.mean([np.cumprod(1 + part * worse * (differences - MARGIN), axis=1) for part in BETS], axis=0)
    return for_it, against


def draw(mean: float, *, runs: int, units: int, seed: int = 0, share: float = 0.2) -> npt.NDArray[Any]:
    """Differences of decisions: one of the two errs on a part of the units."""
    generator = np.random.default_rng(seed)
    more = (share + mean) / 2
    return generator.choice([1.0, -1.0, 0.0], p=[more, share - more, 1 - share], size=(runs, units))


def test_imports_little() -> None:
    tree = ast.parse(Path(paired.__file__).read_text())
    names = {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} | {
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    own = {"headrace.statistics.sequential"}  # which has a test of its own
    assert {name.split(".")[0] for name in names - own} <= set(sys.stdlib_module_names)


def test_a_version_that_is_worse_by_the_margin_is_neither_passed_nor_taken_back() -> None:
    passes, fails = paths(draw(MARGIN, runs=1000, units=2000))
    assert np.mean(passes.max(axis=1) >= 1 / ALPHA) <= ALPHA
    assert np.mean(fails.max(axis=1) >= TESTS / ALPHA) <= ALPHA / TESTS


def test_one_that_is_as_good_is_passed_within_what_is_foretold_and_not_taken_back() -> None:
    foretold = units_to_go_on(Spread(size=1.0, share=0.2), margin=MARGIN, bound=BOUND, alpha=ALPHA)
    passes, fails = paths(draw(0.0, runs=500, units=math.ceil(foretold)))
    assert np.mean(passes.max(axis=1) >= 1 / ALPHA) >= 0.9
    assert np.mean(fails.max(axis=1) >= TESTS / ALPHA) <= ALPHA / TESTS


def test_one_that_is_worse_is_taken_back_within_what_is_foretold() -> None:
    foretold = units_to_take_back(
        Spread(size=1.0, share=0.2), mean=2 * MARGIN, margin=MARGIN, bound=BOUND, alpha=ALPHA, tests=TESTS
    )
    passes, fails = paths(draw(2 * MARGIN, runs=500, units=math.ceil(foretold)))
    assert np.mean(fails.max(axis=1) >= TESTS / ALPHA) >= 0.9
    assert np.mean(passes.max(axis=1) >= 1 / ALPHA) <= ALPHA


def test_a_verdict_takes_its_evidence() -> None:
    little, enough, all_of_it = ([math.log(value)] * 8 for value in (19.9, 20.1, 101))
    assert judge_pairs((), (), alpha=ALPHA, tests=TESTS).verdict is Verdict.HOLD
    assert judge_pairs(little, enough, alpha=ALPHA, tests=TESTS).verdict is Verdict.HOLD
    found = judge_pairs(enough, enough, alpha=ALPHA, tests=TESTS)
    assert (found.verdict, found.needed, found.harm_needed) == (Verdict.ADVANCE, 20.0, 100.0)
    assert judge_pairs(enough, all_of_it, alpha=ALPHA, tests=TESTS).verdict is Verdict.ROLL_BACK


@given(
    st.floats(0.001, 0.9), st.floats(1.0, 50.0), st.lists(st.floats(-1.0, 1.0), max_size=40), st.sampled_from(BETS)
)
def test_no_unit_ruins_a_bet(margin: float, bound: float, parts: list[float], part: float) -> None:
    for_it, against = greatest_bets(margin, bound)
    for difference in [bound, -bound, *(bound * one for one in parts)]:
        assert 1 + part * for_it * (margin - difference) > 0
        assert 1 + part * against * (difference - margin) > 0


def test_a_capital_is_the_mean_of_the_bets_and_one_before_the_first_unit() -> None:
    assert capital([]) == 1.0
    assert capital([math.log(2.0), math.log(4.0)]) == pytest.approx(3.0)
    assert capital([5000.0, 0.0]) == math.inf


def test_the_spread_has_the_moments_of_what_was_seen() -> None:
    seen = np.array([0.3, -0.3, 0.0, 0.0, 0.3, 0.0, 0.0, 0.0])
    found = spread_seen(8, float((seen**2).sum()), float((seen**4).sum()), bound=1.0)
    assert found is not None
    assert [found.size, found.share] == pytest.approx([0.3, 3 / 8])
    assert spread_seen(0, 0.0, 0.0, bound=1.0) is None
    assert spread_seen(9, 0.0, 0.0, bound=1.0) is None


def test_more_labels_are_foretold_for_a_smaller_margin_and_a_wider_spread() -> None:
    narrow, wide = Spread(size=0.2, share=0.3), Spread(size=0.4, share=0.3)
    needed = [
        units_to_go_on(narrow, margin=0.02, bound=1.0, alpha=ALPHA),
        units_to_go_on(narrow, margin=0.01, bound=1.0, alpha=ALPHA),
        units_to_go_on(wide, margin=0.01, bound=1.0, alpha=ALPHA),
    ]
    assert needed == sorted(needed)
    assert needed[0] < needed[1] / 2
    assert spread_unseen(bound=4.0, decisions=False).size == pytest.approx(0.2)
    assert spread_unseen(bound=1.0, decisions=True) == Spread(size=1.0, share=0.05)


def test_a_difference_beyond_the_spread_is_foretold_too() -> None:
    tiny = Spread(size=0.001, share=0.01)
    needed = units_to_take_back(tiny, mean=1.0, margin=0.5, bound=1.0, alpha=ALPHA, tests=1)
    assert 1 <= needed < 40
