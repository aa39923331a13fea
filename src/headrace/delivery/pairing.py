"""Adds up the losses of two versions on the same requests: the runner of the job `delivery.compare_losses`.

Work-side. One pass joins what the champion answered with what the shadow answered to the copy, and with what
became of the request. All of it is read anew each time: labels come late and are corrected, and only sums go back.

Only requests count whose outcome is final, whether or not it is known sooner: what is known early is not like what
is known late. A unit counts once, with the first of its requests that both versions answered.

Where production's answer has a loss and the shadow's has none, it counts the most: else a version could leave out
what is hard. What failed counts for neither, for faults have a limit of their own.
"""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from headrace.delivery import class_losses
from headrace.delivery.paired_nouns import PairedRequest, PairedResult
from headrace.errors import InternalError
from headrace.kernel.lake import Lake
from headrace.kernel.work import WorkContext
from headrace.monitoring import labels
from headrace.monitoring.predictions import to_floats
from headrace.project.paired import OF_PROBABILITIES, PairedLoss
from headrace.serving.loading.predictor import INVALID_OUTPUTS
from headrace.serving.log.compaction import compact, predictions_table
from headrace.serving.log.feedback_join import read_effective
from headrace.serving.log.segments import CLOSED, segments
from headrace.serving.nouns import Purpose
from headrace.statistics import paired_losses

COPY = ".shadow"
"""What the id of a shadow's answer has behind the id of the prediction whose copy it is."""
_READ = ("prediction_id", "business_at", "version", "entity", "output", "fault", "purpose")
_NONSENSE = pa.array(sorted(INVALID_OUTPUTS), pa.string())
"""Faults of which the model answered: so a version could leave out what is hard, too."""
_UNIT = "unit"
"""The hash of a unit's name; a log that was begun long ago may not have it."""


class _Pairs(NamedTuple):
    """The first pair of each unit in the order of the requests, and how many rows there were."""

    first: pa.Table
    rows: int
    incomplete: int


def run(ctx: WorkContext, request: PairedRequest) -> PairedResult:
    """Compare two versions on the requests that both answered."""
    started_s = time.monotonic()
    if segments(ctx.settings.home / "predictions", request.model, CLOSED):
        compact(ctx, request.model)
    ctx.progress(0.2, "predictions are in the lake")
    maturity = request.quality.maturity or request.label.maturity
    final_through = _final_through(ctx, request, maturity)
    ctx.progress(0.5, "outcomes are in the lake")
    outcomes = _outcomes(ctx.lake, request)
    pairs = _pairs(ctx.lake, request, outcomes)
    result = _compared(request, pairs, outcomes, final_through, maturity)
    ahead = pc.sum(pc.greater(pairs.first["business_at"], pa.scalar(ctx.business_now, _INSTANT))).as_py() or 0
    return msgspec.structs.replace(result, ahead=ahead, took_s=time.monotonic() - started_s)


def _final_through(ctx: WorkContext, request: PairedRequest, maturity: timedelta) -> datetime | None:
    """The business time of the last requests whose outcome is final; brings labels into the lake on the way."""
    if request.quality.feedback is not None:
        return ctx.business_now - maturity
    state = labels.source_state(ctx, request.label)
    if state is None or state.ingested_through is None:
        return None
    until = min(ctx.business_now, state.ingested_through)
    labels.join(ctx, request.model, request.label, state, until)
    return until - maturity


def _pairs(lake: Lake, request: PairedRequest, outcomes: pa.Table) -> _Pairs:
    rows = _rows(lake, request, outcomes)
    purpose, version = rows["purpose"], rows["version"]
    live = rows.filter(
        pc.and_(pc.equal(purpose, Purpose.LIVE.value), pc.equal(version, request.champion))
    ).rename_columns({"output": "champion"})
    copies = rows.filter(pc.and_(pc.equal(purpose, Purpose.SHADOW.value), pc.equal(version, request.challenger)))
    none = pa.scalar(None, pa.float64())
    shadow = pa.table(
        {
            "prediction_id": _copied(copies["prediction_id"]),
            "challenger": pc.if_else(_fits(request, copies["output"]), copies["output"], none),
            "failed": pc.and_(
                pc.is_valid(copies["fault"]), pc.invert(pc.is_in(copies["fault"], value_set=_NONSENSE))
            ),
        }
    )
    both = live.select(["prediction_id", "business_at", "entity", _UNIT, "champion"]).join(
        shadow, "prediction_id", join_type="inner"
    )
    both = both.filter(pc.and_(_fits(request, both["champion"]), pc.invert(both["failed"])))
    both = both.sort_by([("business_at", "ascending"), ("prediction_id", "ascending")])
    return _Pairs(_first_of_units(both), both.num_rows, copies.num_rows - both.num_rows)


def _rows(lake: Lake, request: PairedRequest, outcomes: pa.Table) -> pa.Table:
    """What was answered in the step in which the version was a shadow; of several classes the losses instead."""
    name = predictions_table(request.model)
    snapshot = lake.snapshot(name) if lake.exists(name) else None
    if snapshot is None or not snapshot.files:
        return _EMPTY.empty_table()
    dataset = ds.dataset(list(snapshot.files), schema=snapshot.schema, format="parquet")
    wanted = (pc.field("release_id") == request.release_id) & (pc.field("step") == request.step)
    several = request.quality.classes is not None
    asked = (*_READ, _UNIT, *class_losses.READ) if several else (*_READ, _UNIT)
    known = [column for column in asked if column in snapshot.schema.names]
    if not several:
        return _read(dataset.to_table(columns=known, filter=wanted))
    return _lost(dataset, known, wanted, outcomes, request.quality)


def _lost(
    dataset: ds.Dataset, known: Sequence[str], wanted: pc.Expression, outcomes: pa.Table, quality: PairedLoss
) -> pa.Table:
    """The losses of answers about several classes; batch by batch, since a row may hold thousands of probabilities.

    Many batches are empty: the filter drops the rows of other releases, and not the batches that they were in.
    """
    asked = _copied(dataset.to_table(columns=["prediction_id"], filter=wanted)["prediction_id"])
    truth = class_losses.truths(asked, outcomes)
    read, done = [_EMPTY.empty_table()], 0
    for batch in dataset.to_batches(columns=list(known), filter=wanted):
        if not batch.num_rows:
            continue
        rows, begun = pa.table(batch), done
        done += rows.num_rows
        if not _copied(rows["prediction_id"]).equals(asked.slice(begun, rows.num_rows)):
            raise InternalError("the log was read in another order the second time", where=f"row {begun}")
        lost = class_losses.of_answers(rows, truth[begun:done], quality)
        read.append(_read(rows.set_column(rows.schema.get_field_index("output"), "output", lost)))
    return pa.concat_tables(read)


def _read(rows: pa.Table) -> pa.Table:
    known = _UNIT in rows.column_names
    unit = rows[_UNIT].cast(pa.string()) if known else pa.nulls(rows.num_rows, pa.string())
    return rows.select(list(_READ)).append_column(_UNIT, unit).cast(_EMPTY)


def _copied(prediction_ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """The ids of the predictions whose copies these are; those of others stay."""
    return pc.replace_substring_regex(prediction_ids, rf"\{COPY}$", "")


def _fits(request: PairedRequest, outputs: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether the loss of an answer can be told."""
    known = pc.is_finite(outputs)
    if request.quality.classes is not None or request.quality.loss not in OF_PROBABILITIES:
        return known
    within = pc.and_(pc.greater_equal(outputs, 0.0), pc.less_equal(outputs, 1.0))
    return pc.and_(known, within)


def _first_of_units(both: pa.Table) -> pa.Table:
    """The first pair of each unit; a request that names none is a unit itself, whatever rows it has."""
    request_ids = pc.replace_substring_regex(both["prediction_id"], r"\..*$", "")
    units = pc.coalesce(both[_UNIT], both["entity"], request_ids)
    placed = pa.table({"unit": units, "place": np.arange(both.num_rows)})
    first = placed.group_by("unit", use_threads=False).aggregate([("place", "min")])
    return both.take(np.sort(first["place_min"].to_numpy()))


def _compared(
    request: PairedRequest,
    pairs: _Pairs,
    outcomes: pa.Table,
    final_through: datetime | None,
    maturity: timedelta,
) -> PairedResult:
    first, quality = pairs.first, request.quality
    final = pa.array(np.zeros(first.num_rows, dtype=bool))
    if final_through is not None:
        final = pc.less_equal(first["business_at"], pa.scalar(final_through, _INSTANT))
    waiting, matured = first.filter(pc.invert(final)), first.filter(final)
    labelled = matured.join(outcomes, "prediction_id", join_type="inner")
    challenger, champion = to_floats(labelled["challenger"]), to_floats(labelled["champion"])
    left_out = np.isnan(challenger)
    if quality.classes is None:
        truth = to_floats(labelled["label"])
        challenger, champion = (
            paired_losses.losses(quality.loss, outputs, truth, bound=quality.bound)
            for outputs in (challenger, champion)
        )
    challenger = np.where(left_out, quality.bound, challenger)
    sums = paired_losses.add_up(
        challenger,
        champion,
        margin=quality.margin,
        bound=quality.bound,
        alpha=request.alpha,
    )
    soonest = pc.min(waiting["business_at"]).as_py()
    return PairedResult(
        release_id=request.release_id,
        number=request.number,
        final_through=final_through,
        pairs=pairs.rows,
        incomplete=pairs.incomplete,
        waiting=waiting.num_rows,
        next_at=None if soonest is None else soonest + maturity,
        unlabelled=matured.num_rows - labelled.num_rows,
        units=sums.units,
        first_at=pc.min(labelled["business_at"]).as_py(),
        last_at=pc.max(labelled["business_at"]).as_py(),
        champion=sums.champion,
        challenger=sums.challenger,
        squares=sums.squares,
        fourths=sums.fourths,
        not_worse=sums.not_worse,
        worse=sums.worse,
        low=sums.low,
        high=sums.high,
    )


def _outcomes(lake: Lake, request: PairedRequest) -> pa.Table:
    """What became of each prediction: prediction_id and label; of several classes, its place among them."""
    quality = request.quality
    if quality.feedback is None:
        return labels.outcomes(lake, request.model, request.label)
    if quality.classes is not None:
        return class_losses.outcomes(lake, request.model, quality.feedback, quality.classes)
    said = read_effective(lake, request.model, {quality.feedback})
    said = said.rename_columns(["prediction_id", "label"])
    if quality.loss in OF_PROBABILITIES:
        return said.filter(pc.is_in(said["label"], value_set=pa.array([0.0, 1.0])))
    return said.filter(pc.is_finite(said["label"]))


_INSTANT = pa.timestamp("us", tz="UTC")
_EMPTY = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("business_at", _INSTANT),
        ("version", pa.int64()),
        ("entity", pa.string()),
        ("output", pa.float64()),
        ("fault", pa.string()),
        ("purpose", pa.string()),
        (_UNIT, pa.string()),
    ]
)
