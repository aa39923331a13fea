"""Exact Shapley values of sums of trees against a background: interventional TreeSHAP, in numpy alone.

Seen from a row and one background row, a leaf is reached when the features of A take the row's values and those of
B the background row's; all others do not matter. Such a game has Shapley values in closed form: each feature of A
gets (|A|-1)! |B|! / (|A|+|B|)! of the leaf's value, each of B loses |A|! (|B|-1)! / (|A|+|B|)! of it (Lundberg et
al. 2020, "From local explanations to global understanding with explainable AI for trees", algorithm 3). So a row
costs one look at each pair of leaf and background row, and most pairs exclude each other at once.
"""

from collections.abc import Sequence
from math import factorial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CONDITIONS_LIMIT = 62
"""Features on one path; as many as one whole number has bits."""
PAIRS_LIMIT = 5_000_000
"""Pairs of leaf and background row that are held in memory; above it fewer background rows are used."""
FEWEST_ROWS = 10
CHUNK = 1 << 16
LEAVES_LIMIT = PAIRS_LIMIT // FEWEST_ROWS


class Nodes(NamedTuple):
    """One tree, by node; a node without children is a leaf.

    Attributes:
        left: place of the child that is taken up to the threshold, -1 for a leaf.
        right: place of the other.
        feature: which is compared.
        threshold: with what.
        missing_left: where a null goes.
        value: of each leaf, shape (nodes, outputs).
    """

    left: npt.NDArray[np.intp]
    right: npt.NDArray[np.intp]
    feature: npt.NDArray[np.intp]
    threshold: Floats
    missing_left: npt.NDArray[np.bool_]
    value: Floats


class Leaves(NamedTuple):
    """All leaves of a sum of trees, each with what a row has to be to reach it.

    Attributes:
        feature: shape (leaves, conditions), -1 where a leaf has fewer.
        low: the feature is above this ...
        high: ... and at most this.
        missing: or whether it may be null.
        value: shape (leaves, outputs).
    """

    feature: npt.NDArray[np.intp]
    low: Floats
    high: Floats
    missing: npt.NDArray[np.bool_]
    value: Floats


def leaves_of(trees: Sequence[Nodes]) -> Leaves | None:
    """The leaves of all trees; None where they are too many, or a path has too many features."""
    found: list[tuple[dict[int, tuple[float, float, bool]], Floats]] = []
    for tree in trees:
        waiting: list[tuple[int, dict[int, tuple[float, float, bool]]]] = [(0, {})]
        while waiting:
            node, path = waiting.pop()
            if tree.left[node] < 0:
                found.append((path, tree.value[node]))
                continue
            feature, threshold = int(tree.feature[node]), float(tree.threshold[node])
            low, high, missing = path.get(feature, (-np.inf, np.inf, True))
            left = bool(tree.missing_left[node])
            waiting.append((int(tree.left[node]), {**path, feature: (low, min(high, threshold), missing and left)}))
            waiting.append(
                (int(tree.right[node]), {**path, feature: (max(low, threshold), high, missing and not left)})
            )
        if len(found) > LEAVES_LIMIT:
            return None
    width = max(1, *(len(path) for path, _ in found))
    if width > CONDITIONS_LIMIT:
        return None
    shape = (len(found), width)
    leaves = Leaves(
        np.full(shape, -1, dtype=np.intp),
        np.full(shape, -np.inf),
        np.full(shape, np.inf),
        np.ones(shape, dtype=bool),
        np.array([value for _, value in found]),
    )
    for place, (path, _) in enumerate(found):
        count = len(path)
        if count:
            leaves.feature[place, :count] = list(path)
            bounds = list(path.values())
            leaves.low[place, :count] = [each[0] for each in bounds]
            leaves.high[place, :count] = [each[1] for each in bounds]
            leaves.missing[place, :count] = [each[2] for each in bounds]
    return leaves


class TreeExplainer:
    """Explains rows of one sum of trees.

    Args:
        leaves: of the trees.
        background: shape (rows, features); the first of them are used where all are too many.
    """

    def __init__(self, leaves: Leaves, background: Floats) -> None:
        self.rows = min(len(background), max(FEWEST_ROWS, PAIRS_LIMIT // len(leaves.value)))
        self._leaves = leaves
        self._used = leaves.feature >= 0
        self._all = _bits(self._used)
        theirs = np.stack([self._met(row) for row in background[: self.rows]])
        self._gain, self._loss = _weights(leaves.feature.shape[1])
        self._leaf, self._theirs, self._times = _told_apart(theirs)
        reached = (theirs == self._all).sum(axis=0)
        self.base = reached @ leaves.value / self.rows
        """The mean sum of the trees over the background, shape (outputs,)."""

    def sums(self, rows: Floats) -> Floats:
        """The sums of the trees, shape (rows, outputs)."""
        return np.stack([self._leaves.value[self._met(row) == self._all].sum(axis=0) for row in rows])

    def contributions(self, row: Floats) -> Floats:
        """Of each feature, shape (outputs, features)."""
        mine = self._met(row)[self._leaf]
        alive = np.flatnonzero(((mine | self._theirs) == self._all[self._leaf]) & (mine != self._theirs))
        mine, theirs = mine[alive], self._theirs[alive]
        total = np.zeros((self._leaves.value.shape[1], len(row)))
        for start in range(0, len(alive), CHUNK):
            some = slice(start, start + CHUNK)
            at = alive[some]
            self._add(total, at, mine[some] & ~theirs[some], theirs[some] & ~mine[some])
        return total / self.rows

    def _add(
        self, total: Floats, at: npt.NDArray[np.intp], mine: npt.NDArray[np.int64], theirs: npt.NDArray[np.int64]
    ) -> None:
        leaf, places = self._leaf[at], np.arange(self._leaves.feature.shape[1])
        for_it, against = (mine[:, None] >> places) & 1, (theirs[:, None] >> places) & 1
        a, b = for_it.sum(axis=1), against.sum(axis=1)
        times = self._times[at]
        shares = for_it * (times * self._gain[a, b])[:, None] - against * (times * self._loss[a, b])[:, None]
        kept = shares != 0.0
        features = self._leaves.feature[leaf][kept]
        for output in range(len(total)):
            weighted = (shares * self._leaves.value[leaf, output][:, None])[kept]
            total[output] += np.bincount(features, weights=weighted, minlength=total.shape[1])

    def _met(self, row: Floats) -> npt.NDArray[np.int64]:
        """The conditions of each leaf that a row meets, as bits."""
        leaves = self._leaves
        values = row[leaves.feature]
        met = np.where(np.isnan(values), leaves.missing, (values > leaves.low) & (values <= leaves.high))
        return _bits(met & self._used)


def _told_apart(
    met: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Background rows that meet the same conditions of a leaf are one to it: leaf, conditions, and how many."""
    rows, count = met.shape
    leaf, bits = np.tile(np.arange(count), rows), met.ravel()
    order = np.lexsort((bits, leaf))
    leaf, bits = leaf[order], bits[order]
    first = np.flatnonzero(np.concatenate([[True], (leaf[1:] != leaf[:-1]) | (bits[1:] != bits[:-1])]))
    return leaf[first], bits[first], np.diff(np.append(first, len(leaf)))


def _bits(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    return flags @ (1 << np.arange(flags.shape[1], dtype=np.int64))


def _weights(most: int) -> tuple[Floats, Floats]:
    """What one of |A| features gains and one of |B| loses of a leaf's value."""
    gain, loss = np.zeros((most + 1, most + 1)), np.zeros((most + 1, most + 1))
    for a in range(most + 1):
        for b in range(most + 1 - a):
            if a:
                gain[a, b] = factorial(a - 1) * factorial(b) / factorial(a + b)
            if b:
                loss[a, b] = factorial(a) * factorial(b - 1) / factorial(a + b)
    return gain, loss
