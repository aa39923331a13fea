"""Late labels: what became of each prediction, written to the lake once its outcome is final.

Work-side. A label belongs to a prediction by its id, and the outcome is computed from the label's source as of the
prediction's business time. Each prediction gets its label once, however often and by however many the join is run.
A label that is defined anew under its old name is another label, so predictions get that one too.
"""

from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from headrace.errors import Unavailable
from headrace.features.engine import DuckDBEngine
from headrace.features.frames import AS_OF
from headrace.features.labels import label_values
from headrace.features.maturity import mature_as_of
from headrace.features.nouns import ObjectDetails, SourceState
from headrace.kernel.lake import Lake, Snapshot
from headrace.kernel.work import WorkContext
from headrace.monitoring.predictions import Floats, Predictions, read_live, to_floats
from headrace.project.declaration import definition_digest
from headrace.project.entity import Entity
from headrace.project.label import Label
from headrace.serving.feedback_nouns import LABEL
from headrace.serving.log.feedback_join import read_effective

PATIENT_ATTEMPTS = 6
"""Attempts of a job that wait for the label's source; afterwards the window is looked at without new labels."""
RACES = 20
"""Times that a join may lose against another one of the same model."""
OPERATION = "monitoring.labels"


class Labelled(NamedTuple):
    """Predictions of a cohort with their outcomes.

    Attributes:
        labels: 0 or 1, shape (rows,).
        scores: the model's outputs, shape (rows,).
        groups: entities as text, shape (rows,).
    """

    labels: Floats
    scores: Floats
    groups: npt.NDArray[Any]


def labels_table(model: str) -> str:
    """The lake table of a model's labels.

    Its columns: prediction_id, label_name, label_digest (of its definition), version, entity, as_of, label and
    final_at.
    """
    return f"labels/{model}"


def source_state(ctx: WorkContext, label: Label) -> SourceState | None:
    """Where the label's source stands; None before anything of it was read."""
    path = f"/api/v1/features/source/{quote(label.source.name, safe='')}"
    found = ctx.control.call("GET", path, returns=ObjectDetails).sources
    return found[0] if found else None


def ready_source(ctx: WorkContext, label: Label, until: datetime) -> SourceState | None:
    """Where the label's source stands, once it holds all events up to a business time.

    Returns:
        The state, or None when the source stays behind after `PATIENT_ATTEMPTS` attempts of the job.

    Raises:
        Unavailable: it is behind still; the job's next attempt may find it ready.
    """
    state = source_state(ctx, label)
    if state is not None and state.ingested_through is not None and state.ingested_through >= until:
        return state
    if ctx.job.attempt <= PATIENT_ATTEMPTS:
        raise Unavailable(
            f"source {label.source.name} is not ingested through {until:%Y-%m-%d %H:%M} yet",
            where=f"label/{label.name}",
            fix="It is tried again; see headrace features for the source's state.",
        )
    return None


def join(ctx: WorkContext, model: str, label: Label, state: SourceState, until: datetime) -> int:
    """Write the labels that are final at a business time and are not written yet.

    Args:
        ctx: the job.
        model: whose predictions.
        label: the outcome.
        state: the label's source, ingested through `until`.
        until: business time, at most business now.

    Returns:
        How many labels this call wrote.

    Raises:
        Unavailable: other joins of the model kept winning.
    """
    table = labels_table(model)
    source = ctx.lake.snapshot(state.table, state.lake_version)
    for _ in range(RACES):
        # The number is read before the labels: whoever appends in between takes it, and ours is then refused.
        sequence = (ctx.lake.sequence(table, OPERATION) or 0) + 1
        waiting = _unlabelled(ctx.lake, model, label, mature_as_of(label, until))
        if not len(waiting):
            return 0
        fresh = _outcomes(ctx, waiting, label, source, state, until)
        if not fresh.num_rows:
            return 0
        ctx.lake.append(table, fresh, operation=OPERATION, sequence=sequence)
        written = _written(ctx.lake, model, label)
        if pc.all(pc.is_in(fresh["prediction_id"], value_set=written)).as_py():
            return int(fresh.num_rows)
    raise Unavailable("other label joins of the model kept winning", where=f"model/{model}", fix="Try again.")


def cohort(lake: Lake, model: str, label: Label, version: int, start: datetime, end: datetime) -> Labelled:
    """Predictions of a version with business time in [start, end) that have an output and a label.

    What somebody has said of a prediction, as feedback under the label's name or as `label`, goes before what was
    computed from the label's source.
    """
    predictions = read_live(lake, model, start, end).of_version(version).answered().table
    labels = outcomes(lake, model, label)
    if not predictions.num_rows or not labels.num_rows:
        return Labelled(np.empty(0), np.empty(0), np.empty(0, dtype=object))
    joined = (
        predictions.select(["prediction_id", "entity", "output"])
        .join(labels, "prediction_id", join_type="inner")
        .sort_by("prediction_id")
    )
    groups = np.array(joined["entity"].to_pylist(), dtype=object)
    return Labelled(to_floats(joined["label"]), to_floats(joined["output"]), groups)


def outcomes(lake: Lake, model: str, label: Label) -> pa.Table:
    """The label of each prediction that has one: prediction_id and label, 0 or 1; what was said goes first."""
    name = labels_table(model)
    told = _told(lake, model, label)
    if not lake.exists(name):
        return told
    computed = _read(lake, name, label, ["prediction_id", "label"])
    rest = computed.filter(pc.invert(pc.is_in(computed["prediction_id"], value_set=told["prediction_id"])))
    return pa.concat_tables([told, rest])


def _told(lake: Lake, model: str, label: Label) -> pa.Table:
    """Labels that came as feedback; what is neither 0 nor 1 is none."""
    said = read_effective(lake, model, {label.name, LABEL}).rename_columns(["prediction_id", "label"])
    return said.filter(pc.is_in(said["label"], value_set=pa.array([0.0, 1.0])))


def _unlabelled(lake: Lake, model: str, label: Label, before: datetime) -> Predictions:
    """Live predictions about an entity, earlier than a business time, that have no label yet."""
    predictions = read_live(lake, model, None, before).table
    table = predictions.filter(pc.is_valid(predictions["entity"]))
    labelled = _written(lake, model, label)
    return Predictions(table.filter(pc.invert(pc.is_in(table["prediction_id"], value_set=labelled))))


def _written(lake: Lake, model: str, label: Label) -> pa.Array:
    name = labels_table(model)
    if not lake.exists(name):
        return pa.array([], pa.string())
    return _read(lake, name, label, ["prediction_id"])["prediction_id"].combine_chunks()


def _read(lake: Lake, table: str, label: Label, columns: list[str]) -> pa.Table:
    snapshot = lake.snapshot(table)
    if not snapshot.files:
        return snapshot.schema.empty_table().select(columns)
    dataset = ds.dataset(list(snapshot.files), schema=snapshot.schema, format="parquet")
    return dataset.to_table(columns=columns, filter=pc.field("label_digest") == definition_digest(label))


def _outcomes(
    ctx: WorkContext, waiting: Predictions, label: Label, source: Snapshot, state: SourceState, until: datetime
) -> pa.Table:
    """The labels of predictions, without those whose entity names no key of the source."""
    table = waiting.table
    key_type = source.schema.field(label.entity.key).type
    keys = pa.array([_key(text, label.entity, key_type) for text in table["entity"].to_pylist()], key_type)
    frame = pa.table({label.entity.key: keys, AS_OF: table["business_at"]})
    engine = DuckDBEngine(ctx.directory)
    try:
        values = label_values(
            engine, label, source, frame, business_now=until, ingested_through=state.ingested_through
        )
    finally:
        engine.close()
    rows = table.num_rows
    labels = pa.table(
        {
            "prediction_id": table["prediction_id"],
            "label_name": pa.array([label.name] * rows, pa.string()),
            "label_digest": pa.array([definition_digest(label)] * rows, pa.string()),
            "version": table["version"],
            "entity": table["entity"],
            "as_of": table["business_at"],
            "label": values,
            "final_at": pa.array([until] * rows, pa.timestamp("us", tz="UTC")),
        }
    )
    return labels.filter(pc.is_valid(labels["label"]))


def _key(text: str, entity: Entity, key_type: pa.DataType) -> Any:
    """The entity's key in the source's type; None for what cannot be one, which has no outcome."""
    value = msgspec.json.decode(text, type=dict[str, Any]).get(entity.key)
    try:
        return None if value is None else pa.scalar(value).cast(key_type).as_py()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return None
