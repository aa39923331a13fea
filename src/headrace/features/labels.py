"""Labels: what became of each entity after the moment of prediction.

The outcome at T comes from the events in (T, T + w], the part of time that no feature at T has seen.
"""

from datetime import datetime

import pyarrow as pa

from headrace.features.engine import DataEngine
from headrace.features.frames import asked_rows, events_sql, latest_moment_us
from headrace.features.maturity import require_ingested, require_mature
from headrace.features.windows import to_us
from headrace.kernel.lake import Snapshot
from headrace.kernel.schema import from_microseconds
from headrace.project.label import Label


def label_values(
    engine: DataEngine,
    label: Label,
    snapshot: Snapshot,
    entity_frame: pa.Table,
    *,
    business_now: datetime,
    ingested_through: datetime | None,
) -> pa.ChunkedArray:
    """The label of each row of an entity frame.

    Args:
        engine: who runs the query.
        label: the outcome.
        snapshot: the version of the label's source.
        entity_frame: the entity's key column and `as_of`; see frames.py.
        business_now: what the business clock says.
        ingested_through: how far the snapshot has been ingested.

    Returns:
        float64, one value for each row in the frame's order: 1.0 or 0.0, null for a null key.

    Raises:
        LabelsNotMature: the latest row's outcome is not final, or not in the lake.
        InvalidInput, SchemaMismatch: see `frames.asked_rows`.
    """
    asked = asked_rows(entity_frame, label.entity, snapshot)
    latest_us = latest_moment_us(entity_frame)
    if latest_us is not None:
        latest = from_microseconds(latest_us)
        require_mature(label, latest, business_now)
        require_ingested(label, latest, ingested_through)
    window_us = to_us(label.value.window_duration)
    sql = f"""
        WITH events AS ({events_sql(label.entity, snapshot.schema, ())}),
        happened AS (
            SELECT DISTINCT asked.key, asked.as_of_us
            FROM asked JOIN events
            ON asked.key = events.key AND events.us > asked.as_of_us AND events.us <= asked.as_of_us +
            {window_us}
        )
        SELECT CASE WHEN asked.key IS NULL THEN NULL WHEN happened.key IS NULL THEN 1.0 ELSE 0.0 END::DOUBLE
        AS label FROM asked LEFT JOIN happened ON asked.key = happened.key AND asked.as_of_us =
        happened.as_of_us ORDER BY asked.row
    """  # noqa: S608 - numbers and quoted names only
    return engine.query(sql, {"asked": asked, "source": snapshot})["label"]
