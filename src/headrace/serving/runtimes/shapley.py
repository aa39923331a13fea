"""Shapley values of any model's answer to one row, against a background: exact for few features, else sampled.

The game: a coalition of features takes its values from the row, all other features take theirs from a background
row, and what a coalition is worth is the mean answer over the background. Exact values go over all coalitions
(Shapley 1953). Sampled ones follow Castro, Gómez and Tejada 2009: features are switched in the order of a random
permutation, and each is credited with what the answer then changed by. Every permutation is also walked backwards
(antithetic pairs, Mitchell, Cooper, Frank and Holmes 2022). What a walk credits adds up to the answer to the row
less that to the background row, so the contributions and the base always add up to the answer.
"""

import time
from collections.abc import Callable, Sequence
from math import factorial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Columns = Sequence[npt.NDArray[Any]]
"""One array for each feature, each with the rows as its axis."""
Ask = Callable[[Columns], npt.NDArray[np.float64]]
"""Rows to answers of shape (rows, outputs)."""

ASKED_ROWS = 50_000
"""The model is asked for so many rows at most to explain one."""
CALL_ROWS = 8_192
"""In one call."""
PAIRS = 100
"""Pairs of permutations that are walked for a row: so many, or twice the background's rows, if that fits."""
FEWEST_PAIRS = 4
EXACT_FEATURES = 11


class TooSlow(Exception):
    """There is no time for the fewest pairs of permutations."""


class Values(NamedTuple):
    """What a row's answer is made of.

    Attributes:
        base: the mean answer over the background, shape (outputs,).
        contributions: shape (outputs, features).
        errors: standard errors of the contributions; None where they are exact.
        pairs: how many pairs of permutations were walked; 0 where they are exact.
    """

    base: npt.NDArray[np.float64]
    contributions: npt.NDArray[np.float64]
    errors: npt.NDArray[np.float64] | None
    pairs: int


class Background:
    """Rows that stand for what a feature is when it is not known.

    Args:
        ask: the model.
        columns: the rows.
    """

    def __init__(self, ask: Ask, columns: Columns) -> None:
        self.columns = columns
        self.rows = len(columns[0])
        began_s = time.perf_counter()
        self.answers = _in_calls(ask, columns, self.rows)
        self.row_s = (time.perf_counter() - began_s) / self.rows
        """Seconds for one row, roughly: in a call of its own size."""

    @property
    def exact(self) -> bool:
        """Whether all coalitions are asked for."""
        features = len(self.columns)
        return features <= EXACT_FEATURES and (2**features) * self.rows <= ASKED_ROWS


def explain(ask: Ask, row: Columns, background: Background, *, until_s: float, seed: int = 0) -> Values:
    """What the answer to one row is made of.

    Args:
        ask: the model.
        row: columns of one value each.
        background: what it is compared with.
        until_s: by `time.perf_counter`; fewer permutations are walked when there is less time.
        seed: of the permutations: the same row is explained the same way.

    Raises:
        TooSlow: not even the fewest fit.
    """
    features = len(row)
    left_s = until_s - time.perf_counter()
    if background.exact and (2**features) * background.rows * background.row_s <= left_s:
        return _exact(ask, row, background)
    return _sampled(ask, row, background, until_s, np.random.default_rng(seed))


def _exact(ask: Ask, row: Columns, background: Background) -> Values:
    features, rows = len(row), background.rows
    masks = (np.arange(2**features)[:, None] >> np.arange(features)) & 1 == 1
    answers = _mixed(ask, row, background, np.repeat(masks, rows, axis=0), np.tile(np.arange(rows), len(masks)))
    worth = answers.reshape(len(masks), rows, -1).mean(axis=1)
    sizes = masks.sum(axis=1)
    weights = np.array([factorial(k) * factorial(features - k - 1) / factorial(features) for k in range(features)])
    contributions = np.empty((worth.shape[1], features))
    for feature in range(features):
        without = np.flatnonzero(~masks[:, feature])
        gains = worth[without + (1 << feature)] - worth[without]
        contributions[:, feature] = weights[sizes[without]] @ gains
    return Values(worth[0], contributions, None, 0)


def _sampled(
    ask: Ask, row: Columns, background: Background, until_s: float, generator: np.random.Generator
) -> Values:
    features, rows = len(row), background.rows
    own = _in_calls(ask, row, 1)[0]
    steps = max(1, 2 * (features - 1))
    wanted = max(FEWEST_PAIRS, min(max(PAIRS, 2 * rows), ASKED_ROWS // steps))
    places = np.concatenate([generator.permutation(rows) for _ in range(-(-wanted // rows))])[:wanted]
    at_once = max(1, min(CALL_ROWS // steps, wanted))
    found: list[npt.NDArray[np.float64]] = []
    walked, began_s = 0, time.perf_counter()
    while walked < wanted:
        now_s = time.perf_counter()
        pair_s = (now_s - began_s) / walked if walked else steps * background.row_s
        fitting = int(min((until_s - now_s) / max(pair_s, 1e-9), wanted))
        if fitting < 1 and walked >= FEWEST_PAIRS:
            break
        if fitting < FEWEST_PAIRS - walked:
            raise TooSlow
        some = places[walked : walked + max(1, min(at_once, fitting))]
        found.append(_walk(ask, row, own, background, some, generator))
        walked += len(some)
    pairs = np.concatenate(found)  # (pairs, outputs, features)
    used = places[:walked]
    base = background.answers[used].mean(axis=0)
    return Values(base, pairs.mean(axis=0), _errors(pairs, used, rows), walked)


def _walk(
    ask: Ask,
    row: Columns,
    own: npt.NDArray[np.float64],
    background: Background,
    places: npt.NDArray[np.intp],
    generator: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """What each feature is credited with by each pair of walks, shape (pairs, outputs, features)."""
    features, pairs = len(row), len(places)
    orders = np.argsort(generator.random((pairs, features)), axis=1)
    both = np.stack([orders, orders[:, ::-1]], axis=1).reshape(2 * pairs, features)
    ranks = np.argsort(both, axis=1)
    masks = ranks[:, None, :] < np.arange(1, features)[None, :, None]  # after each step but the last
    starts = np.repeat(places, 2)
    between = np.empty((0, len(own)))
    if features > 1:
        asked = masks.reshape(-1, features)
        between = _mixed(ask, row, background, asked, np.repeat(starts, features - 1))
    path = np.concatenate(
        [
            background.answers[starts][:, None, :],
            between.reshape(2 * pairs, features - 1, len(own)),
            np.broadcast_to(own, (2 * pairs, 1, len(own))),
        ],
        axis=1,
    )
    gains = np.diff(path, axis=1)  # (walks, steps, outputs)
    credited = np.take_along_axis(gains, ranks[:, :, None], axis=1)
    return credited.reshape(pairs, 2, features, -1).mean(axis=1).transpose(0, 2, 1)


def _errors(
    pairs: npt.NDArray[np.float64], places: npt.NDArray[np.intp], rows: int
) -> npt.NDArray[np.float64] | None:
    """Standard errors of the means of the pairs.

    Where each background row was used equally often and more than once, only what differs between pairs of the same
    row is chance. Else all that differs is taken for chance, which is too much rather than too little.
    """
    count = len(pairs)
    times = count // rows
    if count == times * rows and times > 1:
        by_row = pairs[np.argsort(places, kind="stable")].reshape(rows, times, *pairs.shape[1:])
        variance: npt.NDArray[np.float64] = by_row.var(axis=1, ddof=1).mean(axis=0)
    else:
        variance = pairs.var(axis=0, ddof=1)
    return np.sqrt(variance / count)


def _mixed(
    ask: Ask,
    row: Columns,
    background: Background,
    masks: npt.NDArray[np.bool_],
    places: npt.NDArray[np.intp],
) -> npt.NDArray[np.float64]:
    """Answers to rows that take from the row what a mask says, and all else from a background row."""
    parts = []
    for start in range(0, len(masks), CALL_ROWS):
        some, at = masks[start : start + CALL_ROWS], places[start : start + CALL_ROWS]
        parts.append(
            ask(
                [
                    np.where(some[:, place], value, column[at])
                    for place, (value, column) in enumerate(zip(row, background.columns, strict=True))
                ]
            )
        )
    return np.concatenate(parts)


def _in_calls(ask: Ask, columns: Columns, rows: int) -> npt.NDArray[np.float64]:
    return np.concatenate(
        [ask([column[start : start + CALL_ROWS] for column in columns]) for start in range(0, rows, CALL_ROWS)]
    )
