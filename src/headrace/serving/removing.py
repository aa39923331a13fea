"""Removes what was predicted when it has been kept for long enough: the runner of `serving.remove_rows`.

Work-side. Rows go from the lake's tables in one commit each, and their files from the disk at a later run, when
nobody can be reading them any more. A run that died is repeated; it finds less to do.
"""

from collections.abc import Iterator
from datetime import timedelta

import pyarrow.compute as pc
import pyarrow.dataset as ds

from headrace.kernel.lake import Lake
from headrace.kernel.work import WorkContext
from headrace.serving.compaction import compact, predictions_table
from headrace.serving.retention_nouns import ALL_MODELS, DataClass, Expiry, Gone, Removed, RemoveRequest
from headrace.serving.segments import models_logged

SPARE = timedelta(hours=1)
"""For so long whoever has begun to read may go on."""
_DATED = {DataClass.PREDICTIONS: "at", DataClass.FEEDBACK: "received_at", DataClass.LABELS: "final_at"}


def run_removal(ctx: WorkContext, request: RemoveRequest) -> Removed:
    """Remove what has expired, or an entity; then delete the files of what was removed before."""
    gone: list[Gone] = []
    ids: list[str] = []
    if request.expiries or request.entity is not None:
        for model in models_logged(ctx.settings.home / "predictions"):
            compact(ctx, model)
    for data_class, model, expiry in _expiring(ctx.lake, request.expiries):
        rows = ctx.lake.remove(_table(data_class, model), _DATED[data_class], before=expiry.before)
        gone.append(Gone(data_class=data_class, model=model, rows=rows))
    if request.entity is not None:
        for model in ctx.lake.tables(DataClass.PREDICTIONS):
            mine = _predictions_of(ctx.lake, model, request.entity)
            ids += mine
            # The predictions last: a run that dies before finds their ids again.
            for data_class in (DataClass.FEEDBACK, DataClass.LABELS, DataClass.PREDICTIONS):
                if mine and ctx.lake.exists(_table(data_class, model)):
                    rows = ctx.lake.remove(_table(data_class, model), "prediction_id", values=mine)
                    gone.append(Gone(data_class=data_class, model=model, rows=rows))
    for data_class in DataClass:
        for model in ctx.lake.tables(data_class):
            ctx.lake.sweep(_table(data_class, model), SPARE)
    return Removed(gone=tuple(one for one in gone if one.rows), prediction_ids=tuple(ids))


def _expiring(lake: Lake, expiries: tuple[Expiry, ...]) -> Iterator[tuple[DataClass, str, Expiry]]:
    """Each table with the rule that is for it: its model's own, or that of all."""
    own = {(expiry.data_class, expiry.model): expiry for expiry in expiries}
    for data_class in DataClass:
        for model in lake.tables(data_class):
            expiry = own.get((data_class, model)) or own.get((data_class, ALL_MODELS))
            if expiry is not None:
                yield data_class, model, expiry


def _predictions_of(lake: Lake, model: str, entity: str) -> list[str]:
    snapshot = lake.snapshot(predictions_table(model))
    if not snapshot.files:
        return []
    dataset = ds.dataset(list(snapshot.files), schema=snapshot.schema, format="parquet")
    found = dataset.to_table(columns=["prediction_id"], filter=pc.field("entity") == entity)
    return [str(value) for value in found["prediction_id"].to_pylist()]


def _table(data_class: DataClass, model: str) -> str:
    return f"{data_class}/{model}"
