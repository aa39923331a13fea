"""The platform's own doors: health, clock, jobs, events, the audit chain and who may do what."""

import asyncio
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post, put
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.types import Receive

from headrace.errors import InvalidInput
from headrace.kernel import activity, audit, business_time, events, jobs
from headrace.kernel.access import Role
from headrace.kernel.activity import Activity
from headrace.kernel.business_time import BusinessClock
from headrace.kernel.database import Transactions
from headrace.kernel.events import Event
from headrace.kernel.jobs import Handling, Job

LOOK_EVERY_S = 0.2
LONGEST_WAIT_S = 30.0

PageSize = Annotated[int, QueryParameter(ge=1, le=1000)]
Handlings = dict[str, Handling]


class ClockMove(msgspec.Struct, frozen=True, kw_only=True):
    """Where a replay moves business time to."""

    now: datetime


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's request for work.

    Attributes:
        worker: name of the process.
        kinds: what it can do.
        wait_s: seconds to wait for a job when there is none.
    """

    worker: str
    kinds: list[str]
    wait_s: float = 0.0


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A worker is alive and this far."""

    lease: str
    fraction: float = 0.0
    note: str = ""


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's result, of the kind's result type."""

    lease: str
    result: Any


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's failure, and whether trying again may help."""

    lease: str
    error: str
    retry: bool


class Abandoned(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs of a dead worker were put back."""

    jobs: int


@get("/health", sync_to_thread=False, media_type="text/plain", operation_id="check_health")
def health() -> str:
    """200 and OK once the platform answers; what load balancers and MLflow's clients ask."""
    return "OK"


@get("/metrics", sync_to_thread=False, media_type="text/plain", operation_id="read_metrics")
def read_metrics(state: State) -> Response[bytes]:
    """Control's measurements, as Prometheus reads them; each gateway has its own at the same path."""
    content, content_type = state.metrics()
    return Response(content, media_type=content_type)


@get("/api/v1/clock")
async def read_clock(transactions: NamedDependency[Transactions]) -> BusinessClock:
    """Business time."""
    return await transactions.read(business_time.read)


@put("/api/v1/clock")
async def move_clock(data: JSONBody[ClockMove], transactions: NamedDependency[Transactions]) -> BusinessClock:
    """Move business time forward, as a replay does."""
    return await transactions.write(lambda tx: business_time.move(tx, data.now))


@get("/api/v1/activity")
async def read_activity(transactions: NamedDependency[Transactions], state: State) -> Activity:
    """What is left to do at the present business time."""
    return await transactions.read(lambda tx: activity.read(tx, state.subscribers))


@get("/api/v1/jobs")
async def list_jobs(transactions: NamedDependency[Transactions], limit: PageSize = 50) -> list[Job]:
    """Jobs, newest first."""
    found = await transactions.read(lambda tx: jobs.recent(tx, limit=limit))
    return [without_lease(job) for job in found]


@get("/api/v1/jobs/{job_id:str}")
async def read_job(job_id: FromPath[str], transactions: NamedDependency[Transactions]) -> Job:
    """One job."""
    return without_lease(await transactions.read(lambda tx: jobs.get(tx, job_id)))


def without_lease(job: Job) -> Job:
    """The job as anybody may see it: its lease is the worker's own."""
    return msgspec.structs.replace(job, lease=None)


@post("/api/v1/jobs/claim", status_code=200)
async def claim_job(
    data: JSONBody[Claim], request: Request[Any, Any, Any], transactions: NamedDependency[Transactions]
) -> Job | None:
    """Take the oldest job that is due, waiting a little for one, but none for a worker that has gone meanwhile."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + min(data.wait_s, LONGEST_WAIT_S)
    gone = asyncio.ensure_future(_disconnected(request.receive))
    try:
        while not gone.done():
            if await transactions.read(lambda tx: jobs.available(tx, data.kinds)):
                job = await transactions.write(lambda tx: jobs.claim(tx, data.worker, data.kinds))
                if job is not None:
                    return job
            if loop.time() >= deadline:
                return None
            await asyncio.wait({gone}, timeout=LOOK_EVERY_S)
    finally:
        gone.cancel()
    return None


async def _disconnected(receive: Receive) -> None:
    """Returns when the caller has closed the connection; the body has been read before."""
    while (await receive())["type"] != "http.disconnect":
        pass


@post("/api/v1/jobs/abandon", status_code=200)
async def abandon_jobs(data: JSONBody[Claim], transactions: NamedDependency[Transactions]) -> Abandoned:
    """Put back what a former process of this worker's name held."""
    return Abandoned(jobs=await transactions.write(lambda tx: jobs.abandon(tx, data.worker)))


@post("/api/v1/jobs/{job_id:str}/heartbeat", status_code=200, operation_id="renew_lease")
async def heartbeat(
    job_id: FromPath[str], data: JSONBody[Heartbeat], transactions: NamedDependency[Transactions]
) -> None:
    """Renew a lease."""
    progress = {"fraction": data.fraction, "note": data.note}
    await transactions.write(lambda tx: jobs.heartbeat(tx, job_id, data.lease, progress))


@post("/api/v1/jobs/{job_id:str}/settle", status_code=200)
async def settle_job(
    job_id: FromPath[str], data: JSONBody[Settlement], transactions: NamedDependency[Transactions], state: State
) -> None:
    """Take a result: its effect and the job's end are one transaction."""

    def settle(tx: Any) -> None:
        job = jobs.get(tx, job_id)
        jobs.settle(tx, _handling(state, job), job_id, data.lease, data.result)

    await transactions.write(settle)


@post("/api/v1/jobs/{job_id:str}/fail", status_code=200)
async def fail_job(
    job_id: FromPath[str], data: JSONBody[Failure], transactions: NamedDependency[Transactions], state: State
) -> None:
    """Take a failure."""

    def fail(tx: Any) -> None:
        job = jobs.get(tx, job_id)
        jobs.fail(tx, _handling(state, job), job_id, data.lease, data.error, retry=data.retry)

    await transactions.write(fail)


def _handling(state: State, job: Job) -> Handling:
    handlings: Handlings = state.handlings
    if job.kind not in handlings:
        raise InvalidInput(f"no such kind of job: {job.kind}", where=f"job/{job.id}")
    return handlings[job.kind]


@get("/api/v1/events")
async def list_events(
    transactions: NamedDependency[Transactions],
    before: FromQuery[int | None] = None,
    subject: FromQuery[str | None] = None,
    limit: PageSize = 50,
) -> list[Event]:
    """Events, newest first; those of one subject oldest first."""
    if subject is not None:
        return await transactions.read(lambda tx: events.of_subject(tx, subject, limit=limit))
    return await transactions.read(lambda tx: events.recent(tx, before=before, limit=limit))


@post("/api/v1/audit/verify", status_code=200)
async def verify_audit(request: Request[Any, Any, Any], state: State) -> audit.AuditReport:  # noqa: ARG001
    """Verify the whole chain against its signed checkpoints."""
    return await asyncio.to_thread(state.verify_audit)


HANDLERS = [
    health, read_metrics, read_clock, move_clock, read_activity,
    list_jobs, claim_job, abandon_jobs, read_job, heartbeat, settle_job, fail_job,
    list_events, verify_audit,
]  # fmt: skip

AUTHORIZATION: dict[str, Role | None] = {
    "GET /health": None,
    "GET /metrics": Role.VIEWER,
    "GET /api": Role.VIEWER,
    "GET /api/{path}": Role.VIEWER,  # OpenAPI's own answer to what is not there
    "GET /api/openapi.json": Role.VIEWER,
    "GET /api/v1/clock": Role.VIEWER,
    "PUT /api/v1/clock": Role.ADMIN,
    "GET /api/v1/activity": Role.VIEWER,
    "GET /api/v1/jobs": Role.VIEWER,
    "GET /api/v1/jobs/{job_id}": Role.VIEWER,
    "POST /api/v1/jobs/claim": Role.SYSTEM,
    "POST /api/v1/jobs/abandon": Role.SYSTEM,
    "POST /api/v1/jobs/{job_id}/heartbeat": Role.SYSTEM,
    "POST /api/v1/jobs/{job_id}/settle": Role.SYSTEM,
    "POST /api/v1/jobs/{job_id}/fail": Role.SYSTEM,
    "GET /api/v1/events": Role.VIEWER,
    "POST /api/v1/audit/verify": Role.VIEWER,
}
