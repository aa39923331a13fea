"""The trees of scikit-learn's HistGradientBoosting, with splits by category as splits of columns of yes and no.

Such a tree asks of some nodes whether a category is among the few of one side. A column for each such question,
0 for the left side and 1 for the right, makes thresholds of them all; in contributions these columns count as the
feature that they are made of.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from headrace.serving.runtimes.tree_paths import Columns, Floats, Nodes, Places

WORD_BITS = 32
"""Categories in one number of scikit-learn's sets of them."""


class Histograms(NamedTuple):
    """An estimator's trees.

    Attributes:
        trees: each adds to one of the outputs.
        columns: what the columns that they compare are made of; None where each is a feature of its own.
        seen: rows as the estimator takes them to those columns.
    """

    trees: list[Nodes]
    columns: Columns | None
    seen: Callable[[Any], Floats]


def of(predictor: Any, columns: Columns | None) -> Histograms | None:
    """The trees of a fitted estimator; None where it treats categories in a way that is not known here.

    Args:
        predictor: the estimator.
        columns: what the columns that it takes are made of, where that is not each of its own.
    """
    stages = predictor._predictors  # noqa: SLF001 - scikit-learn shows them in no other way
    outputs, encoder = len(stages[0]), getattr(predictor, "_preprocessor", None)
    listed = [(place, each) for stage in stages for place, each in enumerate(stage)]
    by_category = any(each.nodes["is_categorical"].any() for _, each in listed)
    if encoder is None:
        if by_category:
            return None
        trees = [only(_nodes(each.nodes), place, outputs) for place, each in listed]
        return Histograms(trees, columns, lambda rows: np.asarray(rows).astype(np.float64))
    questions = _Questions(encoder, predictor.is_categorical_)
    trees = [only(questions.asked(each), place, outputs) for place, each in listed]
    return Histograms(trees, questions.columns(columns), questions.answered)


class _Questions:
    """Which categories the trees ask for, each a column behind those that the encoder makes.

    Args:
        encoder: puts categories first, as numbers from 0 on and null where one is not known.
        categorical: which columns of the estimator are categories.
    """

    def __init__(self, encoder: Any, categorical: Any) -> None:
        self._encoder = encoder
        self._order = np.concatenate([np.flatnonzero(categorical), np.flatnonzero(~np.asarray(categorical))])
        self._features: list[int] = []
        self._left: list[Any] = []

    def asked(self, tree: Any) -> Nodes:
        """The nodes of a tree, with its questions."""
        nodes, raw = _nodes(tree.nodes), tree.nodes
        feature, threshold = nodes.feature.copy(), nodes.threshold.copy()
        for node in np.flatnonzero(raw["is_categorical"].astype(bool) & ~raw["is_leaf"].astype(bool)).tolist():
            self._features.append(int(feature[node]))
            self._left.append(np.asarray(tree.raw_left_cat_bitsets[int(raw["bitset_idx"][node])], dtype=np.uint64))
            feature[node] = len(self._order) + len(self._left) - 1
            threshold[node] = 0.5
        return nodes._replace(feature=feature, threshold=threshold)

    def columns(self, outer: Columns | None) -> Columns:
        """What each column is made of, in the features of whoever asks."""
        own = [int(place) for place in self._order]
        own += [own[feature] for feature in self._features]
        if outer is None:
            return Columns(own, len(self._order))
        return Columns([outer.sources[place] for place in own], outer.features)

    def answered(self, rows: Any) -> Floats:
        """The columns of some rows."""
        encoded = np.asarray(self._encoder.transform(rows), dtype=np.float64)
        return np.column_stack(
            [encoded, *(_right(encoded[:, at], left) for at, left in zip(self._features, self._left, strict=True))]
        )


def _right(values: Floats, left: Any) -> Floats:
    """0 for categories of the left side, 1 for those of the right, null for null."""
    known = ~np.isnan(values)
    category = np.where(known, values, 0.0).astype(np.intp)
    bits = (left[category // WORD_BITS] >> (category % WORD_BITS).astype(np.uint64)) & np.uint64(1)
    return np.where(known, 1.0 - bits, np.nan)


def _nodes(nodes: Any) -> Nodes:
    leaf = nodes["is_leaf"].astype(bool)
    left: Places = np.where(leaf, -1, nodes["left"].astype(np.intp))
    return Nodes(
        left,
        np.where(leaf, -1, nodes["right"].astype(np.intp)),
        nodes["feature_idx"].astype(np.intp),
        nodes["num_threshold"].astype(np.float64),
        nodes["missing_go_to_left"].astype(bool),
        nodes["value"].astype(np.float64)[:, None],
        nodes["count"].astype(np.float64),
    )


def only(nodes: Nodes, place: int, outputs: int) -> Nodes:
    """A tree that adds to one of the outputs."""
    value = np.zeros((len(nodes.value), outputs))
    value[:, place] = nodes.value[:, 0]
    return nodes._replace(value=value)
