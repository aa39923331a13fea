"""Entity frames: who is asked about, and as of when; and the events that can answer.

A frame is a table with the entity's key column and `as_of`, the moment T of each row. Rows may repeat, keys
may be null, and the order is the caller's: answers come back row by row.
"""

from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from headrace.errors import InvalidInput, SchemaMismatch
from headrace.features.engine import DataEngine, quoted
from headrace.kernel.lake import Snapshot, floor_to_microseconds
from headrace.kernel.schema import to_microseconds
from headrace.project.entity import Entity

AS_OF = "as_of"
EVENT_TIME = "event_ts"
UTC_TIME = pa.timestamp("us", tz="UTC")


def known_entities(engine: DataEngine, entity: Entity, snapshot: Snapshot, as_of: datetime) -> pa.Table:
    """The frame of every entity that has an event at or before a moment, ordered by key.

    Returns:
        Columns: the entity's key, and `as_of` (timestamp[us, UTC]).
    """
    key = quoted(require_key(snapshot.schema, entity, where=f"lake/{snapshot.table}"))
    moment = to_microseconds(as_of)
    sql = f"""SELECT DISTINCT {key} FROM source
              WHERE {key} IS NOT NULL AND epoch_us({EVENT_TIME}) <= {moment} ORDER BY 1"""  # noqa: S608 - quoted
    keys = engine.query(sql, {"source": snapshot})
    return keys.append_column(AS_OF, pa.array([as_of] * keys.num_rows, UTC_TIME))


def asked_rows(entity_frame: pa.Table, entity: Entity, snapshot: Snapshot) -> pa.Table:
    """The frame as queries join it: `row` (0, 1, …), `key`, `as_of_us`.

    Raises:
        InvalidInput: `as_of` is missing, null somewhere or without a time zone.
        SchemaMismatch: the key column is missing, or its type is not that of the source's.
    """
    require_key(entity_frame.schema, entity, where="entity_frame")
    require_key(snapshot.schema, entity, where=f"lake/{snapshot.table}")
    mine = key_kind(entity_frame.schema.field(entity.key).type)
    theirs = key_kind(snapshot.schema.field(entity.key).type)
    if mine != theirs:
        raise SchemaMismatch(
            f"the frame's key is of type {mine}, the source's of type {theirs}, so nothing would match",
            where=entity.key,
            fix=f"Convert the frame's column to {theirs}.",
        )
    return pa.table(
        {
            "row": pa.array(range(entity_frame.num_rows), pa.int64()),
            "key": entity_frame[entity.key],
            "as_of_us": moments_us(entity_frame),
        }
    )


def moments_us(entity_frame: pa.Table) -> pa.ChunkedArray:
    """The frame's moments in microseconds since 1970; nanoseconds are floored, so that T never moves ahead."""
    if AS_OF not in entity_frame.schema.names:
        raise InvalidInput("the entity frame has no column as_of", where=AS_OF, fix="Add the moment of each row.")
    column = entity_frame[AS_OF]
    if not pa.types.is_timestamp(column.type) or column.type.tz is None:
        raise InvalidInput(
            f"as_of holds {column.type}, not moments with a time zone",
            where=AS_OF,
            fix="Use timestamp[us, UTC]; for a date, say which moment of the day is meant.",
        )
    if column.null_count:
        raise InvalidInput("as_of is null in some rows", where=AS_OF, fix="Give each row its moment.")
    return floor_to_microseconds(column).cast(pa.int64())


def latest_moment_us(entity_frame: pa.Table) -> int | None:
    """The latest `as_of` in microseconds since 1970; None for a frame without rows."""
    latest = pc.max(moments_us(entity_frame)).as_py()
    return None if latest is None else int(latest)


def require_key(schema: pa.Schema, entity: Entity, *, where: str) -> str:
    """The entity's key column, which must be there and hold whole numbers or text."""
    if entity.key not in schema.names:
        raise SchemaMismatch(
            f"there is no column {entity.key!r}, the key of entity {entity.name}",
            where=where,
            fix=f"Its columns are: {', '.join(schema.names[:20])}.",
        )
    kind = schema.field(entity.key).type
    if key_kind(kind) is None:
        raise SchemaMismatch(
            f"the key column {entity.key!r} holds {kind}", where=where, fix="Keys are whole numbers or text."
        )
    return entity.key


def key_kind(kind: pa.DataType) -> str | None:
    """What a key of this type holds: "integer", "string", or None for what cannot be a key."""
    if pa.types.is_dictionary(kind):
        return key_kind(kind.value_type)
    if pa.types.is_integer(kind):
        return "integer"
    return "string" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None


def events_sql(entity: Entity, schema: pa.Schema, columns: Sequence[str]) -> str:
    """A SELECT of a source's events from the input `source`: `key`, `us`, and `c0`, `c1`, … as float64.

    Values that are null, NaN or infinite are null.

    Raises:
        SchemaMismatch: a column is missing or holds no numbers.
    """
    values = []
    for place, column in enumerate(columns):
        if column not in schema.names:
            raise SchemaMismatch(
                f"there is no column {column!r}",
                where="source",
                fix=f"Its columns are: {', '.join(schema.names[:20])}.",
            )
        if not _is_number(schema.field(column).type):
            raise SchemaMismatch(
                f"the column holds {schema.field(column).type}, not numbers", where=column, fix="Choose another."
            )
        number = f"CAST({quoted(column)} AS DOUBLE)"
        values.append(f", CASE WHEN isfinite({number}) THEN {number} END AS c{place}")
    key = quoted(entity.key)
    return (
        f"SELECT {key} AS key, epoch_us({EVENT_TIME}) AS us{''.join(values)} "  # noqa: S608 - quoted
        f"FROM source WHERE {key} IS NOT NULL"
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    )
