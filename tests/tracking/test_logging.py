"""A batch is stored whole or not at all, exactly, and may be sent again."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import events
from headrace.kernel.database import Database
from headrace.tracking import history, logging, runs
from headrace.tracking.nouns import (
    Batch,
    CreateRun,
    Dataset,
    DatasetInput,
    Inputs,
    MetricPoint,
    ModelOutput,
    Reading,
    Run,
    reading,
)

pytestmark = pytest.mark.both_databases

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def log(database: Database, run: Run, **batch: Any) -> None:
    database.write(lambda tx: logging.log_batch(tx, run.id, Batch(**batch)), actor="ana")


def point(value: Reading, step: int = 0, at: datetime = NOON, key: str = "loss") -> MetricPoint:
    return MetricPoint(key=key, value=value, step=step, at=at)


def read(database: Database, run: Run) -> Run:
    return database.read(lambda tx: runs.get(tx, run.id))


def history_of(database: Database, run: Run, key: str = "loss") -> list[tuple[int, Reading]]:
    page = database.read(lambda tx: history.page(tx, run.id, key))
    return [(found.step, found.value) for found in page.points]


def test_a_batch_is_stored(database: Database, run: Run) -> None:
    log(database, run, metrics=(point(0.5),), params={"depth": 3, "kind": "tree", "none": None}, tags={"a": "b"})
    found = read(database, run)
    assert found.params == {"depth": "3", "kind": "tree", "none": "None"}
    assert found.tags == {"a": "b"}
    summary = found.metrics["loss"]
    assert (summary.value, summary.step, summary.at) == (0.5, 0, point(0.5).at)


def test_logging_writes_no_event(database: Database, run: Run) -> None:
    before = database.read(events.head)
    log(database, run, metrics=(point(0.5),), params={"depth": 3}, tags={"a": "b"})
    assert database.read(events.head) == before


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", 5e-324, -1.7976931348623157e308, 0.1])
def test_values_are_kept_exactly(database: Database, run: Run, value: Reading) -> None:
    log(database, run, metrics=(point(value),))
    assert history_of(database, run) == [(0, value)]
    assert read(database, run).metrics["loss"].value == value


def test_a_repeated_batch_changes_nothing(database: Database, run: Run) -> None:
    batch = {"metrics": (point(0.5), point("NaN", 1), point(0.25, 2)), "params": {"depth": 3}, "tags": {"a": "b"}}
    log(database, run, **batch)
    before = read(database, run), history_of(database, run)
    log(database, run, **batch)
    assert (read(database, run), history_of(database, run)) == before


def test_a_point_twice_in_one_batch_is_one_point(database: Database, run: Run) -> None:
    log(database, run, metrics=(point(0.5), point(0.5)))
    assert history_of(database, run) == [(0, 0.5)]


@pytest.mark.parametrize(
    ("points", "latest"),
    [
        ([point(1.0, 2), point(9.0, 1)], 1.0),
        ([point(1.0, 0, NOON + timedelta(seconds=1)), point(9.0, 0)], 1.0),
        ([point(1.0), point(9.0)], 9.0),
        ([point(1.0), point("NaN")], "NaN"),
        ([point(1.0, -5), point(2.0, -9)], 1.0),
    ],
)
def test_the_latest_point_is_the_greatest_by_step_time_and_value(
    database: Database, run: Run, points: list[MetricPoint], latest: Reading
) -> None:
    for found in points:
        log(database, run, metrics=(found,))
    assert read(database, run).metrics["loss"].value == latest
    other = database.write(lambda tx: runs.create(tx, CreateRun()), actor="ana")
    log(database, other, metrics=tuple(reversed(points)))
    assert read(database, other).metrics["loss"].value == latest


def test_a_param_keeps_its_value(database: Database, run: Run) -> None:
    log(database, run, params={"depth": 3})
    with pytest.raises(InvalidInput, match=r"already logged with value='3'.*new value '4'"):
        log(database, run, params={"depth": 4})
    assert read(database, run).params == {"depth": "3"}


def test_a_refused_batch_leaves_nothing(database: Database, run: Run) -> None:
    log(database, run, params={"depth": 3})
    with pytest.raises(InvalidInput):
        log(database, run, metrics=(point(1.0),), params={"new": 1, "depth": 4}, tags={"a": "b"})
    found = read(database, run)
    assert (found.metrics, found.params, found.tags) == ({}, {"depth": "3"}, {})


def test_ten_thousand_params_fit_into_a_batch_and_no_more(database: Database, run: Run) -> None:
    log(database, run, params={f"p{number}": number for number in range(10_000)})
    assert len(read(database, run).params) == 10_000
    with pytest.raises(InvalidInput, match="10001"):
        log(database, run, params={f"p{number}": number for number in range(10_001)})


@pytest.mark.parametrize(
    "batch", [{"metrics": (point(1.0, key="/x"),)}, {"params": {"": 1}}, {"tags": {"a": "\x00"}}]
)
def test_bad_keys_and_values_are_refused(database: Database, run: Run, batch: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        log(database, run, **batch)


def test_pages_of_a_history_join_up(database: Database, run: Run) -> None:
    points = [point(float(number % 3), number // 4, NOON + timedelta(seconds=number % 2)) for number in range(40)]
    log(database, run, metrics=tuple(points))
    whole = history_of(database, run)
    seen: list[tuple[int, Reading]] = []
    cursor = ""
    while True:
        page = database.read(
            lambda tx, at=cursor: history.page(tx, run.id, "loss", limit=3, cursor=at)  # type: ignore[misc]
        )
        seen += [(found.step, found.value) for found in page.points]
        cursor = page.next_cursor
        if not cursor:
            break
    assert seen == whole
    assert len(whole) == len({(found.step, found.at, found.value) for found in points})


def test_an_unknown_metric_has_no_points(database: Database, run: Run) -> None:
    assert history_of(database, run, "nothing") == []
    with pytest.raises(NotFound):
        database.read(lambda tx: history.page(tx, "nothing", "loss"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=20))
def test_any_series_comes_back_sorted(database: Database, points: list[tuple[float, int]]) -> None:
    run = database.write(lambda tx: runs.create(tx, CreateRun()), actor="ana")
    log(database, run, metrics=tuple(point(reading(value), step) for value, step in points))
    found = history_of(database, run)
    assert [step for step, _ in found] == sorted(step for step, _ in found)
    assert {(step, str(float(value))) for step, value in found} == {
        (step, str(math.nan if math.isnan(value) else value)) for value, step in points
    }


def test_tags_are_deleted_by_name(database: Database, run: Run) -> None:
    log(database, run, tags={"a": "1", "b": "2"})
    database.write(lambda tx: logging.delete_tag(tx, run.id, "a"), actor="ana")
    assert read(database, run).tags == {"b": "2"}
    with pytest.raises(NotFound, match="No tag with name: a"):
        database.write(lambda tx: logging.delete_tag(tx, run.id, "a"), actor="ana")


def test_inputs_are_kept_once(database: Database, run: Run) -> None:
    dataset = Dataset(name="purchases", digest="abc", source_type="delta", source="{}", schema="{}")
    inputs = Inputs(datasets=(DatasetInput(dataset=dataset, tags={"context": "training"}),))
    for _ in range(2):
        database.write(lambda tx: logging.log_inputs(tx, run.id, inputs), actor="ana")
    assert read(database, run).inputs == inputs


def test_inputs_and_outputs_name_models_that_exist(database: Database, run: Run) -> None:
    with pytest.raises(NotFound, match="m-1"):
        database.write(lambda tx: logging.log_inputs(tx, run.id, Inputs(models=("m-1",))), actor="ana")
    with pytest.raises(NotFound, match="m-1"):
        database.write(lambda tx: logging.log_outputs(tx, run.id, [ModelOutput(model_id="m-1")]), actor="ana")
