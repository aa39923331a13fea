"""Hints: the mistakes that newcomers make, each as the engine tells it."""

import duckdb
import pytest

from headrace.serving.log.query_hints import NOTHING_ELSE, Columns, hint

COLUMNS: Columns = {
    'predictions."churn"': ("prediction_id", "version", "feature.spend"),
    'predictions."my-model"': ("prediction_id", "version"),
    "predictions": ("prediction_id", "version"),
    'feedback."churn"': ("prediction_id", "number", "at", "effective"),
    "feedback": ("prediction_id", "number", "at", "effective"),
}


@pytest.fixture(scope="module")
def engine() -> duckdb.DuckDBPyConnection:
    """Empty tables with those columns, and no files to reach."""
    connection = duckdb.connect(":memory:")
    connection.execute("CREATE SCHEMA predictions")
    connection.execute("CREATE SCHEMA feedback")
    for table, names in COLUMNS.items():
        made = ", ".join(f'"{name}" VARCHAR' for name in names)
        connection.execute(f"CREATE TABLE {table} ({made})")
    connection.execute("SET enable_external_access = false")
    return connection


def hinted(engine: duckdb.DuckDBPyConnection, sql: str) -> str | None:
    with pytest.raises(duckdb.Error) as raised:
        engine.sql(sql)
    return hint(str(raised.value), sql, COLUMNS)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT nothing FROM predictions", ["predictions has prediction_id, version."]),
        ("SELECT versin FROM predictions", ["Did you mean version?", "predictions has"]),
        ("SELECT p.versin FROM predictions p", ["Did you mean version?"]),
        ("SELECT spend FROM predictions.churn", ['"feature.spend" in predictions."churn"']),
        ('SELECT "feature.spend" FROM predictions', ['"feature.spend" in predictions."churn"']),
        ("SELECT feature.spend FROM predictions.churn", ['Write "feature.spend", with double quotes']),
        ("SELECT spent FROM predictions.churn", ['Did you mean "feature.spend"?', 'predictions."churn" has']),
        ("SELECT Number FROM predictions", ["number is a column of feedback."]),
        ('SELECT 1 FROM predictions WHERE prediction_id = "prd_1"', ["single quotes: 'prd_1'"]),
        ("SELECT at FROM feedback", ['the column is "at"']),
        ("SELECT * FROM predictions.my-model", ['Write predictions."my-model"']),
        (
            "SELECT * FROM churn",
            ['Did you mean predictions."churn" or feedback."churn"?', "The tables are predictions"],
        ),
        ("SELECT * FROM predictions.chrun", ['Did you mean predictions."churn"']),
        ("SELECT * FROM prediction", ["Did you mean predictions?"]),
        ("SELECT * FROM nothing_like_it", ["The tables are predictions, feedback, predictions."]),
        ("SELECT x.version FROM predictions p", ["The tables are predictions"]),
        ("SELECT", ["A query is one SELECT"]),
        ("SELECT * FROM read_csv('/etc/passwd')", [NOTHING_ELSE]),
    ],
)
def test_a_mistake_gets_its_hint(engine: duckdb.DuckDBPyConnection, sql: str, said: list[str]) -> None:
    told = hinted(engine, sql)
    assert told is not None
    assert not [part for part in said if part not in told], told


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT version, count(*) FROM predictions",
        "SELECT avg(true) FROM predictions",
    ],
)
def test_where_the_engine_says_enough_nothing_is_added(engine: duckdb.DuckDBPyConnection, sql: str) -> None:
    assert hinted(engine, sql) is None


def test_a_word_in_a_text_is_no_mistake(engine: duckdb.DuckDBPyConnection) -> None:
    told = hinted(engine, "SELECT 'look at it' FROM predictions WHERE")
    assert told is not None
    assert '"at"' not in told


def test_long_lists_are_cut() -> None:
    wide: Columns = {"predictions": tuple(f"c{place}" for place in range(100))}
    told = hint('Referenced column "zzz" not found', "SELECT zzz FROM predictions", wide)
    assert told is not None
    assert told.endswith("c39 and 60 more.")
