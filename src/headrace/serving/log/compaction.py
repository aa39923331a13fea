"""Moves closed log segments into the lake, where monitoring reads predictions as a table.

A gateway's segments are numbered in rising order and appended under one operation for each gateway, with the
number as its sequence; so a compaction that died between append and removal is repeated without a double row.
One compaction of a model runs at a time, or a slower one could fall behind the sequence of a faster one.

A segment that the lake does not take is set aside, since else every later compaction would fail at it. Each later
one tries it again by itself, under an operation of its own: what refuses it may have changed meanwhile.

A gateway that is gone and never comes back under its name has left segments open. They are taken in the same way,
since their numbers may be below what the lake has of that gateway.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog
from filelock import FileLock, Timeout

from headrace.errors import LeaseLost, SchemaMismatch, Unavailable
from headrace.kernel.lake import Lake
from headrace.kernel.work import WorkContext
from headrace.serving.log.logged_tables import to_table
from headrace.serving.log.segments import (
    ASIDE,
    CLOSED,
    OPEN,
    adopt,
    folder_name,
    models_logged,
    read_blocks,
    segment_number,
    segments,
)
from headrace.serving.nouns import Compaction, CompactRequest, Gateway

log = structlog.get_logger()

PREDICTIONS = "predictions"
LOCK_PATIENCE_S = 120.0
LOG_PATIENCE_S = 20.0
"""Longer than a gateway keeps a segment open; what is still open then belongs to a gateway that is stuck."""
LOOK_S = 0.1
ROWS_AT_ONCE = 100_000
_REFUSALS = (SchemaMismatch, ValueError, TypeError, ArithmeticError, NotImplementedError)
"""Errors that rows are at fault for, and not the disk or another writer."""


def predictions_table(model: str) -> str:
    """The lake table that holds a model's predictions."""
    return f"{PREDICTIONS}/{model}"


def compact(ctx: WorkContext, model: str, until: datetime | None = None) -> int:
    """Bring a model's predictions into the lake table `predictions/<model>`.

    Its columns are those of `PredictionRecord`, with `entity` as JSON text, `output` a float (`outputs` a list
    for models with several classes, `answer` JSON text for what is no number) and one column `feature.<name>` for
    each feature, a float (null for NaN) or a text. A part of a tensor is JSON text. Where a feature has changed
    from numbers to texts, the texts are in `feature.<name>.text`; the other way round, `feature.<name>.number`.
    `FeatureNames` tells names apart that end so themselves, or differ in case alone.

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


def compact_closed(ctx: WorkContext) -> list[str]:
    """Bring the closed segments of every model into the lake; one that cannot be does not hold up the others.

    Returns:
        The models whose segments could not be moved now.
    """
    root = ctx.settings.home / "predictions"
    return [model for model in models_logged(root) if not compact_if_closed(ctx, model)]


def compact_if_closed(ctx: WorkContext, model: str) -> bool:
    """Bring a model's closed segments into the lake, if there are any; whether nothing of them is left outside."""
    root = ctx.settings.home / "predictions"
    adopt(root, model)
    if not segments(root, model, CLOSED) and not segments(root, model, ASIDE):
        return True
    try:
        compact(ctx, model)
    except LeaseLost:
        raise
    except Exception:  # of whatever kind: the work on other models goes on
        log.exception("predictions could not be brought into the lake", model=model)
        return False
    return True


def _compact(ctx: WorkContext, model: str, until: datetime | None) -> Compaction:
    root = ctx.settings.home / "predictions"
    adopted = adopt(root, model)
    if until is not None:
        _wait_until_logged(ctx, root, model, until)
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / f"{folder_name(model)}.lock")
    try:
        with lock.acquire(timeout=LOCK_PATIENCE_S):
            return _move(ctx, root, model, again=until is None or adopted)
    except Timeout as error:
        raise Unavailable("another compaction of the model does not end", where=f"model/{model}") from error


def _move(ctx: WorkContext, root: Path, model: str, *, again: bool) -> Compaction:
    table = predictions_table(model)
    moved_segments = moved_rows = unreadable = aside = 0
    for part in _taken_after_all(ctx.lake, table, root, model) if again else ():
        moved_segments += len(part.paths)
        moved_rows += part.rows
        unreadable += part.unreadable
    for gateway, paths in segments(root, model, CLOSED).items():
        operation = f"serving.compact/{gateway}"
        taken = ctx.lake.sequence(table, operation) or 0
        waiting = [path for path in paths if segment_number(path) > taken]
        for path in set(paths) - set(waiting):
            path.unlink()  # appended by a compaction that died before this
        for batch in _batches(waiting):
            for part in _taken(ctx.lake, table, operation, batch):
                if part.refused:
                    aside += 1
                    continue
                for path in part.paths:
                    path.unlink()
                moved_segments += len(part.paths)
                moved_rows += part.rows
                unreadable += part.unreadable
            ctx.progress(0.5, f"{moved_rows} predictions")
    return Compaction(model=model, segments=moved_segments, rows=moved_rows, unreadable=unreadable, set_aside=aside)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Segments that the lake took in one append, or one that it refused."""

    paths: list[Path]
    rows: int = 0
    unreadable: int = 0
    refused: bool = False


def _taken(lake: Lake, table: str, operation: str, batch: list[Path]) -> Iterator[_Part]:
    """Append a batch; if its rows are refused, segment by segment, and set aside the one that is at fault."""
    with suppress(*_REFUSALS):  # also where another writer has begun a column: the second try sees its kind
        yield _append(lake, table, operation, batch)
        return
    for path in batch:
        try:
            yield _append(lake, table, operation, [path])
        except _REFUSALS as error:
            path.rename(path.with_suffix(ASIDE))
            # Never what the error says: it may quote the input.
            log.error("a segment was set aside", table=table, segment=str(path), error=type(error).__name__)
            yield _Part(paths=[path], refused=True)


def _taken_after_all(lake: Lake, table: str, root: Path, model: str) -> Iterator[_Part]:
    """Append what was set aside, as far as the lake takes it now."""
    for gateway, paths in segments(root, model, ASIDE).items():
        for path in paths:
            operation = f"serving.compact/{gateway}/{segment_number(path)}"
            part = _Part(paths=[path])
            if lake.sequence(table, operation) is None:  # else it was appended by a compaction that died then
                try:
                    part = _append(lake, table, operation, [path])
                except _REFUSALS as error:
                    log.info("a segment is refused still", segment=str(path), error=type(error).__name__)
                    continue
            path.unlink()
            yield part


def _append(lake: Lake, table: str, operation: str, batch: list[Path]) -> _Part:
    blocks = [block for path in batch for block in read_blocks(path)]
    readable = [block for block in blocks if block is not None]
    if readable:
        schema = lake.snapshot(table).schema if lake.exists(table) else None
        lake.append(table, to_table(readable, schema), operation=operation, sequence=segment_number(batch[-1]))
    rows = sum(len(block.rows.ids) for block in readable)
    return _Part(paths=batch, rows=rows, unreadable=len(blocks) - len(readable))


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
                first = next(read_blocks(path), None)
            except FileNotFoundError:  # closed in this moment
                return True
            if first is None or first.rows.business_at[0] < until:
                return True
    return False
