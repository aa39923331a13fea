"""Runs one SELECT over the prediction log and its feedback: the runner of `serving.query_predictions`.

Work-side. The SQL is a stranger's, so it runs in a process of its own, which is told of the tables and of nothing
else, and which is ended at its limits of time and memory. What is wrong with it is an answer and no failed job.
"""

import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pyarrow as pa
import structlog

from headrace.errors import DeadlineExceeded, HeadraceError, InternalError, InvalidInput, TooLarge
from headrace.features.engine import literal, quoted
from headrace.kernel.lake import Lake
from headrace.kernel.work import WorkContext
from headrace.serving.log.compaction import PREDICTIONS, compact_closed, predictions_table
from headrace.serving.log.feature_names import FEATURE_PREFIX, told_apart
from headrace.serving.log.feedback_join import FEEDBACK, feedback_table
from headrace.serving.log.query_hints import Columns, hint
from headrace.serving.log.query_messages import (
    MB,
    THREADS,
    Advanced,
    Answered,
    Began,
    Exceeded,
    Message,
    Order,
    QueryLimits,
    RawTable,
    Refused,
)
from headrace.serving.query_nouns import LONGEST_S, Answer, Query
from headrace.training.executor import Ending, Execution, Limits, SubprocessExecutor, Task, bare_environment

log = structlog.get_logger()

PROCESS_MODULE = "headrace.serving.log.query_process"
START_S = 60.0
"""How long the process may take until the query's own time begins."""
LOOK_S = 0.02
"""Between two looks at the process's memory."""
LOG_BYTES = 4_000
SMALLER = "Ask for fewer rows and columns, or for sums of them (GROUP BY)."
_FEEDBACK_MARKS = ("model", "effective")
_EFFECTIVE = (
    'row_number() OVER (PARTITION BY prediction_id, name ORDER BY "at" DESC, sequence DESC) = 1 AS effective'
)
_EMPTY = {
    PREDICTIONS: pa.schema([("prediction_id", pa.string()), ("model", pa.string()), ("version", pa.int64())]),
    FEEDBACK: pa.schema([("prediction_id", pa.string()), ("model", pa.string()), ("name", pa.string())]),
}


class _Ended(NamedTuple):
    """How a query's process ended, and the last that it said."""

    last: Message | None
    ending: Ending
    over_time: bool


def run_query(ctx: WorkContext, query: Query, limits: QueryLimits | None = None) -> Answer:
    """Answer a query; what is closed of the log is brought into the lake first.

    Raises:
        InternalError: the query's process did not come up.
        LeaseLost: nobody waits for the answer any more.
    """
    compact_closed(ctx)
    ctx.progress(0.0, "the log is in the lake")
    tables = _Tables(ctx.lake)
    folder = ctx.directory / "query"
    order = _prepare(folder, query, tables, limits or QueryLimits())
    execution = SubprocessExecutor().start(_task(folder, query, order.limits))
    try:
        ended = _follow(ctx, query, execution)
    finally:
        execution.kill()
    if isinstance(ended.last, Answered):
        digest = ctx.blobs.put(Path(order.answer)).digest
        return Answer(digest=digest, rows=ended.last.rows, truncated=ended.last.truncated)
    problem = _problem(query, tables, order.limits, ended, execution)
    return Answer(code=problem.code, problem=problem.message, fix=problem.fix)


class _Tables:
    """The tables of the lake, and the SQL that makes of them what a query sees.

    That is `kind.model` for each model with all of its columns, and `kind` for all, without features. The engine
    does not tell names apart that differ in case alone, so such models' tables have names of their own.

    Attributes:
        raw: files under names that no query needs.
        views: statements, in their order.
        columns: names of columns by table, as a query writes it.
    """

    def __init__(self, lake: Lake) -> None:
        self.raw: list[RawTable] = []
        self.views: list[str] = []
        self.columns: Columns = {}
        kinds = {PREDICTIONS: predictions_table, FEEDBACK: feedback_table}
        models = {kind: lake.tables(kind) for kind in kinds}
        self._shown = told_apart([model for found in models.values() for model in found])
        for kind, name_of in kinds.items():
            self._present(lake, kind, {model: name_of(model) for model in models[kind]})

    def _present(self, lake: Lake, kind: str, tables: dict[str, str]) -> None:
        self.views.append(f"CREATE SCHEMA {kind}")
        selects, all_columns = [], dict[str, None]()
        for place, (model, table) in enumerate(tables.items()):
            snapshot = lake.snapshot(table)
            if not snapshot.files:
                continue
            raw = self._register(f"{kind}_{place}", snapshot.files, snapshot.schema)
            derived = f"*, {literal(model)} AS model, {_EFFECTIVE}" if kind == FEEDBACK else "*"
            name = f"{kind}.{quoted(self._shown[model])}"
            self.views.append(f"CREATE VIEW {name} AS SELECT {derived} FROM {raw}")  # noqa: S608 - quoted
            marks = _FEEDBACK_MARKS if kind == FEEDBACK else ()
            self.columns[name] = (*snapshot.schema.names, *marks)
            own = [column for column in self.columns[name] if not column.startswith(FEATURE_PREFIX)]
            selects.append(f"SELECT {', '.join(map(quoted, own))} FROM {name}")  # noqa: S608 - quoted
            all_columns |= dict.fromkeys(own)
        if not selects:
            raw = self._register(f"{kind}_none", (), _EMPTY[kind])
            selects.append(f"SELECT * FROM {raw}")  # noqa: S608 - a constant
            all_columns = dict.fromkeys(_EMPTY[kind].names)
        self.views.append(f"CREATE VIEW {kind} AS {' UNION ALL BY NAME '.join(selects)}")
        self.columns[kind] = tuple(all_columns)

    def _register(self, name: str, files: tuple[str, ...], schema: pa.Schema) -> str:
        self.raw.append(RawTable(name=name, files=files, schema=schema.serialize().to_pybytes()))
        return name


def _prepare(folder: Path, query: Query, tables: _Tables, limits: QueryLimits) -> Order:
    spill = folder / "spill"
    spill.mkdir(parents=True)
    order = Order(
        parent=os.getpid(),
        sql=query.sql,
        tables=tuple(tables.raw),
        views=tuple(tables.views),
        answer=str((folder / "answer.parquet").absolute()),
        spill=str(spill.absolute()),
        cpu_s=math.ceil(2 * THREADS * query.timeout_s + START_S),
        limits=limits,
    )
    (folder / "order.json").write_bytes(msgspec.json.encode(order))
    return order


def _task(folder: Path, query: Query, limits: QueryLimits) -> Task:
    return Task(
        module=PROCESS_MODULE,
        arguments=(str((folder / "order.json").absolute()),),
        directory=folder,
        output=folder,
        environment=bare_environment(folder.absolute()),
        limits=Limits(wall_time_s=START_S + query.timeout_s, memory_bytes=limits.process_bytes),
    )


def _follow(ctx: WorkContext, query: Query, execution: Execution) -> _Ended:
    """Wait for the end of the process, or of its time, and tell how far it is."""
    last: Message | None = None
    began_s = math.inf
    fraction = 0.0
    ending: Ending | None = None
    over_time = False
    while ending is None:
        ending = execution.wait(LOOK_S)
        if ending is None and time.monotonic() - began_s > query.timeout_s:
            ending, over_time = execution.kill(), True
        for last in _said(execution):
            if isinstance(last, Began):
                began_s = time.monotonic()
            elif isinstance(last, Advanced):
                fraction = last.fraction
        ctx.progress(fraction, _stage(time.monotonic() - began_s))
    rest = list(_said(execution))
    return _Ended(rest[-1] if rest else last, ending, over_time or ending.reason == "time")


def _stage(running_s: float) -> str:
    if running_s < 0:
        return "starts"
    return f"runs for {running_s:.0f} s" if running_s >= 1 else "runs"


def _said(execution: Execution) -> Iterator[Message]:
    for line in execution.messages():
        yield msgspec.json.decode(line, type=Message)


def _problem(
    query: Query, tables: _Tables, limits: QueryLimits, ended: _Ended, execution: Execution
) -> HeadraceError:
    """Why there are no rows.

    Raises:
        InternalError: that is not the query's fault.
    """
    match ended.last:
        case Refused(told=told) if told.startswith(("INTERNAL Error", "FATAL Error")):
            return InternalError(told, fix="This is a defect of the engine; the same asked another way may do.")
        case Refused(told=told):
            return InvalidInput(told, fix=hint(told, query.sql, tables.columns))
        case Exceeded():
            engine, spill = _size(limits.engine_bytes), _size(limits.spill_bytes)
            return TooLarge(f"the query needs more than {engine} of memory and {spill} of disk", fix=SMALLER)
    if ended.over_time and ended.last is not None:
        longest = f"up to {LONGEST_S:g} s (--timeout, timeout_s=)"
        return DeadlineExceeded(
            f"the query took longer than {query.timeout_s:g} s",
            fix=f"Give it more time, {longest}, or ask for less.",
        )
    if ended.ending.reason == "memory":
        return TooLarge(f"the query needs more than {_size(limits.process_bytes)} of memory", fix=SMALLER)
    code = ended.ending.exit_code
    if code == -signal.SIGXCPU:
        return DeadlineExceeded(f"the query used more than {query.timeout_s:g} s of its processors", fix=SMALLER)
    said = execution.log(LOG_BYTES).decode("utf-8", "replace").strip()
    log.warning("a query's process ended", exit_code=code, reason=ended.ending.reason, said=said)
    if ended.last is not None and code == -signal.SIGKILL:
        return InternalError("the query's process was killed; a machine short of memory does so", fix=SMALLER)
    if ended.last is not None and code < 0:
        name = signal.Signals(-code).name
        return InternalError(f"the query crashed the engine ({name})", fix="The same asked another way may do.")
    raise InternalError(
        f"the query's process ended with {code}: {(said.splitlines() or ['it said nothing'])[-1][:300]}"
    )


def _size(size_bytes: int) -> str:
    return f"{size_bytes / (1_000 * MB):g} GB" if size_bytes >= 1_000 * MB else f"{size_bytes / MB:g} MB"
