"""The part of MLflow's search grammar that is served; the rest is refused by name."""

import pytest

from headrace.errors import InvalidInput, NotServed
from headrace.protocols.mlflow import filters
from headrace.tracking.nouns import Order


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  ", []),
        ("metrics.auc > 0.7", [("metric", "auc", ">", 0.7)]),
        ("metric.`val auc`<=-1e-3", [("metric", "val auc", "<=", -0.001)]),
        ('params."max depth" = "3"', [("param", "max depth", "=", "3")]),
        ("parameters.c != '1.0'", [("param", "c", "!=", "1.0")]),
        ("tags.mlflow.parentRunId = 'a AND b'", [("tag", "mlflow.parentRunId", "=", "a AND b")]),
        ("status = 'FINISHED'", [("attribute", "status", "=", "FINISHED")]),
        ("attributes.start_time >= 12", [("attribute", "start_time", ">=", 12.0)]),
        (
            "run.status='RUNNING'and metrics.a=1",
            [("attribute", "status", "=", "RUNNING"), ("metric", "a", "=", 1.0)],
        ),
    ],
)
def test_terms(text: str, expected: list[tuple[object, ...]]) -> None:
    assert [tuple(term) for term in filters.terms(text)] == expected


@pytest.mark.parametrize(
    "text",
    [
        "params.a = '1' OR params.b = '2'",
        "(params.a = '1')",
        "NOT params.a = '1'",
        "params.a LIKE 'x%'",
        "run_id IN ('a', 'b')",
        "tags.a IS NULL",
        "dataset.name = 'iris'",
    ],
)
def test_what_is_not_served_is_named(text: str) -> None:
    with pytest.raises(NotServed):
        filters.terms(text)


@pytest.mark.parametrize(
    "text",
    [
        "params.a",
        "= 1",
        "metrics.a > '1'",
        "params.a = 1",
        "metrics.a > 0.1 metrics.b > 1",
        "metrics.a > 1x",
        "nothing.a = '1'",
        "and",
        "name = 'x",
    ],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        filters.terms(text)


@pytest.mark.parametrize(
    "text", ["user = 'x'", "start_time = 'x'", "status > 'x'", "artifact_uri = 'x'", "start_time > 1e30"]
)
def test_attributes_of_runs_are_checked(text: str) -> None:
    with pytest.raises(InvalidInput):
        filters.run_conditions(text)


def test_the_run_name_is_an_attribute_under_all_its_names() -> None:
    for text in ("run_name = 'x'", "`run name` = 'x'", "tags.mlflow.runName = 'x'", "attribute.`Run Name` = 'x'"):
        (condition,) = filters.run_conditions(text)
        assert (condition.kind, condition.key, condition.value) == ("attribute", "name", "x")


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        ([], Order()),
        (["start_time DESC"], Order()),
        (["attributes.start_time"], Order(ascending=True)),
        (["metrics.auc desc"], Order(metric="auc")),
        (["metrics.`val auc`", "start_time DESC"], Order(metric="val auc", ascending=True)),
    ],
)
def test_orders(order_by: list[str], expected: Order) -> None:
    assert filters.run_order(order_by) == expected


@pytest.mark.parametrize("order_by", [["params.a"], ["metrics.a", "metrics.b"], ["end_time"]])
def test_other_orders_are_not_served(order_by: list[str]) -> None:
    with pytest.raises(NotServed):
        filters.run_order(order_by)


def test_a_bad_order_is_refused() -> None:
    with pytest.raises(InvalidInput):
        filters.run_order(["metrics.a sideways"])
