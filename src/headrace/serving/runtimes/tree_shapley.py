"""Exact Shapley values of sums of trees against a background: interventional TreeSHAP, in numpy alone.

Seen from a row and one background row, a leaf is reached by whoever takes from each the features that the other one
lacks: it is out of reach where both turn elsewhere by the same feature. Where the background row misses the leaf by
the features of A and the row by those of B, the game has Shapley values in closed form: each feature of A gets
(|A|-1)! |B|! / (|A|+|B|)! of the leaf's value, each of B loses |A|! (|B|-1)! / (|A|+|B|)! of it (Lundberg et al.
2020, "From local explanations to global understanding with explainable AI for trees", algorithm 3).

What the background misses is known beforehand, and alike for many of its rows. So a row costs one look at each pair
of a leaf and what is missed there, as bits in a row, and a sum over the few pairs that do not exclude each other.
"""

import sys
from collections.abc import Callable, Iterator
from math import factorial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.serving.runtimes.tree_paths import Bits, Floats, Paths, Places

PAIRS_LIMIT = 20_000_000
"""Pairs of leaf and background row that are looked at once; above it fewer background rows are used."""
FEWEST_ROWS = 10
AT_ONCE = 1 << 17
"""Pairs times rows that are looked at together."""
BLOCK = 1 << 18
"""Pairs in one block, so that what is made of them stays near the processor."""


class _Block(NamedTuple):
    """Leaves at which the background misses about as many different sets of features.

    Attributes:
        leaf: shape (leaves,).
        missed: by the background, shape (sets, leaves).
        times: how many of its rows do, 0 where a leaf has fewer sets.
        size: of each set.
    """

    leaf: Places
    missed: Bits
    times: npt.NDArray[np.uint16]
    size: npt.NDArray[np.uint8]


class _Pairs(NamedTuple):
    """Pairs that do not exclude each other: row, leaf, what the background misses, how often, and its size."""

    row: Places
    leaf: Places
    missed: Bits
    times: npt.NDArray[np.uint16]
    size: npt.NDArray[np.uint8]


class TreeExplainer:
    """Explains rows of one sum of trees.

    Args:
        paths: to the leaves.
        background: shape (rows, features); the first of them are used where all are too many.
    """

    def __init__(self, paths: Paths, background: Floats) -> None:
        self.rows = min(len(background), max(FEWEST_ROWS, PAIRS_LIMIT // len(paths)))
        self._paths = paths
        self._spreader = Spreader(paths)
        self._count = self._spreader.listed.count
        self._gain, self._loss = _weights(paths.width)
        missed = paths.missed(background[: self.rows])
        self.base = paths.sums(missed).mean(axis=0)
        """The mean sum of the trees over the background, shape (outputs,)."""
        self._blocks = list(_blocks(missed, paths.every, self._count))
        self._pairs = sum(block.missed.size for block in self._blocks)

    def contributions(self, rows: Floats) -> Floats:
        """Of each feature, shape (rows, outputs, features)."""
        found = np.zeros((len(rows), self._paths.outputs, self._paths.features(rows)))
        at_once = max(1, AT_ONCE // self._pairs)
        for start in range(0, len(rows), at_once):
            some = rows[start : start + at_once]
            self._add(found[start : start + at_once], self._paths.missed(some))
        return found / self.rows

    def _add(self, total: Floats, missed: Bits) -> None:
        rows, leaves = missed.shape
        lost = np.zeros(rows * leaves)
        for pairs in self._joined(missed):
            mine = missed[pairs.row, pairs.leaf]
            weight = pairs.size.astype(np.intp) * len(self._gain) + self._count(mine)
            self._spreader.add(total, pairs.missed, pairs.times * self._gain.ravel()[weight], pairs.row, pairs.leaf)
            lost += np.bincount(
                pairs.row * leaves + pairs.leaf,
                weights=pairs.times * self._loss.ravel()[weight],
                minlength=len(lost),
            )
        lossy = np.flatnonzero(lost)
        row, leaf = np.divmod(lossy, leaves)
        self._spreader.add(total, missed[row, leaf], -lost[lossy], row, leaf)

    def _joined(self, missed: Bits) -> Iterator[_Pairs]:
        """The pairs that do not exclude each other, not too many together."""
        waiting: list[_Pairs] = []
        count = 0
        for block in self._blocks:
            mine = missed[:, block.leaf]
            joint = np.flatnonzero((block.missed & mine[:, None, :]) == 0)
            row, pair = np.divmod(joint, block.missed.size) if len(mine) > 1 else (np.zeros_like(joint), joint)
            waiting.append(
                _Pairs(
                    row,
                    block.leaf[pair % len(block.leaf)],
                    block.missed.ravel()[pair],
                    block.times.ravel()[pair],
                    block.size.ravel()[pair],
                )
            )
            count += len(joint)
            if count > AT_ONCE:
                yield _together(waiting)
                waiting, count = [], 0
        if waiting:
            yield _together(waiting)


class Spreader:
    """Adds what leaves give to the features that it is given for.

    Args:
        paths: to the leaves.
    """

    def __init__(self, paths: Paths) -> None:
        self._feature = paths.feature.ravel()
        self._width = paths.width
        self.listed = Listed()
        value = paths.value
        used = value != 0.0
        self._target: Places | None = None
        if value.shape[1] > 1 and used.sum(axis=1).max(initial=0) <= 1:  # each tree has one output
            self._target = used.argmax(axis=1)
            value = value.sum(axis=1, keepdims=True)
        sums = value.sum(axis=1)
        # shares of classes add up to the same everywhere, so what one gains the others lose
        self._balanced = value.shape[1] > 1 and bool(np.ptp(sums) <= 1e-9 * np.abs(value).max(initial=0.0))
        self._value = [np.ascontiguousarray(column) for column in value.T[: -1 if self._balanced else None]]

    def add(self, total: Floats, bits: Bits, weight: Floats, row: Places, leaf: Places) -> None:
        """Add a weight times the leaf's value to each feature whose bit is set.

        Args:
            total: shape (rows, outputs, features).
            bits: features on the path to the leaf.
            weight: for each of them.
            row: place of the row.
            leaf: which leaf.
        """
        rows, outputs, features = total.shape
        series = rows if self._target is None else rows * outputs
        if self._target is not None:
            row = row * outputs + self._target[leaf]
        found = [np.zeros(series * features) for _ in self._value]
        at = leaf * self._width
        for half, numbers in enumerate(halves(bits)):
            owner, bit = self.listed(numbers)
            feature = self._feature[at[owner] + (bit + 16 * half)]
            if series > 1:
                feature = feature + (row * features)[owner]
            for place, value in enumerate(self._value):
                worth = (weight * value[leaf])[owner]
                found[place] += np.bincount(feature, weights=worth, minlength=series * features)
        if self._target is not None:
            total += found[0].reshape(total.shape)
            return
        for output, sums in enumerate(found):
            total[:, output] += sums.reshape(rows, features)
        if self._balanced:
            total[:, -1] -= sum(sums.reshape(rows, features) for sums in found)


class Listed:
    """The places of the bits that are set in numbers of sixteen bits."""

    def __init__(self) -> None:
        numbers = np.arange(1 << 16, dtype=np.uint16)
        flags = np.unpackbits(numbers.view(np.uint8).reshape(-1, 2), axis=1, bitorder="little")
        if sys.byteorder == "big":
            flags = np.roll(flags, 8, axis=1)
        self.counts = flags.sum(axis=1, dtype=np.intp)
        self._places = np.nonzero(flags)[1]
        self._starts = np.cumsum(self.counts) - self.counts

    def __call__(self, numbers: Bits) -> tuple[Places, Places]:
        """For each bit that is set: the place of its number among the numbers, and its own place in it."""
        counts = self.counts[numbers]
        owner = np.repeat(np.arange(len(numbers)), counts)
        shift = self._starts[numbers] - (np.cumsum(counts) - counts)
        return owner, self._places[shift[owner] + np.arange(len(owner))]

    def count(self, numbers: Bits) -> npt.NDArray[np.intp]:
        """How many bits of each number of any size are set."""
        return np.asarray(sum(self.counts[half] for half in halves(numbers)))


def halves(numbers: Bits) -> list[Bits]:
    """Numbers in pieces of sixteen bits, the lowest first."""
    if numbers.dtype.itemsize <= 2:
        return [numbers]
    pieces = np.ascontiguousarray(numbers).view(np.uint16).reshape(*numbers.shape, -1)
    listed = [pieces[..., place] for place in range(pieces.shape[-1])]
    return listed if sys.byteorder == "little" else listed[::-1]


def _blocks(missed: Bits, every: Bits, count: Callable[[Bits], Places]) -> Iterator[_Block]:
    """What the background misses, shape (background rows, leaves), without repeating; `every` as in `Paths`."""
    rows, leaves = missed.shape
    ordered = np.sort(missed, axis=0)
    first = np.ones((rows, leaves), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    sets = first.sum(axis=0)
    by_size = np.argsort(sets, kind="stable")
    start = 0
    while start < leaves:
        fewest = int(sets[by_size[start]])
        most = fewest + fewest // 2 + 1  # a few are filled up, so that there are not too many blocks
        end = min(int(np.searchsorted(sets[by_size], most, side="right")), start + max(1, BLOCK // most))
        leaf = by_size[start:end]
        yield _block(leaf, ordered[:, leaf], first[:, leaf], every[leaf], count)
        start = end


def _block(
    leaf: Places, ordered: Bits, first: npt.NDArray[np.bool_], every: Bits, count: Callable[[Bits], Places]
) -> _Block:
    rows = len(ordered)
    rank = np.cumsum(first, axis=0) - 1
    depth = int(rank.max()) + 1
    at, place = np.nonzero(first)
    missed = np.tile(every, (depth, 1))  # where there are fewer sets: what excludes as much as can be
    missed[rank[at, place], place] = ordered[at, place]
    times = np.zeros((depth, len(leaf)), dtype=np.uint16)
    np.add.at(times, (rank, np.broadcast_to(np.arange(len(leaf)), (rows, len(leaf)))), 1)
    size = count(missed).astype(np.uint8)
    size[times == 0] = 0
    return _Block(leaf, missed, times, size)


def _together(pairs: list[_Pairs]) -> _Pairs:
    return pairs[0] if len(pairs) == 1 else _Pairs(*(np.concatenate(each) for each in zip(*pairs, strict=True)))


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
