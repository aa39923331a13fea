"""Explanations on a terminal: every figure is there at 80 columns, and bars are as long as their numbers."""

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console
from rich.text import Text
from typer.testing import CliRunner

from headrace.cli import explain
from headrace.cli.main import app
from headrace.errors import InvalidInput
from headrace.serving.explanation_nouns import Explanation, Explanations, Method

FOUND = Explanations(
    model="churn",
    explanations=[
        Explanation(
            version=3,
            prediction=0.8123,
            of=1,
            scale="log_odds",
            base=-1.25,
            sum=1.4649,
            contributions={"days_since_last_purchase": 2.5, "purchases[red]": -0.5},
            values={"days_since_last_purchase": 412.5, "purchases[red]": None},
            others=0.7149,
            standard_errors={"days_since_last_purchase": 0.01, "purchases[red]": 0.02},
            registered_prediction=0.9,
        )
    ],
    methods={"3": Method(name="sampled_shapley", by="Headrace", source="Castro 2009", permutations=200)},
)


def test_all_figures_are_shown() -> None:
    screen = Console(file=io.StringIO(), width=80, color_system=None)
    explain.show(FOUND, screen)
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    for part in (
        "0.8123",
        "-1.25",
        "+2.5",
        "-0.5",
        "+0.7149",
        "1.465",
        "0.812",
        "0.02",
        "0.9",
        "purchases[red]",
        "412.5",
        "null",
    ):
        assert part in text, part
    assert "200 orders of features" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_rows_say_what_they_are_about() -> None:
    two = msgspec.structs.replace(FOUND, explanations=FOUND.explanations * 2)
    for labels, said in (((), ("row 1: churn", "row 2: churn")), (("a=1", "a=2"), ("a=1: churn", "a=2: churn"))):
        screen = Console(file=io.StringIO(), width=80, color_system=None)
        explain.show(two, screen, labels=labels)
        text = screen.file.getvalue()  # type: ignore[attr-defined]
        assert all(part in text for part in said)
    assert explain.entity_labels({"customer_id": [17, 18], "shop": ["a", "b"]}) == [
        "customer_id=17, shop=a",
        "customer_id=18, shop=b",
    ]


@pytest.mark.parametrize(("share", "length"), [(1.0, 16), (-0.5, 8), (0.26, 5), (0.0, 0)])
def test_bars_are_as_long_as_their_numbers(share: float, length: int) -> None:
    drawn = Text.from_markup(explain.bar(share)).plain
    assert len(drawn.lstrip("+− ")) == length
    assert drawn.startswith("+" if share > 0 else "−" if share < 0 else "")


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["churn"], "--row, --entity"),
        (["churn", "--row", "{}", "--entity", "a=1"], "--row, --entity"),
        (["churn", "--row", "[1]"], "--row"),
        (["churn", "--entity", "17"], "--entity"),
        (["churn@champion", "--row", "{}"], "churn@champion"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anybody_is_asked(arguments: list[str], where: str) -> None:
    ended: Any = CliRunner().invoke(app, ["explain", *arguments])
    assert isinstance(ended.exception, InvalidInput)
    assert ended.exception.where == where
