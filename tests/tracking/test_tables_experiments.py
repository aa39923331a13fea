"""Searches for experiments: the SQL against plain Python, pages against the whole."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import InvalidInput
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database
from headrace.tracking import experiments
from headrace.tracking.expressions import Comparison, Expression
from headrace.tracking.nouns import CreateExperiment, Experiment, ExperimentQuery

from .evaluator import meets, milliseconds, write
from .strategies import TEXTS, ranked, textual, trees

pytestmark = pytest.mark.both_databases

NAMES = {"id": "experiment_id", "created_at": "creation_time", "updated_at": "last_update_time"}
START = 1_767_225_600_000.0
TIMES = [START, START - 1, START + 1, START + 1.5, START + 3, 0.0, float("inf"), float("nan"), 1e300]


@pytest.fixture
def made(database: Database, clock: ManualClock) -> list[Experiment]:
    """Experiments that differ in everything that can be asked for."""
    for number, name in enumerate(text or "empty" for text in TEXTS):
        tags = {"team": TEXTS[-number]} if number % 3 else {}
        request = CreateExperiment(name=name, tags=tags)
        database.write(lambda tx, request=request: experiments.create(tx, request), actor="ana")  # type: ignore[misc]
        if number % 2:
            clock.advance(timedelta(microseconds=700))
    database.write(lambda tx: experiments.set_tag(tx, "1", "12", "churn"), actor="ana")
    return list(database.read(lambda tx: experiments.search(tx, ExperimentQuery()))[0])


def every_page(database: Database, limit: int, **query: Any) -> Iterator[Experiment]:
    cursor = ""
    while True:
        wanted = ExperimentQuery(limit=limit, cursor=cursor, **query)
        page, cursor = database.read(lambda tx, wanted=wanted: experiments.search(tx, wanted))  # type: ignore[misc]
        yield from page
        if not cursor:
            return


def values_of(experiment: Experiment, found: Comparison) -> Sequence[Any]:
    if found.kind == "tag":
        return [experiment.tags[found.key]] if found.key in experiment.tags else []
    value = getattr(experiment, found.key)
    return [value if isinstance(value, str) else milliseconds(value)]


def expressions() -> st.SearchStrategy[Expression]:
    return trees(
        st.one_of(
            textual("attribute", "name"),
            textual("tag", "team"),
            textual("tag", "12"),
            textual("tag", "no where"),
            ranked("attribute", "created_at", TIMES),
            ranked("attribute", "updated_at", TIMES),
            st.sampled_from(["=", "!=", "LIKE"]).map(
                lambda comparator: Comparison(kind="attribute", key="id", comparator=comparator, value="3")  # type: ignore[arg-type]
            ),
            st.sampled_from(["IN", "NOT IN"]).map(
                lambda comparator: Comparison(
                    kind="attribute",
                    key="id",
                    comparator=comparator,  # type: ignore[arg-type]
                    value=("1", "3", "99"),
                )
            ),
        )
    )


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(expression=expressions())
def test_a_filter_means_what_plain_python_says(
    database: Database, made: list[Experiment], expression: Expression
) -> None:
    text = write(expression, NAMES)
    expected = [
        each.id
        for each in made
        if meets(expression, lambda found, each=each: values_of(each, found))  # type: ignore[misc]
    ]
    assert [each.id for each in every_page(database, 4, filter=text)] == expected, text


def test_newest_first(made: list[Experiment]) -> None:
    assert made == sorted(made, key=lambda each: (each.created_at, int(each.id)), reverse=True)


@pytest.mark.parametrize(
    "order_by",
    [(), ("name",), ("name DESC",), ("creation_time", "experiment_id"), ("tags.team DESC", "last_update_time")],
)
def test_pages_of_every_size_join_up(database: Database, made: list[Experiment], order_by: tuple[str, ...]) -> None:
    whole = list(every_page(database, 1000, order_by=order_by))
    assert sorted(each.id for each in whole) == sorted(each.id for each in made)
    for limit in (1, 2, 3, 7, len(made)):
        assert list(every_page(database, limit, order_by=order_by)) == whole


def test_orders(database: Database, made: list[Experiment]) -> None:
    def found(*order_by: str) -> list[Experiment]:
        return list(every_page(database, 1000, order_by=order_by))

    by_name = sorted(made, key=lambda each: each.name.encode())
    assert found("name") == by_name
    assert found("attribute.name DESC") == by_name[::-1]
    assert found("experiment_id") == sorted(made, key=lambda each: int(each.id))
    oldest = sorted(made, key=lambda each: (each.created_at, -int(each.id)))
    assert found("creation_time ASC") == oldest
    teams = [each.tags.get("team") for each in found("tags.team")]
    there = [team for team in teams if team is not None]
    assert there == sorted(there, key=str.encode)
    assert teams[len(there) :] == [None] * (len(teams) - len(there))


@pytest.mark.parametrize(
    ("filtered", "message"),
    [
        ("experiment_id = 'one'", "Experiment ID must be a valid integer"),
        ("experiment_id NOT IN ('1', 'x')", "Experiment ID must be a valid integer"),
        ("metrics.auc > 1", "Invalid entity type 'metrics'"),
        ("lifecycle_stage = 'active'", "Invalid attribute key 'lifecycle_stage' specified"),
        ("creation_time LIKE 1", "Invalid comparator 'LIKE'"),
        ("creation_time > 'x'", "Expected numeric value type for numeric attribute: creation_time. Found 'x'"),
        ("name = 'x' name = 'y'", "Invalid clause"),
    ],
)
def test_bad_filters_are_refused(database: Database, filtered: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        list(every_page(database, 10, filter=filtered))


def test_a_cursor_is_of_its_search(database: Database, made: list[Experiment]) -> None:
    _, cursor = database.read(lambda tx: experiments.search(tx, ExperimentQuery(limit=1)))
    for other in (
        ExperimentQuery(order_by=("name",), cursor=cursor),
        ExperimentQuery(filter="name != ''", cursor=cursor),
    ):
        with pytest.raises(InvalidInput, match="another search"):
            database.read(lambda tx, other=other: experiments.search(tx, other))  # type: ignore[misc]
