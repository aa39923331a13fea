"""Every metric is scikit-learn's, drawn ones included, and one that the rows do not have is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as theirs

from headrace.errors import InvalidInput
from headrace.statistics import metrics

GENERATOR = np.random.default_rng(0)
LABELS = GENERATOR.integers(0, 2, 500)
SCORES = np.round(np.clip(LABELS * 0.2 + GENERATOR.random(500) * 0.8, 0.01, 0.99), 2)


@pytest.mark.parametrize("threshold", [0.3, 0.5])
@pytest.mark.parametrize("name", sorted(metrics.DECISIONS))
def test_decisions_are_scikit_learns(name: str, threshold: float) -> None:
    expected = getattr(theirs, f"{name}_score")(LABELS, threshold <= SCORES)
    assert metrics.value(name, LABELS, SCORES, threshold=threshold) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "scorer"),
    [
        ("roc_auc", theirs.roc_auc_score),
        ("average_precision", theirs.average_precision_score),
        ("brier", theirs.brier_score_loss),
        ("log_loss", theirs.log_loss),
    ],
)
def test_scores_are_scikit_learns(name: str, scorer: "object") -> None:
    assert callable(scorer)
    assert metrics.value(name, LABELS, SCORES) == pytest.approx(scorer(LABELS, SCORES))


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 3)), min_size=2, max_size=40))
def test_weighted_average_precision_is_scikit_learns(rows: list[tuple[bool, int, int]]) -> None:
    labels, scores, weights = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = metrics.weighted_average_precision(labels, scores)(weights[None, :])[0]
    if (labels * weights).sum() == 0:
        assert np.isnan(found)
        return
    assert found == pytest.approx(theirs.average_precision_score(labels, scores, sample_weight=weights))


@pytest.mark.parametrize(
    ("name", "labels", "scores"),
    [("precision", [0, 1], [0.1, 0.2]), ("recall", [0, 0], [0.9, 0.2]), ("f1", [0, 0], [0.1, 0.2])],
)
def test_a_metric_of_no_row_is_refused(name: str, labels: list[int], scores: list[float]) -> None:
    with pytest.raises(InvalidInput, match=f"there is no {name}"):
        metrics.value(name, np.array(labels), np.array(scores))


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="not a known metric") as refused:
        metrics.value("auc", LABELS, SCORES)
    assert "roc_auc" in (refused.value.fix or "")
