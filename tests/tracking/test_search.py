"""Searches for runs: the SQL against plain Python, pages against the whole."""

import base64
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import InvalidInput
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database
from headrace.tracking import experiments, filters, logged_models, logging, runs, search, tables_search, vocabulary
from headrace.tracking.expressions import And, Comparison, Expression, Not, Or
from headrace.tracking.nouns import (
    Batch,
    CreateRun,
    Dataset,
    DatasetInput,
    Inputs,
    LoggedModelQuery,
    MetricPoint,
    Run,
    RunQuery,
    RunStatus,
    Selection,
)
from headrace.tracking.readings import NAN

from .evaluator import holds, write

pytestmark = pytest.mark.both_databases

VALUES: list[tuple[Any, ...]] = [
    (0.5,), (0.5, 0.25, 0.75), (), ("NaN",), ("NaN", 1.0), (1.0, "NaN"), ("-Infinity", 2.0), ("Infinity",), (-0.0,),
    (0.0, -1.5), (1e-300,), (), (0.5, "NaN"),
]  # fmt: skip
TEXTS = ["tree", "Tree", "forest%", "a_b", "", "ÄRGER", "ärger", "x*y?[z]", "\\", "it's", "tree" * 60]


@pytest.fixture
def made(database: Database, clock: ManualClock) -> list[Run]:
    """Runs that differ in everything that can be asked for."""
    found = []
    for number, values in enumerate(VALUES):
        request = CreateRun(experiment="search", name=TEXTS[number % len(TEXTS)] or None, user=f"user {number % 3}")
        run = database.write(lambda tx, request=request: runs.create(tx, request), actor="ana")  # type: ignore[misc]
        batch = Batch(
            metrics=tuple(MetricPoint(key="m", value=value, step=step) for step, value in enumerate(values)),
            params={"p": TEXTS[number % len(TEXTS)]} if number % 4 else {},
            tags={"a key / of.many": TEXTS[-number % len(TEXTS)]} if number % 3 else {},
        )
        database.write(lambda tx, batch=batch, run=run: logging.log_batch(tx, run.id, batch), actor="ana")  # type: ignore[misc]
        if number % 5 == 0:
            read = DatasetInput(
                dataset=Dataset(name=f"data {number}", digest="abc", source_type="local", source="{}"),
                tags={"mlflow.data.context": "train" if number else "eval"},
            )
            inputs = Inputs(datasets=(read,))
            database.write(lambda tx, run=run, inputs=inputs: logging.log_inputs(tx, run.id, inputs), actor="ana")  # type: ignore[misc]
        if number % 2:
            clock.advance(timedelta(milliseconds=1, microseconds=300))
            database.write(lambda tx, run=run: runs.update(tx, run.id, status=RunStatus.FINISHED), actor="ana")  # type: ignore[misc]
        found.append(run.id)
    return [database.read(lambda tx, each=each: runs.get(tx, each)) for each in found]  # type: ignore[misc]


def numbers() -> st.SearchStrategy[float]:
    return st.sampled_from([0.0, -0.0, 0.5, 0.25, 1.0, -1.5, 2.0, float("inf"), float("-inf"), float("nan"), 0.3])


def texts() -> st.SearchStrategy[str]:
    return st.sampled_from([*(text for text in TEXTS if text != "it's"), "tr%", "%e", "_ree", "%\\", "it's", "ä%"])


RANKED = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])


def comparisons() -> st.SearchStrategy[Expression]:
    textual = st.one_of(
        st.tuples(st.sampled_from(["=", "!=", "LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE"]), texts()),
        st.tuples(st.sampled_from(["IN", "NOT IN"]), st.lists(texts(), min_size=1, max_size=3).map(tuple)),
    )
    null = st.tuples(st.sampled_from(["IS NULL", "IS NOT NULL"]), st.none())
    named = st.sampled_from(
        [("param", "p"), ("tag", "a key / of.many"), ("param", "nowhere"), ("attribute", "name")]
    )
    milliseconds = st.integers(1_767_225_600_000 - 2, 1_767_225_600_000 + 12).map(float)
    return st.one_of(
        st.builds(
            lambda compared, aggregate: Comparison(
                kind="metric", key="m", comparator=compared[0], value=compared[1], aggregate=aggregate
            ),
            st.tuples(RANKED, numbers()) | null,
            st.sampled_from(["last", "min", "max"]),
        ),
        st.builds(
            lambda name, compared: Comparison(kind=name[0], key=name[1], comparator=compared[0], value=compared[1]),
            named,
            textual | null,
        ),
        st.builds(
            lambda key, compared: Comparison(kind="dataset", key=key, comparator=compared[0], value=compared[1]),
            st.sampled_from(["name", "digest", "context"]),
            st.tuples(st.sampled_from(["=", "!=", "LIKE"]), st.sampled_from(["data 5", "data%", "train", "abc"])),
        ),
        st.builds(
            lambda key, comparator, value: Comparison(
                kind="attribute", key=key, comparator=comparator, value=value
            ),
            st.sampled_from(["started_at", "ended_at"]),
            RANKED,
            milliseconds
            | milliseconds.map(lambda value: value + 0.5)
            | st.sampled_from([0.0, float("inf"), 1e300]),
        ),
    )


def expressions() -> st.SearchStrategy[Expression]:
    return st.recursive(
        comparisons(),
        lambda inner: st.one_of(
            inner.map(lambda operand: Not(operand=operand)),
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: And(operands=tuple(parts))),
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: Or(operands=tuple(parts))),
        ),
        max_leaves=6,
    )


def names(database: Database, **query: Any) -> list[str]:
    page = database.read(lambda tx: search.find(tx, RunQuery(**query)))
    return [run.id for run in page.runs]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(expression=expressions(), rare=st.sampled_from([0, 2, 2_000]))
def test_a_filter_means_what_plain_python_says(
    database: Database, made: list[Run], expression: Expression, rare: int
) -> None:
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(tables_search, "RARE", rare)  # each way to search finds the same
        found = names(database, filter=write(expression), order_by=("metrics.m DESC",) if rare else ())
    assert sorted(found) == sorted(run.id for run in made if holds(expression, run)), write(expression)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(expression=expressions())
def test_what_is_written_is_read_again(database: Database, expression: Expression) -> None:
    again = filters.parse(write(expression), vocabulary.RUNS)
    assert write(again) == write(expression)


ORDERS = [
    (),
    ("start_time ASC",),
    ("metrics.m",),
    ("metrics.m DESC",),
    ("max(metrics.m) DESC", "params.p"),
    ("min(metrics.m)", "attributes.end_time DESC"),
    ("params.p DESC", "tags.`a key / of.many`", "run_id"),
    ("status", "metrics.m desc", "start_time desc"),
    ("attributes.end_time",),
]


def every_page(database: Database, limit: int, **query: Any) -> Iterator[str]:
    cursor = ""
    while True:
        wanted = RunQuery(limit=limit, cursor=cursor, **query)
        page = database.read(lambda tx, wanted=wanted: search.find(tx, wanted))  # type: ignore[misc]
        yield from (run.id for run in page.runs)
        cursor = page.next_cursor
        if not cursor:
            return


@pytest.mark.parametrize("order_by", ORDERS)
@pytest.mark.parametrize("filtered", ["", "NOT metrics.m > 0.6"])
def test_pages_of_every_size_join_up(
    database: Database, made: list[Run], order_by: tuple[str, ...], filtered: str
) -> None:
    where = tuple({run.experiment_id for run in made})
    whole = names(database, order_by=order_by, filter=filtered)
    assert filtered or sorted(whole) == sorted(run.id for run in made)
    for experiment_ids in (None, where):
        for limit in (1, 2, 5, len(made)):
            pages = every_page(database, limit, order_by=order_by, filter=filtered, experiment_ids=experiment_ids)
            assert list(pages) == whole


def test_pages_join_up_when_the_way_to_search_changes(
    database: Database, made: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    query = {
        "order_by": ("metrics.m DESC",),
        "filter": f"params.p IN ({', '.join(repr(text) for text in TEXTS if text.isalpha())})",
        "experiment_ids": (made[0].experiment_id,),
    }
    whole = names(database, **query)
    assert any("m" not in run.metrics for run in made if run.id in whole)
    found: list[str]
    for turn in (0, 1):
        found = []
        cursor = ""
        while True:
            monkeypatch.setattr(tables_search, "RARE", 2_000 if (len(found) + turn) % 2 else 0)
            wanted = RunQuery(limit=1, cursor=cursor, **query)  # type: ignore[arg-type]
            page = database.read(lambda tx, wanted=wanted: search.find(tx, wanted))  # type: ignore[misc]
            found += [run.id for run in page.runs]
            cursor = page.next_cursor
            if not cursor:
                break
        assert found == whole


@pytest.mark.parametrize("ascending", [True, False])
def test_numbers_then_nan_then_nothing(database: Database, made: list[Run], ascending: bool) -> None:
    found = names(database, order_by=(f"metrics.m {'ASC' if ascending else 'DESC'}",))
    by_id = {run.id: run.metrics.get("m") for run in made}
    values = [None if by_id[each] is None else by_id[each].number for each in found]  # type: ignore[union-attr]
    there = [value for value in values if value is not None and value == value]
    assert there == sorted(there, reverse=not ascending)
    assert values[len(there) :] == [value for value in values if value is not None and value != value] + [None] * 2


def test_best_is_what_the_experiment_says(database: Database, made: list[Run]) -> None:
    with pytest.raises(InvalidInput, match="best") as refused:
        names(database, order_by=("best(metrics.m) DESC",))
    assert "headrace.goal.m" in str(refused.value.fix)
    where = made[0].experiment_id
    for goal, meant in (("minimize", "min"), ("maximize", "max")):
        database.write(lambda tx, goal=goal: experiments.set_tag(tx, where, "headrace.goal.m", goal), actor="ana")  # type: ignore[misc]
        asked = names(
            database, experiment_ids=(where,), filter="best(metrics.m) > 0.4", order_by=("best(metrics.m)",)
        )
        expected = names(
            database, experiment_ids=(where,), filter=f"{meant}(metrics.m) > 0.4", order_by=(f"{meant}(metrics.m)",)
        )
        assert asked == expected
        assert asked


def test_only_what_is_selected_comes_back(database: Database, made: list[Run]) -> None:
    query = RunQuery(select=Selection(params=(), metrics=("m", "nowhere"), tags=()), filter="params.p IS NOT NULL")
    for run in database.read(lambda tx: search.find(tx, query)).runs:
        whole = next(each for each in made if each.id == run.id)
        assert (run.params, run.tags, run.metrics) == ({}, {}, whole.metrics)


def test_a_cursor_is_of_its_search(database: Database, made: list[Run]) -> None:
    page = database.read(lambda tx: search.find(tx, RunQuery(limit=1)))
    for other in ({"order_by": ("metrics.m",)}, {"filter": "metrics.m > 0"}, {"cursor": "nonsense"}):
        with pytest.raises(InvalidInput):
            names(database, **{"cursor": page.next_cursor, **other})


@pytest.mark.parametrize("order", [(), ("metrics.m",), ("params.p", "end_time"), ("metrics.m", "run_name")])
def test_a_cursor_that_was_made_up_is_refused(database: Database, made: list[Run], order: tuple[str, ...]) -> None:
    query = RunQuery(experiment_ids=(made[0].experiment_id,), order_by=order, limit=1)
    cursor = database.read(lambda tx: search.find(tx, query)).next_cursor
    signature, position = msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=="))
    other = ["x" if isinstance(edge, int) else 1 for edge in position]
    for forged in ([], position[1:], [*position, 1], other):
        raw = base64.urlsafe_b64encode(msgspec.json.encode([signature, forged])).decode().rstrip("=")
        with pytest.raises(InvalidInput):
            database.read(lambda tx, raw=raw: search.find(tx, msgspec.structs.replace(query, cursor=raw)))  # type: ignore[misc]


def test_lowest_and_highest_are_kept(database: Database, made: list[Run]) -> None:
    summary = made[1].metrics["m"]
    assert (summary.value, summary.step) == (0.75, 2)
    assert summary.min is not None
    assert summary.max is not None
    assert (summary.min.value, summary.min.step, summary.max.value, summary.max.step) == (0.25, 1, 0.75, 2)
    assert made[3].metrics["m"].min is None


@given(
    logged=st.dictionaries(
        st.sampled_from(["a", "b/c", "é", "模", "x y"]),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20),
    )
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_params_and_tags_as_pairs_are_what_was_logged(database: Database, logged: dict[str, str]) -> None:
    run = database.write(lambda tx: runs.create(tx, CreateRun(experiment="pairs")), actor="ana")
    batch = Batch(params={**logged}, tags=logged, metrics=(MetricPoint(key="m", value="NaN", step=3),))
    database.write(lambda tx: logging.log_batch(tx, run.id, batch), actor="ana")
    query = RunQuery(experiment_ids=(run.experiment_id,), limit=1)
    (found,), _ = database.read(lambda tx: search.find_pairs(tx, query))
    assert found.id == run.id
    for text in (found.params, found.tags):
        read = msgspec.json.decode(text) if text else []
        assert {pair["key"]: pair["value"] for pair in read} == logged
        assert len(read) == len(logged)
    assert [(key, step, value) for _, key, step, _, value in found.metrics] == [("m", 3, NAN)]


def test_very_many_experiments_may_be_named(database: Database, made: list[Run]) -> None:
    ids = tuple(str(number) for number in range(300_000))
    assert len(names(database, experiment_ids=ids)) == len(made)  # in the one that there is
    assert database.read(lambda tx: logged_models.search(tx, LoggedModelQuery(experiment_ids=ids))) == ((), "")
