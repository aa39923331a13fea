"""What a source last said of each entity as of a moment: a column that is no feature, for those who judge a model.

The value is that of the newest event up to and including T that has one; ties go to the greater value, so that the
same data give the same answer. The age of the event plays no part: who lived in a region still does until it is
told otherwise.
"""

import pyarrow as pa

from headrace.errors import SchemaMismatch
from headrace.features.engine import DataEngine, quoted
from headrace.features.frames import EVENT_TIME, asked_rows
from headrace.kernel.lake import Snapshot
from headrace.project.entity import Entity


def latest_values(
    engine: DataEngine, entity: Entity, snapshot: Snapshot, column: str, entity_frame: pa.Table
) -> pa.ChunkedArray:
    """The column's last known value for each row of an entity frame; null where none is known.

    Args:
        engine: who runs the query.
        entity: whose key the source holds.
        snapshot: the version of the source.
        column: of the source.
        entity_frame: the entity's key column and `as_of`; see frames.py.

    Raises:
        SchemaMismatch: the source has no such column, or no key of the entity.
    """
    if column not in snapshot.schema.names:
        raise SchemaMismatch(
            f"there is no column {column!r}",
            where=f"lake/{snapshot.table}",
            fix=f"Its columns are: {', '.join(snapshot.schema.names[:20])}.",
        )
    asked = asked_rows(entity_frame, entity, snapshot)
    key, value = quoted(entity.key), quoted(column)
    sql = f"""
        WITH events AS (
            SELECT {key} AS key, epoch_us({EVENT_TIME}) AS us, {value} AS value
            FROM source WHERE {key} IS NOT NULL AND {value} IS NOT NULL
        ),
        known AS (
            SELECT asked.row, last(events.value ORDER BY events.us, events.value) AS value
            FROM asked JOIN events ON asked.key = events.key AND events.us <= asked.as_of_us
            GROUP BY asked.row
        )
        SELECT known.value FROM asked LEFT JOIN known ON asked.row = known.row ORDER BY asked.row
    """  # noqa: S608 - quoted names only
    return engine.query(sql, {"asked": asked, "source": snapshot})["value"]
