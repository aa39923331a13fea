"""The grammar of filters and orders, and what is said of bad ones."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
        ("`metrics`.`a` = 1", ("metric", "a", "=", 1.0)),
        ("params.a = 'it''s'", ("param", "a", "=", "it's")),
        ('params.a = """x"""', ("param", "a", "=", '"x"')),
        ("params.a = ''", ("param", "a", "=", "")),
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
        ("metrics.a > 1x", "Expected numeric value type for metric. Found 1x"),
        ("nothing.a = '1'", "Invalid entity type 'nothing'"),
        ("nothing = '1'", "Invalid attribute key 'nothing' specified"),
        ("dataset.source = 'x'", "Invalid dataset key 'source' specified"),
        ("start_time LIKE 5", "Invalid comparator 'LIKE'"),
        ("params.a > 'x'", "Invalid comparator '>'"),
        ("max(params.a) = 'x'", "max"),
        ("and", "Invalid"),
        ("name = 'x", "Invalid"),
        ("run_id IN ()", "expected a non-empty list"),
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


UNQUOTED = "Parameter value is either not quoted or unidentified quote types used for string value {}. Use either "
LIST = "While parsing a list in the query, expected "
TYPES = "['metric', 'parameter', 'tag', 'attribute', 'dataset']"
TWO = "metrics.a = 1; metrics.b = 2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("params.a = x", UNQUOTED.format("x") + "single or double quotes."),
        ("run_name = `x`", UNQUOTED.format("`x`") + "single or double quotes."),
        ("params.a = 1", "Expected a quoted string value for parameter (e.g. 'my-value'). Got value 1"),
        ("tags.a = 1.50", "Expected a quoted string value for tag (e.g. 'my-value'). Got value 1.50"),
        ("status = 1", "Expected a quoted string value for attributes. Got value 1"),
        ("dataset.name = 1", "Expected a quoted string value for dataset attributes. Got value 1"),
        ("metrics.a = '1'", "Expected numeric value type for metric. Found '1'"),
        ("metrics.a = metrics.b", "Expected numeric value type for metric. Found metrics.b"),
        ("metrics.a = 1_000", "Expected numeric value type for metric. Found 1_000"),
        ("start_time = '5'", "Expected numeric value type for numeric attribute: start_time. Found '5'"),
        ("start_time LIKE 'x'", "Expected numeric value type for numeric attribute: start_time. Found 'x'"),
        ("met.a > 1", f"Invalid entity type 'met'. Valid values are {TYPES}"),
        (TWO, f"Search filter contained multiple expression '{TWO}'. Provide AND-ed expression list."),
        ("run_id IN ()", LIST + "a non-empty list of string values, but got empty list"),
        (
            "run_id IN ('a', 1)",
            LIST + "string value, punctuation, or whitespace, but got different type in list: ('a', 1)",
        ),
        ("metrics.a", "Invalid clause(s) in filter string: 'metrics.a'"),
        ("tags.a = 'x' --comment", "Invalid clause(s) in filter string: '--comment'"),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_mlflow(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        filters.parse(text, vocabulary.RUNS)
    assert refused.value.message == message


@pytest.mark.parametrize(
    ("text", "comparator"),
    [("metrics.a <> 1", "<>"), ("metrics.a == 1", "=="), ("params.a RLIKE 'x'", "RLIKE"), ("status > 'x'", ">")],
)
def test_comparators_that_there_are_not_are_named(text: str, comparator: str) -> None:
    with pytest.raises(InvalidInput, match=f"Invalid comparator '{comparator}' not one of"):
        filters.parse(text, vocabulary.RUNS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metrics.a sideways", "Invalid ordering key in order_by clause 'metrics.a sideways'."),
        ("", "Invalid order_by clause ''. Could not be parsed."),
        ("'name'", "Invalid order_by clause ''name''. Could not be parsed."),
        ("metrics.a DESC ASC", "Invalid order_by clause 'metrics.a DESC ASC'. Could not be parsed."),
    ],
)
def test_bad_orders_are_refused_in_the_words_of_mlflow(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        filters.parse_order([text], vocabulary.RUNS)
    assert refused.value.message == message


def test_logged_models_take_numbers_for_texts() -> None:
    found = filters.parse("params.lr = 0.010", vocabulary.LOGGED_MODELS)
    assert isinstance(found, Comparison)
    assert found.value == "0.010"


NAMES = ["metrics.a", "params.`b c`", 'tags."d"', "name", "status", "dataset.name", "start_time", "max(", "best ("]
WORDS = ["(", ")", "AND", "or", "NOT", "in", "LIKE", "is", "null", "=", "!=", "<", ">=", "<>", ",", ";", "--", "."]
VALUES = ["1", "-.5e3", "nan", "'x'", '"y"', "''", "`", "'", '"', " ", "\n", "\x00", "\udc80", "ü", "%", "\\"]


@given(pieces=st.lists(st.sampled_from(NAMES + WORDS + VALUES), max_size=12), between=st.sampled_from(["", " "]))
@settings(max_examples=400, deadline=None)
def test_any_text_is_a_filter_or_refused(pieces: list[str], between: str) -> None:
    text = between.join(pieces)
    for known in (vocabulary.RUNS, vocabulary.EXPERIMENTS, vocabulary.LOGGED_MODELS):
        with contextlib.suppress(InvalidInput):
            comparisons(filters.parse(text, known))
        with contextlib.suppress(InvalidInput):
            filters.parse_order([text], known)


def test_an_order_of_mostly_blanks_is_read_at_once() -> None:
    blank = " " * (filters.LENGTH_LIMIT // 3)  # with an expression that goes back, this takes seconds
    expected = (Order(kind="attribute", key="name", ascending=False),)
    assert filters.parse_order([f"{blank}run_name{blank}DESC"], vocabulary.RUNS) == expected
    for text in (f"name{blank}sideways", " " * (50 * filters.LENGTH_LIMIT) + "name"):
        with pytest.raises(InvalidInput, match="order_by clause"):
            filters.parse_order([text], vocabulary.RUNS)


def test_results_are_not_ordered_by_everything() -> None:
    most = [f"params.p{number}" for number in range(filters.ORDERS_LIMIT)]
    assert len(filters.parse_order(most, vocabulary.RUNS)) == filters.ORDERS_LIMIT
    with pytest.raises(InvalidInput, match="at most"):
        filters.parse_order([*most, "name"], vocabulary.RUNS)


def test_a_metric_without_its_kind_is_told_how_it_is_written() -> None:
    with pytest.raises(InvalidInput) as raised:
        filters.parse("accuracy > 0.8", vocabulary.RUNS)
    assert raised.value.fix == "What was logged is written metrics.accuracy or params.accuracy or tags.accuracy."
