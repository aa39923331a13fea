"""Durations are read strictly: one whole number, one unit."""

from datetime import timedelta

import pytest

from headrace.errors import ProjectError
from headrace.project.durations import lasting, parse_duration, parse_window


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0s", timedelta()),
        ("30s", timedelta(seconds=30)),
        ("15m", timedelta(minutes=15)),
        ("6h", timedelta(hours=6)),
        ("90d", timedelta(days=90)),
        ("2w", timedelta(days=14)),
    ],
)
def test_a_number_and_a_unit(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text",
    ["", "90", "d", "90 d", " 90d", "90d ", "-1d", "1.5d", "1M", "1y", "090d", "9" * 10 + "d", "९d", None, 90],
)
def test_anything_else_is_refused(text: object) -> None:
    with pytest.raises(ProjectError, match="is not a duration"):
        parse_duration(text)


def test_what_is_longer_than_any_calendar_is_refused() -> None:
    with pytest.raises(ProjectError, match="longer than any calendar"):
        parse_duration("999999999w")


def test_a_window_is_not_empty() -> None:
    with pytest.raises(ProjectError, match="is empty") as raised:
        parse_window("0d", where="churn.py:3")
    assert raised.value.where == "churn.py:3"


@pytest.mark.parametrize(("seconds", "said"), [(9, "9 s"), (119, "119 s"), (7_100, "118 min"), (9e6, "104 d")])
def test_a_duration_is_told_in_the_unit_that_fits(seconds: float, said: str) -> None:
    assert lasting(seconds) == said
