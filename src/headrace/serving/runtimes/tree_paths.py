"""The leaves of a sum of trees, and which rows reach them: all trees and many rows at once, in numpy alone.

Explaining trees asks of each leaf by which features of its path a row turns elsewhere. So the trees are laid side
by side, level by level, and a row walks down all branches at once with a bit for each feature by which it has left
the way; whoever arrives without a bit has reached the leaf.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bits = npt.NDArray[np.unsignedinteger[Any]]
Places = npt.NDArray[np.intp]

CONDITIONS_LIMIT = 62
"""Features on one path; as many as one whole number has bits."""
LEAVES_LIMIT = 500_000
AT_ONCE = 2_000_000
"""Rows times nodes that are walked in one piece."""
_WIDTHS: tuple[tuple[int, type[np.unsignedinteger[Any]]], ...] = (
    (8, np.uint8),
    (16, np.uint16),
    (32, np.uint32),
    (64, np.uint64),
)


class Nodes(NamedTuple):
    """One tree, by node; a node without children is a leaf.

    Attributes:
        left: place of the child that is taken up to the threshold, -1 for a leaf.
        right: place of the other.
        feature: which is compared.
        threshold: with what.
        missing_left: where a null goes.
        value: of each leaf, shape (nodes, outputs).
        cover: weight of the rows of the training that came by.
    """

    left: Places
    right: Places
    feature: Places
    threshold: Floats
    missing_left: npt.NDArray[np.bool_]
    value: Floats
    cover: Floats


class Columns(NamedTuple):
    """Of which of so many features each column was made."""

    sources: Sequence[int]
    features: int


class _Level(NamedTuple):
    """The inner nodes of one depth, whose children are the nodes of the next: all left ones, then all right ones.

    Attributes:
        inner: their places among the nodes of their depth.
        start: the first of them among all inner nodes.
        bit: of the feature that is compared, on this path.
        ends: places of the leaves among the nodes of this depth.
    """

    inner: Places
    start: int
    bit: Bits
    ends: Places


class Paths:
    """The leaves of all trees, in no particular order.

    Args:
        trees: at least one, with `LEAVES_LIMIT` leaves together at most; see `paths_of`.
        columns: what each column that the trees see was made of, and how many such features there are. Columns that
            were made of one feature, as one-hot columns are, then count as that feature. None: each column is one.

    Attributes:
        feature: on the path to each leaf, shape (leaves, width), -1 where a path has fewer.
        share: of the rows at a node that go on along the path, by feature, multiplied; shape (leaves, width).
        value: of each leaf, shape (leaves, outputs).
        every: the bits of all features on the path to each leaf.
    """

    def __init__(self, trees: Sequence[Nodes], columns: Columns | None = None) -> None:
        self._columns = columns
        sizes = [len(tree.left) for tree in trees]
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp)
        self._forest = Nodes(
            np.concatenate([np.where(t.left < 0, -1, t.left + s) for t, s in zip(trees, starts, strict=True)]),
            np.concatenate([np.where(t.left < 0, -1, t.right + s) for t, s in zip(trees, starts, strict=True)]),
            *(
                np.concatenate([np.asarray(tree[place]) for tree in trees])
                for place in range(2, len(Nodes._fields))
            ),
        )
        made_of = (
            self._forest.feature if columns is None else np.array([*columns.sources, -1])[self._forest.feature]
        )
        walked = _walked(self._forest, made_of, starts)
        self.width = max(1, *(path.shape[1] for path in walked.paths))
        kind = next(kind for bits, kind in _WIDTHS if self.width <= bits)
        self.kind = np.dtype(kind)
        self._levels = [
            _Level(inner, start, np.left_shift(np.array(1, self.kind), place.astype(self.kind)), ends)
            for inner, start, place, ends in walked.levels
        ]
        nodes = np.concatenate(walked.inner) if walked.inner else np.empty(0, dtype=np.intp)
        self._feature, self._threshold = self._forest.feature[nodes], self._forest.threshold[nodes]
        self._missing_left = self._forest.missing_left[nodes]
        leaves = np.concatenate(walked.leaves)
        self.feature = np.concatenate([_padded(path, self.width, -1) for path in walked.paths])
        self.share = np.concatenate([_padded(share, self.width, 1.0) for share in walked.shares])
        self.value = self._forest.value[leaves]
        counts = (self.feature >= 0).sum(axis=1)
        self.every = np.array([(1 << count) - 1 for count in range(self.width + 1)], dtype=self.kind)[counts]
        del self._forest

    def __len__(self) -> int:
        """How many leaves there are."""
        return len(self.value)

    @property
    def by_feature(self) -> bool:
        """Whether columns count as the features that they are made of."""
        return self._columns is not None

    def features(self, rows: Floats) -> int:
        """How many features rows have."""
        return rows.shape[1] if self._columns is None else self._columns.features

    def missed(self, rows: Floats) -> Bits:
        """The features on the path to each leaf by which a row turns elsewhere, as bits; shape (rows, leaves)."""
        found = np.empty((len(rows), len(self)), dtype=self.kind)
        at_once = max(1, AT_ONCE // max(1, len(self._feature)))
        for start in range(0, len(rows), at_once):
            self._walk(rows[start : start + at_once], found[start : start + at_once])
        return found

    def sums(self, missed: Bits) -> Floats:
        """The sums of the trees for rows that missed these features, shape (rows, outputs)."""
        row, leaf = np.nonzero(missed == 0)
        return np.stack(
            [np.bincount(row, weights=self.value[leaf, at], minlength=len(missed)) for at in range(self.outputs)],
            axis=1,
        )

    @property
    def outputs(self) -> int:
        """How many numbers each leaf adds to."""
        return int(self.value.shape[1])

    def _walk(self, rows: Floats, found: Bits) -> None:
        values = rows[:, self._feature]
        left = values <= self._threshold
        absent = np.isnan(values)
        if absent.any():
            left |= absent & self._missing_left
        none = np.array(0, self.kind)
        here: Bits = np.zeros((len(rows), self._levels[0].inner.size + self._levels[0].ends.size), dtype=self.kind)
        filled = 0
        for level in self._levels:
            found[:, filled : filled + len(level.ends)] = here[:, level.ends]
            filled += len(level.ends)
            above = here[:, level.inner]
            goes = left[:, level.start : level.start + len(level.inner)]
            here = np.concatenate(
                [above | np.where(goes, none, level.bit), above | np.where(goes, level.bit, none)], axis=1
            )


def paths_of(trees: Sequence[Nodes], columns: Columns | None = None) -> Paths | None:
    """The leaves of all trees; None where they are too many, or a path has too many features."""
    if sum(int((tree.left < 0).sum()) for tree in trees) > LEAVES_LIMIT:
        return None
    try:
        return Paths(trees, columns)
    except _TooManyFeatures:
        return None


class _TooManyFeatures(Exception):
    """A path has more than fit into one number."""


class _Walked(NamedTuple):
    """All trees, depth by depth; see `_Level`, `Paths`."""

    levels: list[tuple[Places, int, Places, Places]]
    inner: list[Places]
    leaves: list[Places]
    paths: list[Places]
    shares: list[Floats]


def _walked(forest: Nodes, made_of: Places, roots: Places) -> _Walked:
    found = _Walked([], [], [], [], [])
    here, start = roots, 0
    path: Places = np.empty((len(here), 0), dtype=np.intp)
    share: Floats = np.empty((len(here), 0))
    while len(here):
        inner, ends = np.flatnonzero(forest.left[here] >= 0), np.flatnonzero(forest.left[here] < 0)
        found.leaves.append(here[ends])
        found.paths.append(path[ends])
        found.shares.append(share[ends])
        nodes, path, share = here[inner], path[inner], share[inner]
        feature = made_of[nodes]
        known = path == feature[:, None]
        place = np.where(known.any(axis=1), known.argmax(axis=1) if path.shape[1] else 0, (path >= 0).sum(axis=1))
        if len(place) and place.max() >= path.shape[1]:
            if path.shape[1] >= CONDITIONS_LIMIT:
                raise _TooManyFeatures
            path, share = _padded(path, path.shape[1] + 1, -1), _padded(share, share.shape[1] + 1, 1.0)
        at = np.arange(len(nodes)), place
        path[at] = feature
        found.levels.append((inner, start, place, ends))
        found.inner.append(nodes)
        start += len(nodes)
        children = forest.left[nodes], forest.right[nodes]
        shares = [share, share.copy()]
        for child, mine in zip(children, shares, strict=True):
            cover = forest.cover[nodes]
            mine[at] *= np.divide(forest.cover[child], cover, out=np.zeros(len(nodes)), where=cover > 0)
        here, path, share = np.concatenate(children), np.concatenate([path, path]), np.concatenate(shares)
    return found


def _padded(values: Any, width: int, filler: float) -> Any:
    missing = np.full((len(values), width - values.shape[1]), filler, dtype=values.dtype)
    return np.concatenate([values, missing], axis=1)
