"""Trees that no library has grown, and what they answer, node by node."""

from typing import Any

import numpy as np

from headrace.serving.runtimes.tree_paths import Nodes

Matrix = np.ndarray[Any, np.dtype[np.float64]]


def grown(generator: np.random.Generator, *, features: int, depth: int, outputs: int = 1) -> Nodes:
    """A tree with uneven branches, features that come again on a path, and nodes that no training saw."""
    left: list[int] = []
    right: list[int] = []
    feature, threshold, missing, cover = [], [], [], []

    def add(level: int, weight: float) -> int:
        place = len(left)
        for values in (left, right):
            values.append(-1)
        feature.append(int(generator.integers(features)))
        threshold.append(float(generator.integers(-2, 3)) / 2)
        missing.append(bool(generator.integers(2)))
        cover.append(weight)
        if level and (level == depth or generator.random() < 0.7):
            share = float(generator.choice([0.0, 0.3, 0.5, 0.9]))
            left[place] = add(level - 1, weight * share)
            right[place] = add(level - 1, weight * (1 - share))
        return place

    add(depth, 100.0)
    value = generator.normal(size=(len(left), outputs))
    return Nodes(
        np.array(left),
        np.array(right),
        np.array(feature),
        np.array(threshold),
        np.array(missing),
        value,
        np.array(cover),
    )


def chain(features: int, *, outputs: int = 1) -> Nodes:
    """Each feature once on one path: up to 0 is a leaf, above it goes on."""
    inner = 2 * np.arange(features)
    left, right = np.full(2 * features + 1, -1), np.full(2 * features + 1, -1)
    left[inner], right[inner] = inner + 1, inner + 2
    size = 2 * features + 1
    value = np.sin(np.arange(size * outputs, dtype=np.float64) + 1).reshape(size, outputs)
    cover = np.zeros(size)
    for place in inner:
        cover[place] = cover[place + 1] = 2.0 ** -(place // 2 + 1)
        cover[place] *= 2
    cover[-1] = 2.0**-features
    return Nodes(
        left, right, np.arange(size) // 2, np.zeros(size), np.zeros(size, dtype=bool), value, cover
    )  # fmt: skip


def rows_of_halves(generator: np.random.Generator, rows: int, features: int) -> Matrix:
    """Rows on both sides of thresholds, upon them, and with nulls."""
    values = generator.integers(-3, 4, size=(rows, features)) / 2
    return np.where(generator.random(values.shape) < 0.15, np.nan, values)


def answers(tree: Nodes, rows: Matrix) -> Matrix:
    """What a tree answers, shape (rows, outputs)."""
    found = []
    for row in rows:
        node = 0
        while tree.left[node] >= 0:
            value = row[tree.feature[node]]
            goes = tree.missing_left[node] if np.isnan(value) else value <= tree.threshold[node]
            node = int(tree.left[node] if goes else tree.right[node])
        found.append(tree.value[node])
    return np.array(found)


def expected(tree: Nodes, row: Matrix, known: frozenset[int], node: int = 0) -> Matrix:
    """What a tree answers where only some features are known: of all others, both ways, as its training went."""
    if tree.left[node] < 0:
        return np.asarray(tree.value[node])
    left, right = int(tree.left[node]), int(tree.right[node])
    if tree.feature[node] in known:
        value = row[tree.feature[node]]
        goes = tree.missing_left[node] if np.isnan(value) else value <= tree.threshold[node]
        return expected(tree, row, known, left if goes else right)
    if not tree.cover[node]:
        return np.zeros(tree.value.shape[1])
    shares = tree.cover[[left, right]] / tree.cover[node]
    return np.asarray(shares[0] * expected(tree, row, known, left) + shares[1] * expected(tree, row, known, right))
