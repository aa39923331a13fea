"""Finds the predictions that feedback is about: the runner of the job `serving.join_feedback`.

Work-side. Predictions reach the lake by compaction, so closed segments are brought in first. What is found is also
written to the lake table `feedback/<model>`, each piece once, where monitoring and queries read it beside the
predictions.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from headrace.errors import Unavailable
from headrace.kernel.lake import Lake
from headrace.kernel.work import WorkContext
from headrace.serving.feedback_nouns import Found, Joined, JoinRequest, Prediction, Stored
from headrace.serving.log.compaction import PREDICTIONS, compact_if_closed, predictions_table
from headrace.serving.log.segments import models_logged
from headrace.serving.nouns import Arm, Purpose

FEEDBACK = "feedback"
OPERATION = "serving.feedback"
RACES = 20
_INSTANT = pa.timestamp("us", tz="UTC")
_SCHEMA = pa.schema(
    [
        ("sequence", pa.int64()),
        ("prediction_id", pa.string()),
        ("name", pa.string()),
        ("value", pa.string()),
        ("number", pa.float64()),
        ("at", _INSTANT),
        ("received_at", _INSTANT),
        ("by", pa.string()),
        ("metadata", pa.string()),
        ("version", pa.int64()),
        ("predicted_at", _INSTANT),
    ]
)
"""Of `feedback/<model>`; `value` and `metadata` are JSON."""
_READ = ("prediction_id", "version", "arm", "propensity", "release_id", "step", "purpose", "business_at", "output")


def feedback_table(model: str) -> str:
    """The lake table that holds the feedback on a model's predictions."""
    return f"{FEEDBACK}/{model}"


def read_effective(
    lake: Lake, model: str, names: Collection[str], *, column: Literal["number", "value"] = "number"
) -> pa.Table:
    """What counts of the feedback under these names, taken as one: prediction_id and a column, a row a prediction.

    Args:
        lake: holds it.
        model: on whose predictions.
        names: of the feedback.
        column: `number`, which a text has none of, or `value`, JSON.
    """
    table = feedback_table(model)
    empty = _SCHEMA.empty_table().select(["prediction_id", column])
    if not lake.exists(table):
        return empty
    snapshot = lake.snapshot(table)
    if not snapshot.files:
        return empty
    dataset = ds.dataset(list(snapshot.files), schema=snapshot.schema, format="parquet")
    said = dataset.to_table(
        columns=["prediction_id", column, "at", "sequence"], filter=pc.field("name").isin(list(names))
    )
    ordered = said.sort_by([("at", "ascending"), ("sequence", "ascending")])
    whatever = pc.ScalarAggregateOptions(skip_nulls=False)  # a text that corrects a number leaves none
    last = ordered.group_by("prediction_id", use_threads=False).aggregate([(column, "last", whatever)])
    return last.rename_columns({f"{column}_last": column}).select(["prediction_id", column])


def run_join(ctx: WorkContext, request: JoinRequest) -> Joined:
    """Find the predictions of a batch of feedback.

    Raises:
        Unavailable: other joins, or a compaction, kept winning.
    """
    path = f"/api/v1/feedback/batches/{request.batch}"
    waiting = {one.sequence: one for one in ctx.control.call("GET", path, returns=list[Stored])}
    found: list[Found] = []
    root = ctx.settings.home / "predictions"
    names = sorted({*models_logged(root), *ctx.lake.tables(PREDICTIONS)})
    for place, model in enumerate(names):
        if not waiting:
            break
        compact_if_closed(ctx, model)
        mine = _find(ctx.lake, model, list(waiting.values()))
        if mine:
            _keep(ctx.lake, model, [(waiting[one.sequence], one.prediction) for one in mine])
            found += mine
            for one in mine:
                del waiting[one.sequence]
        ctx.progress((place + 1) / len(names), f"{len(found)} joined")
    return Joined(batch=request.batch, found=tuple(found))


def _find(lake: Lake, model: str, waiting: list[Stored]) -> list[Found]:
    """Those whose prediction is one of the model's."""
    name = predictions_table(model)
    if not lake.exists(name):
        return []
    snapshot = lake.snapshot(name)
    if not snapshot.files:
        return []
    wanted = sorted({one.prediction_id for one in waiting})
    # Ids rise with time, so that the range leaves out most files.
    field = pc.field("prediction_id")
    near = (field >= wanted[0]) & (field <= wanted[-1]) & field.isin(wanted)
    dataset = ds.dataset(list(snapshot.files), schema=snapshot.schema, format="parquet")
    rows = dataset.to_table(columns=list(_READ), filter=near).to_pylist()
    predictions = {row["prediction_id"]: _prediction(model, row) for row in rows}
    return [
        Found(sequence=one.sequence, prediction=predictions[one.prediction_id])
        for one in waiting
        if one.prediction_id in predictions
    ]


def _prediction(model: str, row: dict[str, Any]) -> Prediction:
    return Prediction(
        model=model,
        version=row["version"],
        arm=Arm(row["arm"]),
        propensity=row["propensity"],
        release_id=row["release_id"],
        step=row["step"],
        purpose=Purpose(row["purpose"]),
        business_at=row["business_at"],
        output=row["output"],
    )


def _keep(lake: Lake, model: str, joined: list[tuple[Stored, Prediction]]) -> None:
    """Append what is not in the model's table yet."""
    table = feedback_table(model)
    for _ in range(RACES):
        # The number is read before the rows: whoever appends in between takes it, and ours is then refused.
        number = (lake.sequence(table, OPERATION) or 0) + 1
        kept = _kept(lake, table, [stored.sequence for stored, _ in joined])
        rows = [_row(stored, prediction) for stored, prediction in joined if stored.sequence not in kept]
        if not rows:
            return
        lake.append(table, pa.Table.from_pylist(rows, _SCHEMA), operation=OPERATION, sequence=number)
    raise Unavailable("other joins kept winning", where=f"model/{model}", fix="Try again.")


def _kept(lake: Lake, table: str, sequences: list[int]) -> set[int]:
    if not lake.exists(table):
        return set()
    snapshot = lake.snapshot(table)
    if not snapshot.files:
        return set()
    dataset = ds.dataset(list(snapshot.files), schema=snapshot.schema, format="parquet")
    found = dataset.to_table(columns=["sequence"], filter=pc.field("sequence").isin(sequences))
    return set(found["sequence"].to_pylist())


def _row(stored: Stored, prediction: Prediction) -> dict[str, Any]:
    number: float | None = None if isinstance(stored.value, str) else float(stored.value)
    predicted_at: datetime = prediction.business_at
    return {
        "sequence": stored.sequence,
        "prediction_id": stored.prediction_id,
        "name": stored.name,
        "value": msgspec.json.encode(stored.value).decode(),
        "number": number,
        "at": stored.at,
        "received_at": stored.received_at,
        "by": stored.by,
        "metadata": msgspec.json.encode(stored.metadata).decode(),
        "version": prediction.version,
        "predicted_at": predicted_at,
    }
