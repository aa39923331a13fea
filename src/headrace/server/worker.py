"""A worker: takes one job at a time and one query beside it, keeps their leases, and hands in the results."""

import hashlib
import os
import shutil
import signal
import socket
import tempfile
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import NamedTuple, Self

import msgspec
import structlog

from headrace.client.transport import Transport, retry_quietly
from headrace.errors import HeadraceError, LeaseLost, NotFound, Unavailable
from headrace.kernel.blobs import open_blob_store
from headrace.kernel.jobs import Job, JobKind
from headrace.kernel.lake import open_lake
from headrace.kernel.settings import Settings
from headrace.kernel.work import Runner, WorkContext
from headrace.server.work_composition import RUNNERS
from headrace.serving.querying import QUERY

log = structlog.get_logger()

CLAIM_WAIT_S = 10.0
CONTROL_PATIENCE_S = 600.0
LAST_BEAT_S = 1.0
"""Seconds that a worker which must end still gives to a control that does not answer."""
LAST_JOB_S = 3.0
"""Seconds that it gives to a query's process to end and to its files to be removed."""


class Work(NamedTuple):
    """A kind of job and what does it."""

    kind: JobKind[msgspec.Struct, msgspec.Struct]
    run: Runner


class Pulse:
    """Renews a job's lease from a thread of its own, and carries the progress along."""

    def __init__(self, transport: Transport, job: Job) -> None:
        self._transport = transport
        self._job = job
        self._ended = threading.Event()
        self._lost = threading.Event()
        self._latest = (0.0, "")
        self._sent = self._latest
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(LAST_BEAT_S)  # a beat that waits for control to come back must not hold up the end

    def report(self, fraction: float, note: str) -> None:
        """Keep the progress for the next beat.

        Raises:
            LeaseLost: the job has passed to another worker.
        """
        if self._lost.is_set():
            raise LeaseLost("the lease on this job has passed on", where=f"job/{self._job.id}")
        self._latest = (fraction, note)

    def _beat(self) -> None:
        since_s = 0.0
        step_s = 0.25
        while not self._ended.wait(step_s):
            since_s += step_s
            if since_s < self._job.lease_s / 3 and self._latest == self._sent:
                continue
            since_s = 0.0
            self._sent = self._latest
            body = {"lease": self._job.lease, "fraction": self._sent[0], "note": self._sent[1]}
            try:
                path = f"/api/v1/jobs/{self._job.id}/heartbeat"
                self._transport.call("POST", path, body, returns=type(None), repeatable=True)
            except (LeaseLost, NotFound):
                self._lost.set()
                return
            except HeadraceError as problem:
                log.warning("heartbeat not taken", job=self._job.id, problem=str(problem))


class Worker:
    """The loop of one worker process."""

    def __init__(self, settings: Settings, name: str, works: Mapping[str, Work], transport: Transport) -> None:
        self._settings = settings
        self._name = name
        self._works = works
        self._transport = transport
        self._blobs = open_blob_store(settings.home, settings.blobs)
        self._lake = open_lake(settings.home)
        # of this worker alone, as its name is, so that it may remove what a former process of it left
        self.scratch = settings.home / "scratch" / hashlib.sha256(name.encode()).hexdigest()[:16]
        self._ending = threading.Event()
        self.idle = threading.Event()
        """Whether no job is under way."""
        self.idle.set()

    def end(self) -> None:
        """Stop, at the latest when the present job next says how far it is, and wait no longer for control."""
        self._ending.set()
        self._transport.patience_s = LAST_BEAT_S

    def serve(self) -> None:
        """Claim and do jobs until told to end."""
        claim = {"worker": self._name, "kinds": sorted(self._works), "wait_s": CLAIM_WAIT_S}
        self._transport.call("POST", "/api/v1/jobs/abandon", claim, returns=dict, repeatable=True)
        shutil.rmtree(self.scratch, ignore_errors=True)
        log.info("worker is ready", kinds=sorted(self._works))
        while not self._ending.is_set():
            try:
                # a claim whose answer is lost comes back to nobody until its lease lapses, so it is not repeated
                job = self._transport.call("POST", "/api/v1/jobs/claim", claim, returns=Job | None)  # type: ignore[arg-type]
            except Unavailable as problem:
                log.warning("control is away", problem=str(problem))
                self._ending.wait(0.2)
                self._abandon(claim)
                continue
            if job is not None:
                self._do(job)

    def _abandon(self, claim: Mapping[str, object]) -> None:
        """After a claim whose answer may have been lost, put back what it may have taken."""
        try:
            self._transport.call("POST", "/api/v1/jobs/abandon", claim, returns=dict, repeatable=True)
        except Unavailable:
            return

    def _do(self, job: Job) -> None:
        work = self._works[job.kind]
        self.scratch.mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix=f"{job.id}-", dir=self.scratch))
        self.idle.clear()
        log.info("job begins", job=job.id, kind=job.kind, attempt=job.attempt)
        try:
            with Pulse(self._transport, job) as pulse:
                result = self._run(work, job, directory, pulse)
            self._hand_in(job, "settle", {"lease": job.lease, "result": result})
            log.info("job is settled", job=job.id, kind=job.kind)
        except LeaseLost as problem:
            log.warning("job passed on", job=job.id, problem=str(problem))
        except HeadraceError as problem:
            retry = problem.status >= 500 and problem.code != "USER_CODE_ERROR"
            log.error("job failed", job=job.id, kind=job.kind, problem=str(problem), retry=retry)
            self._give_back(job, f"{problem.code}: {problem}", retry=retry)
        except Exception as error:
            log.error("job failed", job=job.id, kind=job.kind, exc_info=error)
            self._give_back(job, "".join(traceback.format_exception_only(error)).strip(), retry=True)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            self.idle.set()

    def _run(self, work: Work, job: Job, directory: Path, pulse: Pulse) -> msgspec.Struct:
        payload = msgspec.json.decode(job.payload, type=work.kind.payload)

        def report(fraction: float, note: str) -> None:
            if self._ending.is_set():
                raise LeaseLost("this worker ends", where=f"job/{job.id}")
            pulse.report(fraction, note)

        context = WorkContext(
            control=self._transport,
            blobs=self._blobs,
            lake=self._lake,
            settings=self._settings,
            business_now=job.business_now or job.enqueued_at,
            job=job,
            directory=directory,
            report_progress=report,
        )
        result: msgspec.Struct = work.run(context, payload)
        return result

    def _hand_in(self, job: Job, how: str, body: Mapping[str, object]) -> None:
        """Tell control of the outcome, however long it is away.

        The call is repeatable: if the first attempt arrived, the second is answered with LeaseLost.
        """
        self._transport.call("POST", f"/api/v1/jobs/{job.id}/{how}", body, returns=type(None), repeatable=True)

    def _give_back(self, job: Job, error: str, *, retry: bool) -> None:
        try:
            self._hand_in(job, "fail", {"lease": job.lease, "error": error, "retry": retry})
        except LeaseLost as problem:
            log.warning("job passed on", job=job.id, problem=str(problem))
        except HeadraceError as problem:  # its lease will lapse, and another attempt begins
            log.error("failure not taken", job=job.id, problem=str(problem))


def run(settings: Settings, name: str, _port: int) -> None:
    """Run one worker process until SIGTERM."""
    retry_quietly()
    transport = Transport(settings.url, settings.token, patience_s=CONTROL_PATIENCE_S)
    beside = Transport(settings.url, settings.token, patience_s=CONTROL_PATIENCE_S)
    works = {kind.name: Work(kind, runner) for kind, runner in RUNNERS}
    queries = {QUERY.name: works.pop(QUERY.name)}
    # control may serve the workers of several homes, and each takes back only what its own former self held
    full_name = f"{name}@{socket.gethostname()}:{settings.home}"
    workers = (
        Worker(settings, full_name, works, transport),
        Worker(settings, f"{full_name}#queries", queries, beside),
    )

    def end(_signal: int, _frame: FrameType | None) -> None:
        for worker in workers:
            worker.end()
        raise SystemExit(0)  # a job under way is done again by the next worker

    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=_serve_beside, args=(workers[1],), name="queries", daemon=True).start()
    try:
        workers[0].serve()
    finally:
        workers[1].idle.wait(LAST_JOB_S)


def _serve_beside(worker: Worker) -> None:
    """Answer queries beside the other work: they run in processes of their own, and must hold up nobody."""
    try:
        worker.serve()
    except BaseException:
        log.exception("no queries can be answered any more")
        os._exit(1)  # the supervisor starts another
