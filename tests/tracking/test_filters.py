"""The grammar of filters and orders, and what is said of bad ones."""

import pytest

from headrace.errors import InvalidInput
from headrace.tracking import filters, vocabulary
from headrace.tracking.expressions import EVERYTHING, Comparison, Order, comparisons


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metrics.auc > 0.7", ("metric", "auc", ">", 0.7)),
        ("metric.`val auc`<=-1e-3", ("metric", "val auc", "<=", -0.001)),
        ("metrics.val/loss-1 = 1", ("metric", "val/loss-1", "=", 1.0)),
        ('params."max depth" = "3"', ("param", "max depth", "=", "3")),
        ("parameters.c != '1.0'", ("param", "c", "!=", "1.0")),
        ("tags.mlflow.parentRunId = 'a AND b'", ("tag", "mlflow.parentRunId", "=", "a AND b")),
        ("status = 'FINISHED'", ("attribute", "status", "=", "FINISHED")),
        ("attributes.start_time >= 12", ("attribute", "started_at", ">=", 12.0)),
        ("`Run Name` ilike 'x%'", ("attribute", "name", "ILIKE", "x%")),
        ("tags.mlflow.runName = 'x'", ("attribute", "name", "=", "x")),
        ("run_id Not In ('a', \"b\")", ("attribute", "id", "NOT IN", ("a", "b"))),
        ("params.`not` is not null", ("param", "not", "IS NOT NULL", None)),
        ("dataset.context = 'train'", ("dataset", "context", "=", "train")),
        ("metrics.größe > .5", ("metric", "größe", ">", 0.5)),
    ],
)
def test_comparisons(text: str, expected: tuple[object, ...]) -> None:
    found = filters.parse(text, vocabulary.RUNS)
    assert isinstance(found, Comparison)
    assert (found.kind, found.key, found.comparator, found.value) == expected


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_nothing_asks_for_everything(text: str) -> None:
    assert filters.parse(text, vocabulary.RUNS) == EVERYTHING


def test_and_binds_closer_than_or() -> None:
    loose = filters.parse("metrics.a > 1 OR metrics.b > 1 AND metrics.c > 1", vocabulary.RUNS)
    assert loose == filters.parse("metrics.a > 1 OR (metrics.b > 1 AND metrics.c > 1)", vocabulary.RUNS)
    assert [each.key for each in comparisons(loose)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("params.a", "Invalid"),
        ("= 1", "Invalid clause"),
        ("metrics.a > '1'", "Expected numeric value type for metric. Found '1'"),
        ("start_time > '1'", "numeric attribute: start_time"),
        ("params.a = 1", "Expected a quoted string value for param"),
        ("metrics.a > 0.1 metrics.b > 1", "Invalid clause"),
        ("metrics.a > 1x", "Invalid"),
        ("nothing.a = '1'", "Invalid entity type 'nothing'"),
        ("nothing = '1'", "Invalid attribute key 'nothing' specified"),
        ("dataset.source = 'x'", "Invalid dataset key 'source' specified"),
        ("metrics.a LIKE 'x'", "Invalid comparator 'LIKE'"),
        ("params.a > 'x'", "Invalid comparator '>'"),
        ("max(params.a) = 'x'", "max"),
        ("and", "Invalid"),
        ("name = 'x", "Invalid"),
        ("run_id IN ()", "Invalid"),
        ("(" * 60 + "metrics.a > 1" + ")" * 60, "nests at most"),
        ("NOT " * 300 + "metrics.a > 1", "nests at most"),
        (" OR ".join(["metrics.a > 1"] * 201), "at most 200"),
        ("params.a = '" + "x" * 20_000 + "'", "at most 20000"),
    ],
)
def test_what_is_no_filter_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        filters.parse(text, vocabulary.RUNS)
    assert message in refused.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metrics.a", Order(kind="metric", key="a")),
        ("metrics.a DESC", Order(kind="metric", key="a", ascending=False)),
        ("max(metrics.`x y`) desc", Order(kind="metric", key="x y", ascending=False, aggregate="max")),
        ("start_time asc", Order(kind="attribute", key="started_at")),
        ("params.`p desc`", Order(kind="param", key="p desc")),
    ],
)
def test_orders(text: str, expected: Order) -> None:
    assert filters.parse_order([text], vocabulary.RUNS) == (expected,)


@pytest.mark.parametrize(
    "texts", [["metrics.a sideways"], [""], ["metrics.a", "metrics.a DESC"], ["dataset.name"], ["nothing"]]
)
def test_what_is_no_order_is_refused(texts: list[str]) -> None:
    with pytest.raises(InvalidInput):
        filters.parse_order(texts, vocabulary.RUNS)
