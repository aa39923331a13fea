"""Counts what the predictions of a release brought: the runner of the job `delivery.measure_rewards`.

Work-side. One pass over the release's predictions and its feedback. A unit counts once, by its first prediction in
the release: on that arm, in that step, with what that prediction brought. Later ones may be on another arm, when a
bandit has lowered a share, and are no independent evidence. A prediction that failed on the version that it was
given to counts there, though another version answered: its reward is told under the id that the caller got. So does
one for which that version had no room or time, or a slow version would lose the units that it keeps waiting.
"""

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.dataset as ds

from headrace.delivery.experiment_nouns import ArmRewards, Measured, MeasureRequest
from headrace.kernel.lake import Lake
from headrace.kernel.work import WorkContext
from headrace.serving.log.compaction import compact, predictions_table
from headrace.serving.log.feedback_join import feedback_table
from headrace.serving.log.segments import CLOSED, segments
from headrace.serving.nouns import Arm, Purpose

MEMORY_LIMIT = "1GB"
SPILL_LIMIT = "20GB"
_NO_FEEDBACK = pa.schema(
    [
        ("sequence", pa.int64()),
        ("prediction_id", pa.string()),
        ("name", pa.string()),
        ("number", pa.float64()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("predicted_at", pa.timestamp("us", tz="UTC")),
    ]
)
# Ids rise with time, so the smallest is the first; those of requests without a unit are units of their own. What
# follows a `~` in an id is the number of an attempt that failed, what follows a point the row of a request.
# What was given to one arm for certain, in a shadow's step or while a breaker was open, compares nothing.
_COUNTED = """
WITH asked AS (
    SELECT prediction_id, step, arm = $challenger AS challenger, business_at,
        coalesce(
            unit::UBIGINT, hash(split_part(split_part(prediction_id, '~', 1), '.', 1)) | (1::UBIGINT << 63)
        ) AS unit
    FROM predictions
    WHERE release_id = $release_id AND purpose IN ($live, $replaced) AND step IS NOT NULL
        AND arm IN ($challenger, $champion) AND propensity < 1
), first AS (
    SELECT unnest(arg_min(struct_pack(prediction_id, step, challenger, business_at), prediction_id))
    FROM asked GROUP BY unit
), told AS (
    SELECT prediction_id, last(number ORDER BY "at", sequence) AS number
    FROM feedback
    WHERE name = $reward AND "at" <= predicted_at + to_microseconds($matures_after_us)
    GROUP BY prediction_id
), known AS (
    SELECT step, challenger, business_at <= $until AS mature,
        business_at > $until + to_microseconds($matures_after_us) AS ahead,
        CASE WHEN business_at <= $until AND isfinite(number) THEN number END AS number
    FROM first LEFT JOIN told ON told.prediction_id = split_part(first.prediction_id, '~', 1)
), valued AS (
    SELECT *, coalesce(number, CASE WHEN mature THEN $missing::DOUBLE END) AS value FROM known
), scaled AS (
    SELECT *, CASE WHEN value IS NOT NULL THEN (least($high, greatest($low, value)) - $low) / ($high - $low) END
        AS reward
    FROM valued
)
SELECT step, challenger, count(*) AS units, count(*) FILTER (mature) AS mature, count(number) AS arrived,
    count(reward) AS rewards, coalesce(sum(reward), 0) AS total, coalesce(sum(reward * reward), 0) AS squares,
    count(*) FILTER (reward IN (0, 1)) AS ends, count(*) FILTER (number < $low OR number > $high) AS beyond,
    count(*) FILTER (ahead) AS ahead
FROM scaled GROUP BY step, challenger ORDER BY step, challenger
"""


def run_measuring(ctx: WorkContext, request: MeasureRequest) -> Measured:
    """Count what there is in the lake, and what is closed of the log."""
    began_s = time.monotonic()
    if segments(ctx.settings.home / "predictions", request.model, CLOSED):
        compact(ctx, request.model)
    ctx.progress(0.3, "the log is in the lake")
    scratch = ctx.directory / "spill"
    scratch.mkdir()
    until = ctx.business_now - timedelta(seconds=request.matures_after_s)
    arms = count(ctx.lake, request, until, scratch)
    return Measured(until=until, arms=arms, took_s=time.monotonic() - began_s)


def count(lake: Lake, request: MeasureRequest, until: datetime, scratch: Path) -> tuple[ArmRewards, ...]:
    """What was counted of each arm in each step.

    Args:
        lake: holds predictions and feedback.
        request: what is counted.
        until: business time; later predictions are not mature.
        scratch: an empty folder for what does not fit into memory.
    """
    predictions = _rows(lake, predictions_table(request.model))
    if predictions is None or "unit" not in predictions.schema.names:
        return ()
    feedback = _rows(lake, feedback_table(request.model))
    asked: dict[str, Any] = {
        "challenger": Arm.CHALLENGER.value,
        "champion": Arm.CHAMPION.value,
        "release_id": request.release_id,
        "live": Purpose.LIVE.value,
        "replaced": Purpose.REPLACED.value,
        "reward": request.reward,
        "matures_after_us": round(request.matures_after_s * 1e6),
        "until": until,
        "low": request.low,
        "high": request.high,
        "missing": request.missing,
    }
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY_LIMIT,
        "threads": "2",
        "temp_directory": str(scratch),
        "max_temp_directory_size": SPILL_LIMIT,
    }
    with duckdb.connect(":memory:", config=config) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("predictions", predictions)
        connection.register("feedback", _NO_FEEDBACK.empty_table() if feedback is None else feedback)
        found = connection.execute(_COUNTED, asked)
        names = [column[0] for column in found.description or ()]
        return tuple(msgspec.convert(dict(zip(names, row, strict=True)), ArmRewards) for row in found.fetchall())


def _rows(lake: Lake, table: str) -> ds.Dataset | None:
    if not lake.exists(table):
        return None
    snapshot = lake.snapshot(table)
    if not snapshot.files:
        return None
    return ds.dataset(list(snapshot.files), schema=snapshot.schema, format="parquet")
