"""Which names are near to one that is not there, and which are not."""

import pytest

from headrace.kernel.spelling import did_you_mean, near


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("chrun", "churn"),
        ("Churn", "churn"),
        ("churns", "churn"),
        ("fraud_score", "fraud-score"),
        ("chur n", "churn"),
    ],
)
def test_a_slip_is_understood(typed: str, meant: str) -> None:
    assert near(typed, ["demand", "fraud-score", "churn", "prices"]) == [meant]


def test_what_is_like_nothing_asks_nothing() -> None:
    assert near("quite-another", ["churn", "fraud-score"]) == []
    assert did_you_mean("quite-another", ["churn"]) == ""


def test_the_likeliest_comes_first_and_only_a_few_are_named() -> None:
    found = near("model-1", [f"model-{number}" for number in range(2, 50)])
    assert len(found) == 3
    assert near("churn-de", ["churn-at", "churn-dk", "churn-d"])[0] == "churn-d"
    assert did_you_mean("modle", ["model", "models"]) == "Did you mean model or models?"


def test_a_name_that_nobody_types_is_compared_with_none() -> None:
    assert near("a" * 101, ["a" * 100]) == []
