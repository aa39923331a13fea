"""MLflow's endpoints for charts: one metric of many runs at once, whole or thinned out."""

from typing import Any

import msgspec

from headrace.errors import InvalidInput
from headrace.kernel.database import Tx
from headrace.protocols.mlflow import encoding
from headrace.protocols.mlflow.endpoints import Answer, Endpoint, reading
from headrace.tracking import history

RUNS_LIMIT = 100
POINTS_LIMIT = 25_000
THINNED_LIMIT = 2_500
THINNED_DEFAULT = 320
_NAME = "GetMetricHistoryBulk"


class Bulk(msgspec.Struct, frozen=True, kw_only=True):
    """`metrics/get-history-bulk`."""

    run_id: tuple[str, ...] = ()
    metric_key: str = ""
    max_results: int = POINTS_LIMIT


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """`metrics/get-history-bulk-interval`."""

    run_ids: tuple[str, ...] = ()
    metric_key: str = ""
    start_step: int | None = None
    end_step: int | None = None
    max_results: int = THINNED_DEFAULT


def bulk(tx: Tx, request: Bulk) -> Answer:
    """The points of one metric of several runs, one run after the other, up to a number of them in all."""
    _check(request.run_id, request.metric_key, field="run_id")
    left = min(request.max_results, POINTS_LIMIT)
    found: list[dict[str, Any]] = []
    for run_id in request.run_id:
        if left < 1:
            break
        points = history.read(tx, run_id, request.metric_key, limit=left)
        found += [{**point, "run_id": run_id} for point in encoding.history(request.metric_key, points)]
        left -= len(points.steps)
    return {"metrics": found}


def bulk_interval(tx: Tx, request: Interval) -> Answer:
    """The points of one metric of several runs, thinned out evenly: the first and the last of each run stay."""
    _check(request.run_ids, request.metric_key, field="run_ids")
    if not 1 <= request.max_results <= THINNED_LIMIT:
        raise InvalidInput(
            f"max_results must be between 1 and {THINNED_LIMIT}, got {request.max_results}.", where="max_results"
        )
    if (request.start_step is None) != (request.end_step is None):
        raise InvalidInput("If either start step or end step are specified, both must be specified.", where="step")
    if request.start_step is not None and request.end_step is not None and request.start_step > request.end_step:
        raise InvalidInput("end_step must be greater than start_step.", where="step")
    found: list[dict[str, Any]] = []
    for run_id in request.run_ids:
        points = history.read(tx, run_id, request.metric_key, limit=history.PAGE_LIMIT)
        wanted = [
            place
            for place, step in enumerate(points.steps)
            if request.start_step is None or request.start_step <= step <= (request.end_step or 0)
        ]
        kept = _thinned(wanted, request.max_results)
        thin = history.Points(
            steps=[points.steps[place] for place in kept],
            times=[points.times[place] for place in kept],
            values=[points.values[place] for place in kept],
        )
        found += [{**point, "run_id": run_id} for point in encoding.history(request.metric_key, thin)]
    return encoding.present(metrics=found)


def _thinned(places: list[int], most: int) -> list[int]:
    """At most so many of the places, evenly spread, the first and the last among them."""
    if len(places) <= most:
        return places
    if most == 1:
        return places[-1:]
    span = len(places) - 1
    return [places[round(number * span / (most - 1))] for number in range(most)]


def _check(run_ids: tuple[str, ...], metric_key: str, *, field: str) -> None:
    if not run_ids:
        raise InvalidInput(f"{_NAME} request must specify at least one run_id.", where=field)
    if len(run_ids) > RUNS_LIMIT:
        raise InvalidInput(
            f"{_NAME} request cannot specify more than {RUNS_LIMIT} run_ids. Received {len(run_ids)} run_ids.",
            where=field,
        )
    if not metric_key:
        raise InvalidInput(f"{_NAME} request must specify a metric_key.", where="metric_key")


ENDPOINTS: list[Endpoint[Any]] = [
    reading("GET", "mlflow/metrics/get-history-bulk", Bulk, bulk),
    reading("GET", "mlflow/metrics/get-history-bulk-interval", Interval, bulk_interval),
]
