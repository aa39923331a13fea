"""Rankings and losses agree with brute force, scikit-learn and the bootstrap, and their intervals cover."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from headrace.errors import InvalidInput
from headrace.statistics import ranking


def sample(seed: int, rows: int = 400, shift: float = 1.0) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    generator = np.random.default_rng(seed)
    labels = (generator.random(rows) < 0.3).astype(int)
    return labels, 1 / (1 + np.exp(-(generator.normal(size=rows) + shift * labels)))


def brute_force_delong(
    labels: npt.NDArray[Any], first: npt.NDArray[Any], second: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    kernels = []
    for scores in (first, second):
        positives, negatives = scores[labels == 1][:, None], scores[labels == 0][None, :]
        kernels.append((positives > negatives) + 0.5 * (positives == negatives))
    areas = np.array([kernel.mean() for kernel in kernels])
    m, n = kernels[0].shape
    covariance = (
        np.cov(np.array([kernel.mean(axis=1) for kernel in kernels])) / m
        + np.cov(np.array([kernel.mean(axis=0) for kernel in kernels])) / n
    )
    return areas, covariance


def test_delong_is_the_brute_force_with_ties() -> None:
    labels, first = sample(1)
    _, second = sample(2)
    first, second = np.round(first, 1), np.round(second + 0.2 * first, 1)
    areas, covariance = ranking.delong(labels, first, second)
    expected_areas, expected_covariance = brute_force_delong(labels, first, second)
    assert areas == pytest.approx(expected_areas)
    assert covariance == pytest.approx(expected_covariance)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40))
def test_area_is_scikit_learns(rows: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([int(label) for label, _ in rows]), np.array([score / 6 for _, score in rows])
    if len(np.unique(labels)) < 2:
        with pytest.raises(InvalidInput, match="both outcomes"):
            ranking.roc_auc(labels, scores)
        return
    assert ranking.roc_auc(labels, scores).value == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert ranking.average_precision(labels, scores) == pytest.approx(
        metrics.average_precision_score(labels, scores)
    )


def test_standard_errors_are_the_bootstraps() -> None:
    labels, new = sample(3, rows=800)
    old = np.clip(new + np.random.default_rng(4).normal(0, 0.15, size=800), 0, 1)
    difference = ranking.roc_auc_difference(labels, new, old)
    generator = np.random.default_rng(5)
    drawn = []
    for _ in range(400):
        rows = generator.integers(800, size=800)
        areas, _ = ranking.delong(labels[rows], new[rows], old[rows])
        drawn.append(areas[0] - areas[1])
    assert difference.standard_error == pytest.approx(float(np.std(drawn)), rel=0.15)
    assert difference.value == pytest.approx(float(np.mean(drawn)), abs=0.003)


def test_the_interval_of_an_area_covers() -> None:
    truth = float(stats.norm.cdf(1.0 / math.sqrt(2.0)))
    covered = 0
    for seed in range(300):
        found = ranking.roc_auc(*sample(seed, rows=200), confidence=0.9)
        covered += found.low <= truth <= found.high
    assert stats.binomtest(covered, 300, 0.9).pvalue > 0.001


def test_a_perfect_ranking_has_an_interval_too() -> None:
    labels, scores = np.array([0] * 10 + [1] * 5), np.linspace(0, 1, 15)
    perfect = ranking.roc_auc(labels, scores, confidence=0.9)
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert perfect.low == pytest.approx(0.05 ** (1 / 5))
    inverse = ranking.roc_auc(labels, 1 - scores, confidence=0.9)
    assert (inverse.value, inverse.low) == (0.0, 0.0)
    assert inverse.high == pytest.approx(1 - 0.05 ** (1 / 5))


def test_paired_difference_of_a_model_with_itself_is_exactly_zero() -> None:
    labels, scores = sample(6)
    difference = ranking.roc_auc_difference(labels, scores, scores)
    assert (difference.low, difference.value, difference.high) == (0.0, 0.0, 0.0)


def test_losses_are_scikit_learns() -> None:
    labels, scores = sample(7)
    assert ranking.brier_losses(labels, scores).mean() == pytest.approx(metrics.brier_score_loss(labels, scores))
    assert ranking.log_losses(labels, scores).mean() == pytest.approx(metrics.log_loss(labels, scores))


def test_a_certain_and_wrong_probability_has_a_finite_loss() -> None:
    assert np.isfinite(ranking.log_losses(np.array([1, 0]), np.array([0.0, 1.0]))).all()


def test_clusters_that_are_rows_change_next_to_nothing() -> None:
    labels, new = sample(8)
    old = np.clip(new + np.random.default_rng(9).normal(0, 0.1, size=len(new)), 0, 1)
    own = np.arange(len(labels))
    alone = ranking.roc_auc_difference(labels, new, old)
    assert ranking.roc_auc_difference(labels, new, old, clusters=own).standard_error == pytest.approx(
        alone.standard_error, rel=0.01
    )


def test_copies_of_rows_add_nothing_to_what_is_known_of_an_area() -> None:
    labels, scores = sample(10, rows=300)
    copied_labels, copied = np.repeat(labels, 4), np.repeat(scores, 4)
    clusters = np.repeat(np.arange(300), 4)
    once, copies = ranking.roc_auc(labels, scores), ranking.roc_auc(copied_labels, copied, clusters=clusters)
    assert copies.standard_error == pytest.approx(once.standard_error, rel=0.02)
    assert ranking.roc_auc(copied_labels, copied).standard_error == pytest.approx(
        (once.standard_error or 0.0) / 2, rel=0.02
    )


def test_the_interval_of_a_clustered_area_covers_and_the_plain_one_does_not() -> None:
    truth = float(stats.norm.cdf(1.0 / math.sqrt(2.0)))
    covered = {"clustered": 0, "plain": 0}
    for seed in range(300):
        generator = np.random.default_rng(seed)
        clusters = np.repeat(np.arange(60), 5)
        mood = np.repeat(generator.normal(size=60), 5)
        labels = np.repeat(generator.random(60) < 0.4, 5).astype(int)
        scores = labels + np.sqrt(0.7) * mood + np.sqrt(0.3) * generator.normal(size=300)
        for name, given_clusters in (("clustered", clusters), ("plain", None)):
            found = ranking.roc_auc(labels, scores, confidence=0.9, clusters=given_clusters)
            covered[name] += found.low <= truth <= found.high
    assert stats.binomtest(covered["clustered"], 300, 0.9).pvalue > 0.001
    assert covered["plain"] < 200


def test_the_rarer_outcome_counts_clusters_once() -> None:
    labels, clusters = np.array([1, 1, 1, 0, 0, 0]), np.array([0, 0, 1, 2, 3, 4])
    assert ranking.rarer_outcome(labels) == 3
    assert ranking.rarer_outcome(labels, clusters) == 2


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [0.1], "same length"),
        ([], [], "same length"),
        ([0, 2], [0.1, 0.2], "0 or 1"),
        ([0, 1], [0.1, math.nan], "finite"),
    ],
)
def test_unusable_input_is_refused(labels: list[int], scores: list[float], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ranking.brier_losses(np.array(labels), np.array(scores))
