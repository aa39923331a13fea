"""Searches for logged models: the SQL against plain Python, pages against the whole."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import InvalidInput
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database
from headrace.tracking import logged_models, logging, runs, tables_model_search
from headrace.tracking.expressions import Comparison, Expression, comparisons
from headrace.tracking.nouns import (
    Batch,
    CreateLoggedModel,
    CreateRun,
    DatasetName,
    LoggedModel,
    LoggedModelOrder,
    LoggedModelQuery,
    MetricPoint,
    ModelMetric,
)

from .evaluator import meets, milliseconds, write
from .strategies import TEXTS, absent, ranked, textual, trees

pytestmark = pytest.mark.both_databases

NAMES = {"id": "model_id", "experiment": "experiment_id", "created_at": "creation_time"}
NUMBERS = [0.0, 0.5, 0.75, -1.0, float("inf"), float("nan")]
START = 1_767_225_600_000.0
MEASURED: list[list[tuple[Any, str | None]]] = [
    [(0.5, "iris")], [(0.5, "iris"), (0.75, "wine")], [], [("NaN", "iris"), (0.25, "iris")], [("NaN", None)],
    [("-Infinity", "wine"), (0.0, None)], [(-0.0, "iris")], [(1.0, "wine"), (0.5, "iris")],
]  # fmt: skip


@pytest.fixture
def made(database: Database, clock: ManualClock) -> list[LoggedModel]:
    """Logged models of two experiments that differ in everything that can be asked for."""
    found = []
    for number, points in enumerate(MEASURED):
        run = database.write(lambda tx, at=number: runs.create(tx, CreateRun(experiment=f"e{at % 2}")), actor="ana")  # type: ignore[misc]
        request = CreateLoggedModel(
            experiment_id=run.experiment_id,
            name=TEXTS[number] or "none",
            model_type=TEXTS[-number],
            source_run_id=run.id if number % 3 else None,
            params={"p": TEXTS[number]} if number % 2 else {},
            tags={"t": TEXTS[-number]} if number % 3 else {},
        )
        model = database.write(lambda tx, request=request: logged_models.create(tx, request), actor="ana")  # type: ignore[misc]
        batch = Batch(
            metrics=tuple(
                MetricPoint(
                    key="m", value=value, step=-step, model_id=model.id, dataset_name=name, dataset_digest=digest
                )
                for step, (value, name) in enumerate(points)
                for digest in [None if name is None else f"digest {step}"]
            )
        )
        database.write(lambda tx, run=run, batch=batch: logging.log_batch(tx, run.id, batch), actor="ana")  # type: ignore[misc]
        if number % 2:
            clock.advance(timedelta(microseconds=700))
        found.append(model.id)
    return [database.read(lambda tx, each=each: logged_models.get(tx, each)) for each in found]  # type: ignore[misc]


def every_page(database: Database, limit: int, **query: Any) -> Iterator[LoggedModel]:
    cursor = ""
    query = {"experiment_ids": ("1", "2"), **query}
    while True:
        wanted = LoggedModelQuery(limit=limit, cursor=cursor, **query)
        page, cursor = database.read(lambda tx, wanted=wanted: logged_models.search(tx, wanted))  # type: ignore[misc]
        yield from page
        if not cursor:
            return


def points_of(model: LoggedModel, datasets: Sequence[DatasetName]) -> list[ModelMetric]:
    return [
        each
        for each in model.metrics
        if not datasets
        or any(
            each.point.dataset_name == dataset.name and dataset.digest in {None, each.point.dataset_digest}
            for dataset in datasets
        )
    ]


def values_of(model: LoggedModel, found: Comparison, datasets: Sequence[DatasetName]) -> Sequence[Any]:
    if found.kind in {"param", "tag"}:
        values = model.params if found.kind == "param" else model.tags
        return [values[found.key]] if found.key in values else []
    if found.kind == "metric":
        numbers = [each.point.number for each in points_of(model, datasets) if each.point.key == found.key]
        if found.aggregate == "last":
            return numbers
        known = [number for number in numbers if number == number]
        return [(max if found.aggregate == "max" else min)(known)] if known else []
    if found.key == "created_at":
        return [milliseconds(model.created_at)]
    value = getattr(model, {"experiment": "experiment_id"}.get(found.key, found.key))
    return [] if value is None else [value]


def aggregated(aggregate: str) -> st.SearchStrategy[Expression]:
    return st.builds(
        lambda comparator, value: Comparison(
            kind="metric",
            key="m",
            comparator=comparator,
            value=value,
            aggregate=aggregate,  # type: ignore[arg-type]
        ),
        st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
        st.sampled_from(NUMBERS),
    )


def expressions() -> st.SearchStrategy[Expression]:
    return trees(
        st.one_of(
            ranked("metric", "m", NUMBERS),
            absent("metric", "m"),
            aggregated("max"),
            aggregated("min"),
            textual("param", "p"),
            textual("tag", "t"),
            textual("attribute", "name"),
            textual("attribute", "model_type"),
            absent("attribute", "source_run_id"),
            ranked("attribute", "created_at", [START, START + 1, START + 1.5, START + 3]),
            st.just(Comparison(kind="attribute", key="status", comparator="=", value="PENDING")),
            st.just(Comparison(kind="attribute", key="experiment", comparator="IN", value=("1", "9"))),
        )
    )


DATASETS: list[tuple[DatasetName, ...]] = [
    (),
    (DatasetName(name="iris"),),
    (DatasetName(name="wine", digest="digest 0"), DatasetName(name="none")),
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(expression=expressions(), datasets=st.sampled_from(DATASETS), rare=st.sampled_from([0, 2, 500]))
def test_a_filter_means_what_plain_python_says(
    database: Database,
    made: list[LoggedModel],
    expression: Expression,
    datasets: tuple[DatasetName, ...],
    rare: int,
) -> None:
    text = write(expression, NAMES)
    by_metric = any(found.kind == "metric" for found in comparisons(expression))
    expected = {
        model.id
        for model in made
        if meets(expression, lambda found, model=model: values_of(model, found, datasets))  # type: ignore[misc]
        and (by_metric or not datasets or points_of(model, datasets))
    }
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(tables_model_search, "RARE", rare)  # each way to search finds the same
        found = [model.id for model in every_page(database, 3, filter=text, datasets=datasets)]
    assert sorted(found) == sorted(expected), text


ORDERS: list[tuple[LoggedModelOrder, ...]] = [
    (),
    (LoggedModelOrder(key="creation_timestamp"), LoggedModelOrder(key="model_id", ascending=False)),
    (LoggedModelOrder(key="metrics.m"),),
    (LoggedModelOrder(key="metrics.m", ascending=False),),
    (LoggedModelOrder(key="metrics.m", ascending=False, dataset=DatasetName(name="iris")),),
    (LoggedModelOrder(key="source_run_id", ascending=False), LoggedModelOrder(key="name")),
]


@pytest.mark.parametrize("order_by", ORDERS)
@pytest.mark.parametrize("filtered", ["", "NOT params.p = 'acb' AND metrics.m IS NOT NULL"])
def test_pages_of_every_size_join_up(
    database: Database,
    made: list[LoggedModel],
    order_by: tuple[LoggedModelOrder, ...],
    filtered: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = list(every_page(database, 1000, order_by=order_by, filter=filtered))
    assert filtered or sorted(each.id for each in whole) == sorted(each.id for each in made)
    for few in (0, 2_000):  # by the index of a metric's values, and sorted
        monkeypatch.setattr(tables_model_search, "FEW", few)
        for limit in (1, 2, 3, len(made)):
            assert list(every_page(database, limit, order_by=order_by, filter=filtered)) == whole


def test_what_is_equal_goes_newest_first(database: Database, made: list[LoggedModel]) -> None:
    newest = sorted(sorted(made, key=lambda model: model.id), key=lambda model: model.created_at, reverse=True)
    assert list(every_page(database, 1000)) == newest
    (one,) = {model.experiment_id for model in every_page(database, 1000, experiment_ids=("1",))}
    assert one == "1"
    assert list(every_page(database, 1000, experiment_ids=())) == []


@pytest.mark.parametrize("ascending", [True, False])
def test_a_metric_orders_by_what_was_measured_last(
    database: Database, made: list[LoggedModel], ascending: bool
) -> None:
    def values(dataset: DatasetName | None) -> list[float | None]:
        order = LoggedModelOrder(key="metrics.m", ascending=ascending, dataset=dataset)
        found = []
        for model in every_page(database, 1000, order_by=(order,)):
            points = points_of(model, () if dataset is None else (dataset,))
            latest = max(points, key=lambda each: (each.point.at, each.point.step), default=None)
            found.append(None if latest is None else latest.point.number)
        return found

    for dataset in (None, DatasetName(name="iris"), DatasetName(name="iris", digest="digest 0")):
        found = values(dataset)
        there = [value for value in found if value is not None and value == value]
        nan = [value for value in found if value is not None and value != value]
        assert there == sorted(there, reverse=not ascending)
        assert found == [*there, *nan, *[None] * (len(found) - len(there) - len(nan))]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"order_by": (LoggedModelOrder(key="params.p"),)}, "Only metrics are supported"),
        ({"order_by": (LoggedModelOrder(key="nothing"),)}, "Invalid order by field name: nothing"),
        (
            {"order_by": (LoggedModelOrder(key="metrics.m", dataset=DatasetName(name="", digest="d")),)},
            "`dataset_digest` can only be specified if `dataset_name` is also specified",
        ),
        ({"datasets": (DatasetName(name=""),)}, "`dataset_name` in the `datasets` clause must be specified"),
        ({"filter": "best(metrics.m) > 1"}, "best"),
        ({"filter": "metrics.m LIKE 1"}, "Invalid comparator 'LIKE'"),
        ({"filter": "nothing = 'x'"}, "Invalid attribute key 'nothing'"),
        ({"experiment_ids": ("one",)}, "valid integer"),
    ],
)
def test_bad_searches_are_refused(database: Database, query: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        list(every_page(database, 10, **query))
