"""Which names are near to one that is not there, and which are not."""

from difflib import SequenceMatcher

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.kernel.spelling import COUNTED, did_you_mean, near


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


@given(st.text("abc-ü", min_size=1, max_size=8), st.lists(st.text("abc-ü", max_size=8), max_size=20, unique=True))
def test_it_says_what_comparing_each_letter_by_letter_says(typed: str, known: list[str]) -> None:
    shares = {each: SequenceMatcher(None, each, typed, autojunk=False).ratio() for each in known}
    likely = sorted((each for each in known if shares[each] >= 0.7), key=lambda each: (-shares[each], each))
    assert near(typed, known) == likely[:3]


def test_among_a_thousand_names_alike_only_some_are_compared_by_difflib(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[SequenceMatcher[str]] = []
    ratio = SequenceMatcher.quick_ratio

    def counted(matcher: SequenceMatcher[str]) -> float:
        compared.append(matcher)
        return ratio(matcher)

    monkeypatch.setattr(SequenceMatcher, "quick_ratio", counted)
    known = [f"team-{number % 13}-customer-churn-region-{number:04d}" for number in range(1_000)]
    assert near("team-10-custmer-churn-regio-0777", known)[0] == "team-10-customer-churn-region-0777"
    assert 0 < len(compared) <= COUNTED
