"""SQL over the prediction log: what it sees is right, and it can reach nothing else."""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.serving.test_compaction import control, ctx, refuse, write  # noqa: F401 - fixtures
from tests.serving.test_feedback_join import predicted
from tests.serving.test_prediction_log import MAY

from headrace.kernel.lake import Lake
from headrace.kernel.work import WorkContext
from headrace.serving import prediction_sql
from headrace.serving.feedback_join import feedback_table
from headrace.serving.prediction_sql import run_query
from headrace.serving.query_nouns import Answer, Query


def said(lake: Lake, model: str, *rows: tuple[int, str, float, int]) -> None:
    columns: dict[str, Any] = {
        "sequence": [row[0] for row in rows],
        "prediction_id": [row[1] for row in rows],
        "name": ["label"] * len(rows),
        "number": [row[2] for row in rows],
        "at": [MAY + timedelta(days=row[3]) for row in rows],
    }
    lake.append(feedback_table(model), pa.table(columns), operation="test")


def ask(ctx: WorkContext, sql: str, **more: Any) -> Answer:  # noqa: F811
    shutil.rmtree(ctx.directory / "spill", ignore_errors=True)
    return run_query(ctx, Query(sql=sql, **more))


def rows(ctx: WorkContext, sql: str) -> list[tuple[Any, ...]]:  # noqa: F811
    answer = ask(ctx, sql)
    assert answer.problem is None
    assert answer.digest is not None
    table = pq.read_table(pa.BufferReader(ctx.blobs.read(answer.digest)))
    assert table.num_rows == answer.rows
    return [tuple(row.values()) for row in table.to_pylist()]


@pytest.fixture
def filled(ctx: WorkContext) -> WorkContext:  # noqa: F811
    predicted(ctx.lake, "churn", "prd_1", "prd_2")
    predicted(ctx.lake, 'Odd "name"/2', "prd_3")
    said(ctx.lake, "churn", (1, "prd_1", 1.0, 0), (2, "prd_1", 0.0, 1), (3, "prd_2", 1.0, 0))
    return ctx


def test_predictions_are_joined_with_what_counts_of_their_feedback(filled: WorkContext) -> None:
    joined = rows(
        filled,
        "SELECT p.model, p.version, p.prediction_id, f.number FROM predictions p LEFT JOIN feedback f"
        " ON f.prediction_id = p.prediction_id AND f.effective ORDER BY p.prediction_id",
    )
    assert joined == [
        ("churn", 1, "prd_1", 0.0),
        ("churn", 2, "prd_2", 1.0),
        ('Odd "name"/2', 1, "prd_3", None),
    ]


def test_one_models_table_has_its_features(filled: WorkContext) -> None:
    assert rows(filled, 'SELECT DISTINCT "feature.spend" FROM predictions.churn') == [(1.0,)]
    assert rows(filled, 'SELECT prediction_id FROM predictions."Odd ""name""/2"') == [("prd_3",)]
    assert rows(filled, "SELECT model, count(*) FROM feedback.churn GROUP BY 1") == [("churn", 3)]


@pytest.mark.parametrize("error", [OverflowError, OSError])
def test_a_model_whose_log_cannot_be_moved_holds_up_no_query_on_others(
    filled: WorkContext, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    write(filled.settings.home, 9)
    refuse(monkeypatch, "prd_9", error)
    assert rows(filled, "SELECT count(*) FROM predictions") == [(3,)]


def test_a_platform_without_predictions_has_empty_tables(ctx: WorkContext) -> None:  # noqa: F811
    assert rows(ctx, "SELECT count(*) FROM predictions LEFT JOIN feedback USING (prediction_id)") == [(0,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_parquet('{lake}/**/*.parquet')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM '/etc/passwd'",
        "COPY (SELECT 1) TO '{lake}/out.csv'",
        "ATTACH '{lake}/out.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET memory_limit = '100GB'",
        "CREATE TABLE x AS SELECT 1",
        "DROP VIEW predictions",
        "INSERT INTO predictions SELECT * FROM predictions",
        "SELECT 1; SELECT 2",
        "SELECT * FROM query('COPY (SELECT 1) TO \"{lake}/out.csv\"')",
        "PRAGMA version",
        "CALL pragma_version()",
        "EXPLAIN SELECT 1",
        "-- nothing",
        ";",
        "SELECT nothing FROM predictions",
        "SELEC",
    ],
)
def test_what_is_no_select_over_the_tables_is_refused(filled: WorkContext, sql: str, tmp_path: Path) -> None:
    before = sorted(path for path in tmp_path.rglob("*") if "spill" not in path.parts)
    answer = ask(filled, sql.format(lake=tmp_path / "lake"))
    assert answer.problem
    assert answer.digest is None
    assert sorted(path for path in tmp_path.rglob("*") if "spill" not in path.parts) == before


def test_a_query_ends_at_its_time(filled: WorkContext) -> None:
    endless = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = -1"
    answer = ask(filled, endless, timeout_s=0.3)
    assert answer.problem is not None
    assert "longer than 0.3 s" in answer.problem


def test_a_query_ends_at_its_memory(filled: WorkContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_sql, "MEMORY_LIMIT", "30MB")
    monkeypatch.setattr(prediction_sql, "SPILL_LIMIT", "1MB")
    answer = ask(filled, "SELECT list(range) FROM range(50000000)")
    assert answer.problem is not None
    assert "memory" in answer.problem


def test_more_rows_than_are_kept_are_left_off(filled: WorkContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_sql, "ROWS_LIMIT", 25_000)
    answer = ask(filled, "SELECT * FROM range(25001)")
    assert (answer.rows, answer.truncated) == (25_000, True)
    whole = ask(filled, "SELECT * FROM range(25000)")
    assert (whole.rows, whole.truncated) == (25_000, False)


WORDS = [
    "SELECT",
    "*",
    "FROM",
    "predictions",
    "feedback",
    "WHERE",
    "(",
    ")",
    ",",
    "1",
    "'x'",
    '"',
    ";",
    "--",
    "JOIN",
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sql=st.text(min_size=1, max_size=60) | st.lists(st.sampled_from(WORDS), min_size=1).map(" ".join))
def test_no_query_is_a_failed_job(filled: WorkContext, sql: str) -> None:
    answer = ask(filled, sql, timeout_s=5)
    assert (answer.problem is None) == (answer.digest is not None)
