"""Exact Shapley values of sums of trees that need no background: path-dependent TreeSHAP, in numpy alone.

A feature that is not known sends a row down both branches, in the shares in which the rows of the training went
there (Lundberg et al. 2020, "From local explanations to global understanding with explainable AI for trees",
algorithm 2). A leaf is then a product of one factor for each feature of its path: 1 or 0 where the feature is
known, z, the share of the training, where it is not. The Shapley value of a product is an integral over how likely
the others are to be known (Owen 1972, "Multilinear extensions of games"):

    (known - z) * ∫ Π (t * known + (1 - t) * z) dt    over 0..1, the product over all other features

It is one of a polynomial, for which Gauss and Legendre's rule with half as many points as features is exact.
"""

from typing import NamedTuple

import numpy as np

from headrace.serving.runtimes.tree_paths import Bits, Floats, Paths, Places

AT_ONCE = 1 << 18
"""Numbers in one piece, so that what is made of them stays near the processor."""


class _Group(NamedTuple):
    """Leaves whose paths have equally many features.

    Attributes:
        leaf: shape (leaves,).
        feature: shape (features, leaves).
        share: of the training where a feature is not known, likewise.
        points: from 0 to 1, at which the integral is looked at.
        weights: of the points.
    """

    leaf: Places
    feature: Places
    share: Floats
    points: Floats
    weights: Floats


class CoverExplainer:
    """Explains rows of one sum of trees by what the trees know of their training.

    Args:
        paths: to the leaves.
    """

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self.base: Floats = paths.share.prod(axis=1) @ paths.value
        """The mean sum of the trees over their training, shape (outputs,)."""
        counts = (paths.feature >= 0).sum(axis=1)
        self._groups = [
            _group(paths, count, np.flatnonzero(counts == count)) for count in np.unique(counts[counts > 0])
        ]

    def contributions(self, rows: Floats) -> Floats:
        """Of each feature, shape (rows, outputs, features)."""
        found = np.zeros((len(rows), self._paths.outputs, self._paths.features(rows)))
        at_once = max(1, AT_ONCE // len(self._paths))
        for start in range(0, len(rows), at_once):
            missed = self._paths.missed(rows[start : start + at_once])
            for group in self._groups:
                self._add(found[start : start + at_once], missed, group)
        return found

    def _add(self, total: Floats, missed: Bits, group: _Group) -> None:
        rows, features = len(missed), len(group.feature)
        at_once = max(1, AT_ONCE // (rows * features * len(group.points)))
        for start in range(0, len(group.leaf), at_once):
            some = slice(start, start + at_once)
            leaf, share = group.leaf[some], group.share[:, None, some]
            shifts = np.arange(features).astype(missed.dtype)[:, None, None]
            known = 1.0 - ((missed[None, :, leaf] >> shifts) & np.array(1, missed.dtype))
            points = group.points[:, None, None, None]
            factors = points * known + (1.0 - points) * share  # (points, features, rows, leaves)
            whole = factors.prod(axis=1, keepdims=True) * group.weights[:, None, None, None]
            factors[factors == 0.0] = 1.0  # then the whole is 0, and so is what the feature changes
            gains = (known - share) * (whole / factors).sum(axis=0)
            self._spread(total, gains, group.feature[:, some], leaf)

    def _spread(self, total: Floats, gains: Floats, feature: Places, leaf: Places) -> None:
        rows, outputs, features = total.shape
        at = (feature[:, None, :] + (np.arange(rows) * features)[None, :, None]).ravel()
        for output in range(outputs):
            value = self._paths.value[leaf, output]
            if value.any():
                sums = np.bincount(at, weights=(gains * value).ravel(), minlength=rows * features)
                total[:, output] += sums.reshape(rows, features)


def _group(paths: Paths, count: int, leaf: Places) -> _Group:
    points, weights = np.polynomial.legendre.leggauss((count + 1) // 2)
    feature, share = paths.feature[leaf, :count].T, paths.share[leaf, :count].T
    return _Group(leaf, feature.copy(), share.copy(), (points + 1.0) / 2.0, weights / 2.0)
