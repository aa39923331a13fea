"""Moves closed log segments into the lake, where monitoring reads predictions as a table.

A gateway's segments are numbered in rising order and appended under one operation for each gateway, with the
number as its sequence; so a compaction that died between append and removal is repeated without a double row.
One compaction of a model runs at a time, or a slower one could fall behind the sequence of a faster one.
"""

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from filelock import FileLock, Timeout

from headrace.errors import Unavailable
from headrace.kernel.work import WorkContext
from headrace.serving.nouns import Compaction, CompactRequest, Gateway, PredictionRecord
from headrace.serving.segments import CLOSED, OPEN, folder_name, read_segment, segment_number, segments

FEATURE_PREFIX = "feature."
PREDICTIONS = "predictions"
LOCK_PATIENCE_S = 120.0
LOG_PATIENCE_S = 20.0
"""Longer than a gateway keeps a segment open; what is still open then belongs to a gateway that has died."""
LOOK_S = 0.1
ROWS_AT_ONCE = 100_000

_INSTANT = pa.timestamp("us", tz="UTC")
COLUMNS: dict[str, pa.DataType] = {
    "prediction_id": pa.string(),
    "business_at": _INSTANT,
    "at": _INSTANT,
    "model": pa.string(),
    "version": pa.int64(),
    "arm": pa.string(),
    "propensity": pa.float64(),
    "release_id": pa.string(),
    "step": pa.int64(),
    "entity": pa.string(),
    "output": pa.float64(),
    "outputs": pa.list_(pa.float64()),
    "answer": pa.string(),
    "latency_us": pa.int64(),
    "fault": pa.string(),
    "purpose": pa.string(),
    "unit": pa.int64(),
}


def predictions_table(model: str) -> str:
    """The lake table that holds a model's predictions."""
    return f"{PREDICTIONS}/{model}"


def compact(ctx: WorkContext, model: str, until: datetime | None = None) -> int:
    """Bring a model's predictions into the lake table `predictions/<model>`.

    Its columns are those of `PredictionRecord`, with `entity` as JSON text, `output` a float (`outputs` a list
    for models with several classes, `answer` JSON text for what is no number) and one column `feature.<name>` for
    each feature, a float (null for NaN) or a text.

    Args:
        ctx: the job.
        model: whose predictions.
        until: business time; waits until no gateway can still add an earlier prediction, within limits.

    Returns:
        How many rows were moved.

    Raises:
        Unavailable: another compaction of the model does not end.
    """
    return _compact(ctx, model, until).rows


def run_compaction(ctx: WorkContext, request: CompactRequest) -> Compaction:
    """The runner of the job COMPACT."""
    return _compact(ctx, request.model, request.until)


def to_table(records: list[PredictionRecord]) -> pa.Table:
    """Predictions as a table, a row each."""
    columns: dict[str, list[object]] = {name: [] for name in COLUMNS}
    names = list(dict.fromkeys(name for record in records for name in record.names))
    texts = {name for record in records for name in record.texts}
    features: dict[str, list[Any]] = {name: [None] * len(records) for name in names}
    for place, record in enumerate(records):
        shape = _shape(record.output)
        for name, values in columns.items():
            match name:
                case "entity":
                    entity = record.entity
                    values.append(None if entity is None else msgspec.json.encode(entity).decode())
                case "output" | "outputs":
                    values.append(record.output if shape == name else None)
                case "answer":
                    values.append(msgspec.json.encode(record.output).decode() if shape == name else None)
                case _:
                    values.append(getattr(record, name))
        for name, value in zip(record.names, record.features, strict=True):
            features[name][place] = str(value) if name in texts and value is not None else value
    arrays = {name: pa.array(values, type=COLUMNS[name]) for name, values in columns.items()}
    for name, values in features.items():
        arrays[FEATURE_PREFIX + name] = pa.array(values, pa.string() if name in texts else pa.float64())
    return pa.table(arrays)


def _shape(output: Any) -> str | None:
    """The column in which an answer is kept."""
    if output is None:
        return None
    if isinstance(output, int | float):
        return "output"
    if isinstance(output, list) and all(isinstance(value, int | float) for value in output):
        return "outputs"
    return "answer"


def _compact(ctx: WorkContext, model: str, until: datetime | None) -> Compaction:
    root = ctx.settings.home / "predictions"
    if until is not None:
        _wait_until_logged(ctx, root, model, until)
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / f"{folder_name(model)}.lock")
    try:
        with lock.acquire(timeout=LOCK_PATIENCE_S):
            return _move(ctx, root, model)
    except Timeout as error:
        raise Unavailable("another compaction of the model does not end", where=f"model/{model}") from error


def _move(ctx: WorkContext, root: Path, model: str) -> Compaction:
    table = predictions_table(model)
    moved_segments = moved_rows = unreadable = 0
    for gateway, paths in segments(root, model, CLOSED).items():
        operation = f"serving.compact/{gateway}"
        taken = ctx.lake.sequence(table, operation) or 0
        waiting = [path for path in paths if segment_number(path) > taken]
        for path in set(paths) - set(waiting):
            path.unlink()  # appended by a compaction that died before this
        for batch in _batches(waiting):
            records = [record for path in batch for record in read_segment(path)]
            readable = [record for record in records if record is not None]
            if readable:
                ctx.lake.append(table, to_table(readable), operation=operation, sequence=segment_number(batch[-1]))
            for path in batch:
                path.unlink()
            moved_segments += len(batch)
            moved_rows += len(readable)
            unreadable += len(records) - len(readable)
            ctx.progress(0.5, f"{moved_rows} predictions")
    return Compaction(model=model, segments=moved_segments, rows=moved_rows, unreadable=unreadable)


def _batches(paths: list[Path]) -> Iterator[list[Path]]:
    """Segments in groups of about `ROWS_AT_ONCE` rows, taking a row for 300 bytes."""
    batch: list[Path] = []
    size_bytes = 0
    for path in paths:
        batch.append(path)
        size_bytes += path.stat().st_size
        if size_bytes >= ROWS_AT_ONCE * 300:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


def _wait_until_logged(ctx: WorkContext, root: Path, model: str, until: datetime) -> None:
    """Wait until every prediction before `until` is in a closed segment, or for as long as that can take."""
    give_up_s = time.monotonic() + LOG_PATIENCE_S
    while time.monotonic() < give_up_s:
        if not _open_before(root, model, until):
            alive = ctx.control.call("GET", "/api/v1/gateways?alive=true", returns=tuple[Gateway, ...])
            logged = [gateway.logged_until for gateway in alive]
            # Asked after the gateways: a segment may have been begun while they were.
            if all(moment is not None and moment >= until for moment in logged) and not _open_before(
                root, model, until
            ):
                return
        time.sleep(LOOK_S)


def _open_before(root: Path, model: str, until: datetime) -> bool:
    """Whether an open segment holds a prediction from before `until`."""
    for paths in segments(root, model, OPEN).values():
        for path in paths:
            try:
                first = next(read_segment(path), None)
            except FileNotFoundError:  # closed in this moment
                return True
            if first is None or first.business_at < until:
                return True
    return False
