"""The rows that two forms of a model are compared on: real ones, random ones around them, and those on its edges.

A tree changes its answer at a threshold, and that is where rounding shows. So the thresholds are searched for, by
halving the way between two real values that are answered differently, and rows are laid on both sides: next to each
other as float32 numbers, and as far apart as the column's own values are.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.serving.forms.inputs import Array, Outputs

RANDOM_ROWS = 1_000
EDGES = 96
"""So many thresholds are searched for at once."""
TRIED = 512
"""Pairs of values that are tried to find them."""
HALVINGS = 70
"""More than there are float64 numbers to halve between any two."""
OUTSIDE = 0.3
"""Share of the random values that lie outside of what was seen."""

Ask = Callable[[Array], Outputs]


def random_rows(real: Array, generator: np.random.Generator, *, nulls: npt.NDArray[np.bool_]) -> Array:
    """Rows whose values come from different real rows, or lie around and outside of what was seen.

    Args:
        real: shape (rows, columns), at least one row.
        generator: of randomness.
        nulls: which columns may be null.
    """
    rows = np.empty((RANDOM_ROWS, real.shape[1]))
    for column in range(real.shape[1]):
        seen = real[:, column][~np.isnan(real[:, column])]
        seen = seen if len(seen) else np.zeros(1)
        width = float(seen.max() - seen.min()) or max(abs(float(seen[0])), 1.0)
        values = generator.choice(seen, RANDOM_ROWS)
        anywhere = generator.random(RANDOM_ROWS) < OUTSIDE
        low, high = float(seen.min()) - width, float(seen.max()) + width
        values[anywhere] = generator.uniform(low, high, int(anywhere.sum()))
        if nulls[column]:
            values[generator.random(RANDOM_ROWS) < 0.1] = np.nan
        rows[:, column] = values
    return rows


def edge_rows(real: Array, ask: Ask, generator: np.random.Generator) -> tuple[Array, Array]:
    """Rows on the edges between answers, shape (rows, columns) each; none for a model that has no edges.

    Args:
        real: shape (rows, columns).
        ask: the model as it was registered.
        generator: of randomness.

    Returns:
        Rows that a caller may well send, beside the edges; and rows that differ in the last bit of one float64.
    """
    nothing = real[:0]
    if len(real) < 2:
        return nothing, nothing
    at = generator.integers(0, len(real), TRIED)
    column = generator.integers(0, real.shape[1], TRIED)
    base = real[at].copy()
    low = base[np.arange(TRIED), column].copy()
    high = real[generator.integers(0, len(real), TRIED), column]
    keep = ~np.isnan(low) & ~np.isnan(high) & (low != high)
    base, column, low, high = base[keep], column[keep], low[keep], high[keep]
    if not len(base):
        return nothing, nothing
    first, last = _asked(ask, base, column, low), _asked(ask, base, column, high)
    apart = _different(first, last)
    base, column, low, high, first = (part[apart][:EDGES] for part in (base, column, low, high, first))
    for _ in range(HALVINGS):
        if not len(base):
            return nothing, nothing
        middle = low + (high - low) / 2
        if ((middle == low) | (middle == high)).all():
            break
        same = ~_different(first, _asked(ask, base, column, middle))
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    sharp = np.nextafter(low, high) == high  # else the model is smooth there
    base, column, low, high = base[sharp], column[sharp], low[sharp], high[sharp]
    step = _steps(real)[column]
    away = np.where(high > low, step, -step)
    near = low.astype(np.float32)
    beside = [
        near,
        np.nextafter(near, np.float32(-np.inf)),
        np.nextafter(near, np.float32(np.inf)),
        low - away,
        high + away,
    ]
    last_bit = [_put(base, column, values) for values in (low, high)]
    return np.concatenate([_put(base, column, values) for values in beside]), np.concatenate(last_bit)


def _steps(real: Array) -> npt.NDArray[np.float64]:
    """The smallest distance between two values of each column: what its data can tell apart."""
    steps = np.ones(real.shape[1])
    for column in range(real.shape[1]):
        gaps = np.diff(np.unique(real[:, column][~np.isnan(real[:, column])]))
        if len(gaps):
            steps[column] = gaps.min()
    return steps


def _put(base: Array, column: npt.NDArray[np.intp], values: Any) -> Array:
    rows = base.copy()
    rows[np.arange(len(base)), column] = values
    return rows


def _asked(ask: Ask, base: Array, column: npt.NDArray[np.intp], values: Any) -> Any:
    answers = ask(_put(base, column, values))
    if isinstance(answers, dict):  # a frame: one array of all its columns
        return np.column_stack([np.asarray(part).reshape(len(base), -1) for part in answers.values()])
    return np.asarray(answers)


def _different(first: Any, second: Any) -> Any:
    different = first != second
    return different if different.ndim == 1 else different.reshape(len(different), -1).any(axis=1)
