"""Confidence sequences miss the truth as seldom as they say, however often they are looked at."""

import ast
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.statistics import sequences
from headrace.statistics.sequences import mean_sequence, share_sequence

ALPHA = 0.05


def test_imports_the_standard_library_only() -> None:
    tree = ast.parse(Path(sequences.__file__).read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} | {
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    assert {str(name).split(".")[0] for name in names} <= set(sys.stdlib_module_names)


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_a_share_holds_what_was_seen_and_lies_where_shares_do(count: int, others: int) -> None:
    rows = count + others
    low, high = share_sequence(count, rows, alpha=ALPHA)
    assert 0.0 <= low <= high <= 1.0
    if rows:
        assert low <= count / rows <= high
    assert share_sequence(others, rows, alpha=ALPHA) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_the_bounds_of_a_share_are_where_the_mixture_says() -> None:
    low, high = share_sequence(30, 100, alpha=ALPHA)
    mixture = math.lgamma(31) + math.lgamma(71) - math.lgamma(102)
    for edge in (low, high):
        ratio = mixture - 30 * math.log(edge) - 70 * math.log1p(-edge)
        assert math.exp(ratio) == pytest.approx(1 / ALPHA)
    assert share_sequence(0, 100, alpha=ALPHA)[1] < share_sequence(0, 50, alpha=ALPHA)[1]
    assert share_sequence(0, 0, alpha=ALPHA) == (0.0, 1.0)


@pytest.mark.parametrize("truth", [0.01, 0.3])
def test_a_share_is_missed_seldom_by_a_look_after_every_row(truth: float) -> None:
    generator = np.random.default_rng(3)
    runs, rows, missed = 400, 1000, 0
    for _ in range(runs):
        seen = np.cumsum(generator.random(rows) < truth)
        looks = set(range(1, 60)) | set(np.geomspace(60, rows, 120).astype(int).tolist())
        missed += any(
            not low <= truth <= high
            for low, high in (share_sequence(int(seen[look - 1]), look, alpha=ALPHA) for look in sorted(looks))
        )
    assert missed / runs <= ALPHA


def test_a_mean_is_missed_seldom_by_a_look_after_every_row() -> None:
    generator = np.random.default_rng(4)
    runs, rows, truth, missed = 600, 4000, 1.0, 0
    for _ in range(runs):
        values = generator.exponential(truth, size=rows)
        totals, squares = np.cumsum(values), np.cumsum(values**2)
        looks = np.unique(np.geomspace(100, rows, 200).astype(int))
        bounds = [
            mean_sequence(int(look), float(totals[look - 1]), float(squares[look - 1]), alpha=ALPHA)
            for look in looks
        ]
        missed += any(not low <= truth <= high for low, high in bounds)
    assert missed / runs <= ALPHA
    low, high = mean_sequence(rows, float(totals[-1]), float(squares[-1]), alpha=ALPHA)
    assert high - low < 0.2


def test_below_two_rows_nothing_is_known_of_a_mean() -> None:
    assert mean_sequence(1, 3.0, 9.0, alpha=ALPHA) == (-math.inf, math.inf)
    assert mean_sequence(9, 27.0, 81.0, alpha=ALPHA) == (3.0, 3.0)
