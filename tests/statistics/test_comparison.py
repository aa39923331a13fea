"""Verdicts keep their error rate, and say so when the rows do not tell."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from headrace.errors import InvalidInput
from headrace.statistics import comparison, metrics, ranking
from headrace.statistics.comparison import (
    MINIMUM_OUTCOMES,
    Verdict,
    attain,
    attains,
    compare,
    non_inferiority,
)
from headrace.statistics.intervals import Interval
from headrace.statistics.metrics import METRICS

Array = npt.NDArray[Any]


def pair(seed: int, rows: int, loss: float = 0.0) -> tuple[Array, Array, Array]:
    """Labels, scores of a new model and of an old one; `loss` weakens the new one's signal."""
    generator = np.random.default_rng(seed)
    labels = (generator.random(rows) < 0.4).astype(int)
    shared, own = generator.normal(size=rows), generator.normal(size=(2, rows))
    logits = [
        signal * labels + 0.9 * shared + 0.3 * noise for signal, noise in zip((1.2 - loss, 1.2), own, strict=True)
    ]
    new, old = (1 / (1 + np.exp(-(logit - 0.6))) for logit in logits)
    return labels, new, old


@pytest.mark.parametrize(
    ("low", "high", "margin", "verdict"),
    [
        (0.001, 0.02, 0.005, Verdict.BETTER),
        (-0.004, 0.02, 0.005, Verdict.PASS),
        (-0.004, -0.001, 0.005, Verdict.PASS),
        (-0.006, 0.02, 0.005, Verdict.INCONCLUSIVE),
        (-0.005, 0.02, 0.005, Verdict.INCONCLUSIVE),
        (-0.02, -0.006, 0.005, Verdict.WORSE),
        (0.0, 0.0, 0.0, Verdict.PASS),
        (-0.1, 0.1, 0.0, Verdict.INCONCLUSIVE),
    ],
)
def test_non_inferiority(low: float, high: float, margin: float, verdict: Verdict) -> None:
    assert non_inferiority(low, high, margin) is verdict
    assert verdict.is_good == (verdict in {Verdict.PASS, Verdict.BETTER})


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_sees_a_clearly_worse_model_and_a_clearly_better_one(metric: str) -> None:
    labels, new, old = pair(1, 3000, loss=1.0)
    worse = compare(metric, labels, new, old, margin=0.005)
    better = compare(metric, labels, old, new, margin=0.005)
    assert (worse.verdict, better.verdict) == (Verdict.WORSE, Verdict.BETTER)
    assert worse.difference.value < 0 < better.difference.value
    assert abs(worse.new - worse.old) == pytest.approx(abs(worse.difference.value))


def test_few_rows_are_inconclusive_and_say_what_they_could_show() -> None:
    labels, new, old = pair(2, 150)
    found = compare("roc_auc", labels, new, old, margin=0.005)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.detectable > 0.005
    assert found.difference.rows == 150
    assert compare("accuracy", labels[:20], new[:20], new[:20], margin=0.5).verdict is Verdict.INCONCLUSIVE


def test_a_model_at_the_margin_passes_at_most_alpha_of_the_time() -> None:
    generator = np.random.default_rng(3)
    margin, runs, passed = 0.05, 400, 0
    for _ in range(runs):
        labels = np.ones(400, dtype=int)
        old = np.full(400, 0.9)
        new = np.where(generator.random(400) < margin, 0.1, 0.9)  # wrong on `margin` more of the rows
        passed += compare("accuracy", labels, new, old, margin=margin).verdict.is_good
    assert stats.binomtest(passed, runs, 0.05, alternative="greater").pvalue > 0.01


def test_detectable_is_the_margin_that_an_equal_model_passes_four_times_in_five() -> None:
    passed, runs = 0, 200
    margin = compare("roc_auc", *pair(0, 600), margin=0.0).detectable
    for seed in range(runs):
        passed += compare("roc_auc", *pair(seed, 600), margin=margin).verdict.is_good
    assert 0.7 < passed / runs < 0.9


def test_paired_rows_tell_more_than_two_separate_intervals() -> None:
    labels, new, old = pair(4, 1000)
    found = compare("roc_auc", labels, new, old, margin=0.01).difference
    alone = [ranking.roc_auc(labels, scores).standard_error for scores in (new, old)]
    independent = math.hypot(*(error for error in alone if error is not None))
    assert found.standard_error is not None
    assert found.standard_error < 0.6 * independent


def test_repeated_groups_widen_the_interval() -> None:
    labels, new, old = pair(5, 300)
    copies = [np.repeat(column, 5) for column in (labels, new, old)]
    groups = np.repeat(np.arange(300), 5)
    naive = compare("brier", copies[0], copies[1], copies[2], margin=0.01).difference
    grouped = compare("brier", copies[0], copies[1], copies[2], margin=0.01, groups=groups).difference
    once = compare("brier", labels, new, old, margin=0.01).difference
    assert naive.standard_error is not None
    assert once.standard_error is not None
    assert grouped.standard_error is not None
    assert grouped.standard_error == pytest.approx(once.standard_error, rel=0.15)
    assert grouped.standard_error > 1.8 * naive.standard_error


def test_groups_without_repeats_use_the_closed_form() -> None:
    labels, new, old = pair(6, 200)
    plain = compare("roc_auc", labels, new, old, margin=0.01)
    assert compare("roc_auc", labels, new, old, margin=0.01, groups=np.arange(200)) == plain


@pytest.mark.parametrize(
    ("low", "high", "lower_is_better", "verdict"),
    [
        (0.71, 0.75, False, Verdict.PASS),
        (0.69, 0.75, False, Verdict.INCONCLUSIVE),
        (0.60, 0.69, False, Verdict.WORSE),
        (0.60, 0.69, True, Verdict.PASS),
        (0.69, 0.75, True, Verdict.INCONCLUSIVE),
        (0.71, 0.75, True, Verdict.WORSE),
    ],
)
def test_attains(low: float, high: float, lower_is_better: bool, verdict: Verdict) -> None:
    estimate = Interval(value=(low + high) / 2, low=low, high=high, confidence=0.9, rows=100)
    assert attains(estimate, 0.70, lower_is_better=lower_is_better) is verdict


def test_at_least_rests_on_the_bound_not_on_the_estimate() -> None:
    labels, new, _ = pair(9, 300)
    area = metrics.value("roc_auc", labels, new)
    assert attain("roc_auc", labels, new, bound=area - 0.001).verdict is Verdict.INCONCLUSIVE
    assert attain("roc_auc", labels, new, bound=area - 0.1).verdict is Verdict.PASS
    assert attain("roc_auc", labels[:20], new[:20], bound=0.1).verdict is Verdict.INCONCLUSIVE


def test_all_metrics_come_with_an_interval_around_the_value() -> None:
    labels, new, _ = pair(10, 500)
    found = comparison.classification_metrics(labels, new)
    assert tuple(found) == METRICS
    assert all(each.low < each.value < each.high for each in found.values())
    assert set(comparison.classification_metrics(np.ones(50), new[:50])) == set(METRICS) - metrics.RANKINGS
    assert set(comparison.classification_metrics(np.zeros(50), new[:50] / 2)) == {"accuracy", "brier", "log_loss"}


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="not a known metric") as refused:
        compare("auc", np.ones(2), np.ones(2), np.ones(2), margin=0.0)
    assert refused.value.fix is not None
    assert "roc_auc" in refused.value.fix


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision"])
def test_a_ranking_of_few_of_one_outcome_is_no_evidence(metric: str) -> None:
    """One positive that both models rank alike leaves DeLong's variance nearly nothing to be estimated from."""
    generator = np.random.default_rng(4)
    labels = np.zeros(400)
    labels[: MINIMUM_OUTCOMES - 1] = 1
    scores = np.where(labels == 1, 0.99, generator.uniform(0.0, 0.5, size=400))
    assert compare(metric, labels, scores, scores, margin=0.01).verdict is Verdict.INCONCLUSIVE
    assert attain(metric, labels, scores, bound=0.5).verdict is Verdict.INCONCLUSIVE
    labels[MINIMUM_OUTCOMES - 1], scores[MINIMUM_OUTCOMES - 1] = 1, 0.99
    assert compare(metric, labels, scores, scores, margin=0.01).verdict is Verdict.PASS
    assert attain(metric, labels, scores, bound=0.5).verdict is Verdict.PASS


def test_a_worse_model_passes_as_seldom_as_said_with_the_fewest_outcomes() -> None:
    generator = np.random.default_rng(5)
    labels = np.zeros(200)
    labels[:MINIMUM_OUTCOMES] = 1
    margin = float(stats.norm.cdf(1 / np.sqrt(2)) - stats.norm.cdf(0.6 / np.sqrt(2)))
    passed = 0
    for _ in range(400):
        shared = generator.normal(size=200)
        old = labels + shared
        new = 0.6 * labels + 0.6 * shared + 0.8 * generator.normal(size=200)
        passed += compare("roc_auc", labels, new, old, margin=margin).verdict.is_good
    assert passed / 400 <= 0.085  # 0.05 and three standard errors of 400 draws


def perfect(seed: int, share: float, outcomes: int = 20) -> tuple[Array, Array]:
    """Labels, and scores that order so many pairs of a positive and a negative rightly; all of them for 1."""
    generator = np.random.default_rng(seed)
    labels = np.repeat([1, 0], outcomes)
    signal = 15.0 if share == 1.0 else math.sqrt(2.0) * float(stats.norm.ppf(share))
    return labels, stats.norm.cdf((signal * (labels - 0.5) + generator.normal(size=2 * outcomes)) / 4.0)


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision"])
def test_two_rankings_that_are_perfect_on_few_rows_are_not_known_to_be_alike(metric: str) -> None:
    """Nothing varies in them, so that a variance or a bootstrap would be certain of it."""
    labels, old = perfect(1, 1.0)
    _, new = perfect(2, 1.0)
    found = compare(metric, labels, new, old, margin=0.01)
    assert (found.new, found.old, found.verdict) == (1.0, 1.0, Verdict.INCONCLUSIVE)
    assert found.difference.low == pytest.approx(0.05 ** (1 / 20) - 1.0)
    assert compare(metric, labels, old**3, old, margin=0.01).verdict is Verdict.PASS  # it orders all rows alike
    single = attain(metric, labels, new, bound=0.99)
    assert (single.verdict, single.estimate.high) == (Verdict.INCONCLUSIVE, 1.0)


def test_a_model_that_is_worse_than_a_perfect_one_passes_as_seldom_as_said() -> None:
    passed = 0
    for seed in range(300):
        labels, new = perfect(seed, 0.99)
        _, old = perfect(seed + 1000, 1.0)
        passed += compare("roc_auc", labels, new, old, margin=0.01).verdict.is_good
    assert passed <= stats.binom.ppf(0.999, 300, comparison.ALPHA)
