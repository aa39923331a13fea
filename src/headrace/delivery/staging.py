"""The staging check: rows of the hold-out go through a real gateway and must come back with the offline scores.

Work-side. It finds what only the serving path can break: a version that does not load there, columns in another
order, a conversion that changes the numbers.
"""

import time
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import numpy as np

from headrace.delivery import evaluation_rows
from headrace.delivery.evaluation_rows import Floats, Rows
from headrace.delivery.nouns import StagingRequest, StagingResult
from headrace.errors import InvalidInput, Unavailable
from headrace.kernel.work import WorkContext
from headrace.project.declaration import definition
from headrace.project.staging import Replay
from headrace.registry.nouns import Evidence, Verdict
from headrace.serving.loading.parity import ABSOLUTE_BOUND, RELATIVE_BOUND
from headrace.serving.loading_nouns import VersionLoading
from headrace.serving.nouns import Gateway, Purpose, ServedVersion

TOLERANCE = 1e-9
"""How far an answer may lie from the offline score: the same arithmetic in another process."""
BATCH_ROWS = 100
LOAD_PATIENCE_S = 60.0
LOOK_EVERY_S = 0.2
CALL_TIMEOUT_S = 30.0
AWAY = (404, 503)
"""What a gateway that was started again answers until it has loaded the version."""
SILENT_FOR = timedelta(seconds=5)
"""A gateway that is so far behind the others has gone; it reports each second."""


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What came back: one answer for each row, NaN where the call failed."""

    answers: Floats
    failures: int
    first_failure: str = ""


def run(ctx: WorkContext, request: StagingRequest) -> StagingResult:
    """Replay the rows and compare.

    Raises:
        InvalidInput: the version has no training set to replay.
        Unavailable: no gateway runs, or none has loaded the version in time; the job is tried again.
    """
    rows = _rows(ctx, request)
    ctx.progress(0.2, "scores the rows offline")
    offline = evaluation_rows.score(ctx, request.version, rows)
    ctx.progress(0.4, "waits for a gateway to load the version")
    gateway, problem = wait_for_gateway(ctx, request.version, patience_s=LOAD_PATIENCE_S)
    if gateway is None:
        return StagingResult(evidence=_evidence(request, Verdict.WORSE, problem, len(rows.labels)))
    ctx.progress(0.6, f"replays {len(rows.labels)} rows through {gateway.name}")
    with httpx.Client(base_url=gateway.url, timeout=CALL_TIMEOUT_S, headers=_headers(ctx)) as client:
        replayed = replay(client, request.version, rows)
    return StagingResult(
        evidence=compare(request, offline, replayed, gateway.name, _tolerance(ctx, request.version))
    )


def wait_for_gateway(ctx: WorkContext, version: ServedVersion, *, patience_s: float) -> tuple[Gateway | None, str]:
    """A gateway that holds the version; or None and why, when one could not load it.

    Raises:
        Unavailable: no gateway holds it in time.
    """
    give_up_s = time.monotonic() + patience_s
    while True:
        gateways = ctx.control.call("GET", "/api/v1/gateways", returns=list[Gateway])
        newest = max((gateway.last_seen for gateway in gateways), default=None)
        for gateway in gateways:
            if newest is None or newest - gateway.last_seen > SILENT_FOR:
                continue
            if gateway.holds(version.model, version.number):
                return gateway, ""
            for loaded in gateway.loaded:
                if (loaded.model, loaded.number) == (version.model, version.number) and loaded.error:
                    return None, f"gateway {gateway.name} could not load the version: {loaded.error}"
        if time.monotonic() > give_up_s:
            raise Unavailable(
                f"none of {len(gateways)} gateways has loaded the version in {patience_s:g} s",
                where=f"version/{version.model}/{version.number}",
                fix="Look at the gateways' logs, or start one: headrace up --gateways 1.",
            )
        ctx.progress(0.4, "waits for a gateway to load the version")
        time.sleep(LOOK_EVERY_S)


def replay(client: httpx.Client, version: ServedVersion, rows: Rows) -> Replayed:
    """Send the rows in batches to the version's own path, which no rollout touches."""
    path = f"/models/{version.model}/versions/{version.number}/invocations"
    answers = np.full(len(rows.labels), np.nan)
    failures, first_failure = 0, ""
    for start in range(0, len(answers), BATCH_ROWS):
        batch = rows.features[start : start + BATCH_ROWS]
        body = msgspec.json.encode({"dataframe_records": records(batch, rows.names)})
        try:
            response = client.post(path, content=body, headers={"Content-Type": "application/json"})
            predictions = _predictions(response, len(batch))
        except (httpx.ReadTimeout, msgspec.MsgspecError, InvalidInput) as error:
            failures += len(batch)
            first_failure = first_failure or str(error)
            continue
        except httpx.TransportError as error:  # a gateway that died is no fault of the version
            raise Unavailable("the gateway cannot be reached", where=str(client.base_url)) from error
        answers[start : start + len(batch)] = predictions
    return Replayed(answers=answers, failures=failures, first_failure=first_failure)


def records(features: Floats, names: tuple[str, ...]) -> list[dict[str, float | None]]:
    """Rows as JSON records, NaN as null."""
    return [
        {name: None if value != value else value for name, value in zip(names, row, strict=True)}
        for row in features.tolist()
    ]


def compare(
    request: StagingRequest, offline: Floats, replayed: Replayed, gateway: str, tolerance: float = TOLERANCE
) -> Evidence:
    """PASS when every row was answered as offline."""
    rows = len(offline)
    if replayed.failures:
        summary = f"{replayed.failures} of {rows} rows failed through {gateway}: {replayed.first_failure}"
        return _evidence(request, Verdict.WORSE, summary, rows, failures=replayed.failures)
    largest = float(np.abs(replayed.answers - offline).max()) if rows else 0.0
    same = bool(rows) and largest <= tolerance
    verdict = Verdict.PASS if same else Verdict.WORSE
    summary = f"{rows} rows through {gateway} differ from offline by at most {largest:.2g}"
    if not rows:
        summary = "there are no rows to replay"
    return _evidence(request, verdict, summary, rows, largest=largest, tolerance=tolerance)


def _rows(ctx: WorkContext, request: StagingRequest) -> Rows:
    if request.training_set_id is None:
        raise InvalidInput(
            "the version has no training set, so there is nothing to replay",
            where=f"version/{request.version.model}/{request.version.number}",
            fix="Train it with `headrace train`, or release it under a policy without staging.",
        )
    manifest = evaluation_rows.manifest_of(ctx, request.training_set_id)
    rows = evaluation_rows.read(ctx, manifest, holdout_only=True)
    limit = request.rows
    return msgspec.structs.replace(
        rows, keys=rows.keys[:limit], labels=rows.labels[:limit], features=rows.features[:limit]
    )


def _tolerance(ctx: WorkContext, version: ServedVersion) -> float:
    """Gateways may answer with a faster form of the version, which was found to differ by no more than a bound."""
    path = f"/api/v1/models/{version.model}/versions/{version.number}/loading"
    known = ctx.control.call("GET", path, returns=VersionLoading).preparation
    converted = known is not None and known.prepared is not None and known.prepared.converted is not None
    return ABSOLUTE_BOUND + RELATIVE_BOUND if converted else TOLERANCE


def _headers(ctx: WorkContext) -> dict[str, str]:
    headers = {"X-Headrace-Purpose": Purpose.STAGING.value}
    if ctx.settings.token:
        headers["Authorization"] = f"Bearer {ctx.settings.token}"
    return headers


class _Answer(msgspec.Struct):
    predictions: list[float]


def _predictions(response: httpx.Response, rows: int) -> Floats:
    if response.status_code in AWAY:
        raise Unavailable("the gateway holds the version no more", where=str(response.url.path))
    if response.status_code != httpx.codes.OK:
        raise InvalidInput(f"HTTP {response.status_code}: {response.text[:300]}", where="gateway")
    predictions = msgspec.json.decode(response.content, type=_Answer).predictions
    if len(predictions) != rows:
        raise InvalidInput(f"{len(predictions)} answers to {rows} rows", where="gateway")
    return np.asarray(predictions, dtype=np.float64)


def _evidence(
    request: StagingRequest,
    verdict: Verdict,
    summary: str,
    rows: int,
    *,
    failures: int = 0,
    largest: float | None = None,
    tolerance: float = TOLERANCE,
) -> Evidence:
    details: dict[str, Any] = {"failures": failures, "training_set_id": request.training_set_id}
    return Evidence(
        model=request.version.model,
        number=request.version.number,
        kind="staging",
        name=f"replay of {request.rows} rows",
        gate="replay",
        declaration=definition(Replay(request.rows)),
        verdict=verdict,
        value=largest,
        margin=tolerance,
        sample_size=rows,
        summary=summary,
        details=details,
    )
