"""Removes what was predicted when it has been kept for long enough: the runner of `serving.remove_rows`.

Work-side. Rows go from the lake's tables in one commit each, and their files from the disk at a later run, when
nobody can be reading them any more. A run that died is repeated; it finds less to do.

An entity takes two runs: its predictions go only when the database has forgotten what was said of them, for nothing
else tells which those are. It takes more while a gateway holds a segment that was begun before the entity was to be
erased, and while there are files that the lake refuses and that name it: a file goes as a whole, by its age or by
hand, since taking rows out of what cannot be understood is guessing.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pyarrow.compute as pc
import pyarrow.dataset as ds

from headrace.kernel.lake import Lake
from headrace.kernel.work import WorkContext
from headrace.serving.log.compaction import compact_closed, predictions_table
from headrace.serving.log.segments import ASIDE, OPEN, models_logged, read_segment, segment_number, segments
from headrace.serving.nouns import PredictionRecord
from headrace.serving.retention_nouns import ALL_MODELS, HANDED_IN, DataClass, Expiry, Gone, Removed, RemoveRequest

SPARE = timedelta(hours=1)
"""For so long whoever has begun to read may go on."""
_DATED = {DataClass.PREDICTIONS: "at", DataClass.FEEDBACK: "received_at", DataClass.LABELS: "final_at"}


def run_removal(ctx: WorkContext, request: RemoveRequest) -> Removed:
    """Remove what has expired, or an entity; then delete the files of what was removed before."""
    gone: list[Gone] = []
    ids: list[str] = []
    held: tuple[str, ...] = ()
    unfinished = False
    root = ctx.settings.home / "predictions"
    if request.expiries or request.entity is not None:
        # Looked for before: what is closed meanwhile may come too late to be brought into the lake here.
        still_open = _may_be_open(ctx, request)
        unfinished = bool(compact_closed(ctx)) or still_open
    for data_class, model, expiry in _expiring(ctx.lake, request.expiries):
        rows = ctx.lake.remove(_table(data_class, model), _DATED[data_class], before=expiry.before)
        gone.append(Gone(data_class=data_class, model=model, rows=rows))
    gone += _refused_and_old(root, request.expiries)
    if request.entity is not None:
        held = tuple(_refused_and_naming(root, request.entity))
        told = set(request.told)
        for model in ctx.lake.tables(DataClass.PREDICTIONS):
            mine = _predictions_of(ctx.lake, model, request.entity)
            ids += mine
            known = [each for each in mine if each in told]
            removable = {DataClass.FEEDBACK: mine, DataClass.LABELS: mine, DataClass.PREDICTIONS: known}
            for data_class, those in removable.items():
                if those and ctx.lake.exists(_table(data_class, model)):
                    rows = ctx.lake.remove(_table(data_class, model), "prediction_id", values=those)
                    gone.append(Gone(data_class=data_class, model=model, rows=rows))
        unfinished = unfinished or bool(held) or not told.issuperset(ids)
    for data_class in DataClass:
        for model in ctx.lake.tables(data_class):
            ctx.lake.sweep(_table(data_class, model), SPARE)
    rest = unfinished and request.entity is not None
    went = tuple(one for one in gone if one.rows or one.segments)
    return Removed(gone=went, prediction_ids=tuple(ids), unfinished=rest, held=held)


def _may_be_open(ctx: WorkContext, request: RemoveRequest) -> bool:
    """Whether a gateway may hold a prediction from before an entity was to be erased."""
    root = ctx.settings.home / "predictions"
    if request.asked_at is None:
        return False
    last_us = (request.asked_at + HANDED_IN).timestamp() * 1e6
    still_open = (segments(root, model, OPEN) for model in models_logged(root))
    return any(
        segment_number(path) <= last_us for found in still_open for paths in found.values() for path in paths
    )


def _expiring(lake: Lake, expiries: tuple[Expiry, ...]) -> Iterator[tuple[DataClass, str, Expiry]]:
    """Each table with the rule that is for it: its model's own, or that of all."""
    for data_class in DataClass:
        for model in lake.tables(data_class):
            expiry = _rule_for(data_class, model, expiries)
            if expiry is not None:
                yield data_class, model, expiry


def _rule_for(data_class: DataClass, model: str, expiries: tuple[Expiry, ...]) -> Expiry | None:
    own = {(expiry.data_class, expiry.model): expiry for expiry in expiries}
    return own.get((data_class, model)) or own.get((data_class, ALL_MODELS))


def _refused_and_old(root: Path, expiries: tuple[Expiry, ...]) -> Iterator[Gone]:
    """Delete files that the lake refuses and whose first row is old enough."""
    for model in models_logged(root):
        expiry = _rule_for(DataClass.PREDICTIONS, model, expiries)
        if expiry is None:
            continue
        before_us = expiry.before.timestamp() * 1e6
        paths = [path for path in _refused(root, model) if segment_number(path) < before_us]
        rows = sum(record is not None for path in paths for record in read_segment(path))
        for path in paths:
            path.unlink()
        yield Gone(data_class=DataClass.PREDICTIONS, model=model, rows=rows, segments=len(paths))


def _refused_and_naming(root: Path, entity: str) -> Iterator[str]:
    """Files that the lake refuses and that name an entity, or may do so where they cannot be read."""
    for model in models_logged(root):
        for path in _refused(root, model):
            records = read_segment(path)
            if any(record is None or _entity(record) == entity for record in records):
                yield str(path.relative_to(root))


def _refused(root: Path, model: str) -> list[Path]:
    return [path for paths in segments(root, model, ASIDE).values() for path in paths]


def _entity(record: PredictionRecord) -> str | None:
    """As the lake has it."""
    return None if record.entity is None else msgspec.json.encode(record.entity).decode()


def _predictions_of(lake: Lake, model: str, entity: str) -> list[str]:
    snapshot = lake.snapshot(predictions_table(model))
    if not snapshot.files:
        return []
    dataset = ds.dataset(list(snapshot.files), schema=snapshot.schema, format="parquet")
    found = dataset.to_table(columns=["prediction_id"], filter=pc.field("entity") == entity)
    return [str(value) for value in found["prediction_id"].to_pylist()]


def _table(data_class: DataClass, model: str) -> str:
    return f"{data_class}/{model}"
