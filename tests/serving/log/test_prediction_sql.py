"""SQL over the prediction log: what it sees is right, and it can reach nothing else."""

import dataclasses
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from resource import RLIMIT_CORE, RLIMIT_CPU, RLIMIT_DATA
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.processes import children
from tests.serving.gateway.test_prediction_log import MAY
from tests.serving.log.test_compaction import control, ctx, refuse, write  # noqa: F401 - fixtures
from tests.serving.log.test_feedback_join import predicted

from headrace.errors import HeadraceError, InternalError, LeaseLost
from headrace.kernel.lake import Lake
from headrace.kernel.work import WorkContext
from headrace.serving.log import prediction_sql
from headrace.serving.log.feature_names import spelt
from headrace.serving.log.feedback_join import feedback_table
from headrace.serving.log.prediction_sql import run_query
from headrace.serving.log.query_messages import MB, QueryLimits
from headrace.serving.query_nouns import Answer, Query

PATIENCE_S = 60.0
ENDLESS = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = -1"
WORKER = """
import sys
from pathlib import Path
from types import SimpleNamespace
from headrace.kernel.lake import Lake
from headrace.serving.log.prediction_sql import run_query
from headrace.serving.query_nouns import Query
home = Path(sys.argv[1])
run_query(SimpleNamespace(
    settings=SimpleNamespace(home=home), lake=Lake(home / "lake"), directory=home, progress=lambda *_: None
), Query(sql=sys.argv[2]))
"""


def said(lake: Lake, model: str, *rows: tuple[int, str, float, int]) -> None:
    columns: dict[str, Any] = {
        "sequence": [row[0] for row in rows],
        "prediction_id": [row[1] for row in rows],
        "name": ["label"] * len(rows),
        "number": [row[2] for row in rows],
        "at": [MAY + timedelta(days=row[3]) for row in rows],
    }
    lake.append(feedback_table(model), pa.table(columns), operation="test")


def ask(ctx: WorkContext, sql: str, timeout_s: float = 60.0, **limits: int) -> Answer:  # noqa: F811
    shutil.rmtree(ctx.directory / "query", ignore_errors=True)
    return run_query(ctx, Query(sql=sql, timeout_s=timeout_s), QueryLimits(**limits))


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


def test_models_whose_names_differ_in_case_alone_have_tables_of_their_own(filled: WorkContext) -> None:
    predicted(filled.lake, "Churn", "prd_9")
    assert rows(filled, "SELECT model, count(*) FROM predictions GROUP BY 1 ORDER BY 1") == [
        ("Churn", 1),
        ('Odd "name"/2', 1),
        ("churn", 2),
    ]
    names = [f'predictions."{spelt(model)}"' for model in ("Churn", "churn")]
    assert [rows(filled, f"SELECT DISTINCT model FROM {name}") for name in names] == [[("Churn",)], [("churn",)]]
    answer = ask(filled, "SELECT * FROM predictions.churn")
    assert answer.fix is not None
    assert all(name in answer.fix for name in names), answer.fix


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
        "SET lock_configuration = false",
        "RESET memory_limit",
        "PRAGMA version",
        "CALL pragma_version()",
        "EXPLAIN SELECT 1",
        "-- nothing",
        ";",
        "SELECT nothing FROM predictions",
        "SELEC",
        "SELECT getenv('HOME')",
        "SELECT CASE WHEN range = 90000 THEN error('half way') ELSE 1 END FROM range(100000)",
    ],
)
def test_what_is_no_select_over_the_tables_is_refused(filled: WorkContext, sql: str, tmp_path: Path) -> None:
    before = sorted(path for path in tmp_path.rglob("*") if "query" not in path.parts)
    answer = ask(filled, sql.format(lake=tmp_path / "lake"))
    assert answer.problem
    assert answer.digest is None
    assert sorted(path for path in tmp_path.rglob("*") if "query" not in path.parts) == before


def test_a_query_ends_at_its_time(filled: WorkContext) -> None:
    answer = ask(filled, ENDLESS, timeout_s=0.3)
    assert answer.code == "DEADLINE_EXCEEDED"
    assert answer.problem is not None
    assert "longer than 0.3 s" in answer.problem


def test_a_query_ends_at_its_time_within_one_call_of_a_function(filled: WorkContext) -> None:
    """The engine looks for an interruption between its calls, and this one takes a minute."""
    text = "(SELECT repeat(chr({0} + range::INT), 100000) AS x FROM range(2)) AS t{0}"
    answer = ask(
        filled,
        f"SELECT levenshtein(t97.x, t98.x) FROM {text.format(97)}, {text.format(98)}",
        timeout_s=0.3,
    )
    assert answer.code == "DEADLINE_EXCEEDED"


def test_what_the_engine_says_comes_back_whole_and_with_a_hint(filled: WorkContext) -> None:
    answer = ask(filled, "SELECT versin FROM predictions")
    assert answer.code == "INVALID_INPUT"
    assert answer.problem is not None
    assert answer.fix is not None
    assert 'Referenced column "versin" not found in FROM clause!\nCandidate bindings: ' in answer.problem
    assert answer.fix.startswith("Did you mean version? predictions has prediction_id, ")
    assert (ask(filled, "SELECT * FROM churn").fix or "").startswith('Did you mean predictions."churn"')


def test_a_query_ends_at_its_memory(filled: WorkContext) -> None:
    answer = ask(filled, "SELECT list(range) FROM range(50000000)", engine_bytes=30 * MB, spill_bytes=MB)
    assert answer.code == "TOO_LARGE"
    assert answer.problem == "the query needs more than 30 MB of memory and 1 MB of disk"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT list(a.range) FROM range(100000) a, range(1000) b",
        "SELECT repeat('x', 100000) || range AS x FROM range(1000000)",
    ],
)
def test_a_query_ends_at_the_memory_of_its_process(filled: WorkContext, sql: str) -> None:
    answer = ask(filled, sql, engine_bytes=100_000 * MB, process_bytes=300 * MB)
    assert (answer.code, answer.problem) == ("TOO_LARGE", "the query needs more than 300 MB of memory")
    assert rows(filled, "SELECT 1") == [(1,)]


def test_more_rows_than_are_kept_are_left_off(filled: WorkContext) -> None:
    answer = ask(filled, "SELECT * FROM range(25001)", rows=25_000)
    assert (answer.rows, answer.truncated) == (25_000, True)
    whole = ask(filled, "SELECT * FROM range(25000)", rows=25_000)
    assert (whole.rows, whole.truncated) == (25_000, False)


@pytest.mark.parametrize("limit", ["file_bytes", "answer_bytes"])
def test_an_answer_of_too_many_bytes_is_cut(filled: WorkContext, limit: str) -> None:
    answer = ask(filled, "SELECT md5(range::TEXT) FROM range(100000)", **{limit: MB})
    assert answer.truncated
    assert 0 < answer.rows < 100_000


class Observed:
    """Runs a query that does not end in a thread, and looks at its process."""

    def __init__(self, ctx: WorkContext) -> None:  # noqa: F811
        self.notes: list[str] = []
        self.answers: list[Answer] = []
        self.problems: list[HeadraceError] = []
        self.lost = False
        self._ctx = dataclasses.replace(ctx, report_progress=self._report)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> psutil.Process:
        self._thread.start()
        deadline_s = time.monotonic() + PATIENCE_S
        while not any(note.startswith("runs") for note in self.notes):
            assert time.monotonic() < deadline_s
            assert self._thread.is_alive()
            time.sleep(0.01)
        [process] = children(prediction_sql.PROCESS_MODULE)
        return process

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _run(self) -> None:
        try:
            self.answers.append(ask(self._ctx, ENDLESS, timeout_s=PATIENCE_S))
        except HeadraceError as problem:
            self.problems.append(problem)

    def _report(self, _fraction: float, note: str) -> None:
        self.notes.append(note)
        if self.lost:
            raise LeaseLost("the lease on this job has passed on")


def test_the_process_of_a_query_is_told_no_secret(filled: WorkContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_SYSTEM_TOKEN", "a secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://who:a-secret@proxy")
    with Observed(filled) as process:
        environment = process.environ()
        process.kill()
    assert "PATH" in environment
    assert not [name for name, value in environment.items() if "secret" in value]


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of another process are read on Linux alone")
def test_the_system_holds_limits_where_nobody_looks(filled: WorkContext) -> None:
    with Observed(filled) as process:
        cpu, data, core = (process.rlimit(kind) for kind in (RLIMIT_CPU, RLIMIT_DATA, RLIMIT_CORE))
        niceness = process.nice()
        process.kill()
    assert 0 < cpu[0] < cpu[1] < 1_000
    assert 0 < data[0] < 20_000 * MB
    assert core == (0, 0)
    assert niceness > psutil.Process().nice()


@pytest.mark.parametrize(
    ("number", "said"),
    [(signal.SIGSEGV, "crashed the engine (SIGSEGV)"), (signal.SIGABRT, "SIGABRT"), (signal.SIGKILL, "was killed")],
)
def test_a_crash_of_the_engine_is_an_answer_and_harms_nobody(
    filled: WorkContext, number: signal.Signals, said: str
) -> None:
    observed = Observed(filled)
    with observed as process:
        process.send_signal(number)
    [answer] = observed.answers
    assert (answer.code, said in (answer.problem or "")) == ("INTERNAL_ERROR", True)
    assert rows(filled, "SELECT 1") == [(1,)]


def test_a_query_whose_lease_is_lost_ends(filled: WorkContext) -> None:
    observed = Observed(filled)
    with observed as process:
        observed.lost = True
    assert [problem.code for problem in observed.problems] == ["LEASE_LOST"]
    assert not process.is_running()


def test_a_process_that_does_not_come_up_is_a_failed_job(
    filled: WorkContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_sql, "PROCESS_MODULE", "headrace.serving.no_such_module")
    with pytest.raises(InternalError, match="No module named"):
        ask(filled, "SELECT 1")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_a_query_does_not_outlive_its_worker(filled: WorkContext) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(filled.settings.home), ENDLESS], stdin=subprocess.DEVNULL
    )
    order = filled.directory / "query" / "spill"
    deadline_s = time.monotonic() + PATIENCE_S
    children: list[psutil.Process] = []
    while not (order.exists() and children):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
        children = psutil.Process(worker.pid).children()
    worker.kill()
    worker.wait()
    psutil.wait_procs(children, PATIENCE_S)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


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


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sql=st.text(min_size=1, max_size=60) | st.lists(st.sampled_from(WORDS), min_size=1).map(" ".join))
def test_no_query_is_a_failed_job(filled: WorkContext, sql: str) -> None:
    answer = ask(filled, sql, timeout_s=5)
    assert (answer.problem is None) == (answer.digest is not None)
