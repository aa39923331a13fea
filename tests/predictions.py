"""Predictions put into the lake without a gateway."""

from collections.abc import Sequence

import pyarrow as pa

from headrace.serving.log.logged_tables import to_table
from headrace.serving.log.segments import Block, Rows
from headrace.serving.nouns import PredictionRecord


def table_of(records: Sequence[PredictionRecord]) -> pa.Table:
    """The records as the compaction would have written them."""
    return to_table([_block(record) for record in records])


def _block(record: PredictionRecord) -> Block:
    key, value = next(iter((record.entity or {}).items()), (None, None))
    rows = Rows(
        version=record.version,
        arm=record.arm,
        propensity=record.propensity,
        release_id=record.release_id,
        step=record.step,
        purpose=record.purpose,
        entity_key=key,
        ids=[record.prediction_id],
        business_at=[record.business_at],
        at=[record.at],
        latency_us=[record.latency_us],
        features=[list(record.features)],
        outputs=[record.output],
        faults={} if record.fault is None else {0: record.fault},
        entities=None if value is None else [value],
        units=[record.unit],
    )
    return Block(record.model, record.names, record.texts, rows)
