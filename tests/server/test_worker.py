"""A worker that is told to end does so, also while control is away."""

import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from headrace.client.transport import Transport, retry_quietly
from headrace.errors import LeaseLost, Unavailable
from headrace.kernel.jobs import Job
from headrace.kernel.settings import Settings
from headrace.kernel.work import WorkContext
from headrace.server.worker import CONTROL_PATIENCE_S, Pulse, Work, Worker

PATIENCE_S = 20.0
"""Long for what shall be over in a second or two, and far below what a worker waits for control otherwise."""

JOB = Job(
    id="job_1",
    kind="test.bake",
    payload=msgspec.Raw(b"{}"),
    actor="ana",
    workspace="default",
    state="leased",
    attempt=1,
    max_attempts=3,
    enqueued_at=datetime(2026, 1, 1, tzinfo=UTC),
    lease="lease",
    lease_s=0.1,
)


@pytest.fixture
def away() -> Transport:
    """To a control that is not there."""
    retry_quietly()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Transport(f"http://127.0.0.1:{port}", patience_s=CONTROL_PATIENCE_S)


def ends(work: Callable[[], object]) -> bool:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    return not thread.is_alive()


def test_the_end_of_a_job_does_not_wait_for_a_heartbeat(away: Transport) -> None:
    def work() -> None:
        with Pulse(away, JOB) as pulse:
            pulse.report(0.5, "half")
            threading.Event().wait(1.0)  # a beat is under way now

    assert ends(work)


def test_a_worker_that_must_end_does_not_wait_for_control(away: Transport, tmp_path: Path) -> None:
    worker = Worker(Settings(home=tmp_path), "worker-1", {}, away)
    heard: list[Unavailable] = []

    def work() -> None:
        worker.end()
        try:
            away.call("POST", "/api/v1/runs/kill", {}, returns=dict)  # what users' code leaves behind is tidied up
        except Unavailable as problem:
            heard.append(problem)

    assert ends(work)
    assert heard


def test_a_job_of_a_worker_that_must_end_ends_when_it_says_how_far_it_is(away: Transport, tmp_path: Path) -> None:
    def bake(ctx: WorkContext, _: object) -> None:
        assert not worker.idle.is_set()
        ctx.progress(0.5)
        worker.end()
        try:
            ctx.progress(0.6)
        except LeaseLost as problem:
            heard.append(problem)
            raise
        raise AssertionError("the job goes on")

    heard: list[LeaseLost] = []
    kind: Any = SimpleNamespace(payload=dict)
    worker = Worker(Settings(home=tmp_path), "worker-1", {JOB.kind: Work(kind, bake)}, away)
    worker._do(JOB)
    assert heard
    assert worker.idle.is_set()
    assert not list(worker.scratch.iterdir())


def test_a_worker_removes_what_its_former_self_left_and_nothing_of_others(tmp_path: Path) -> None:
    class Control(Transport):
        def call(self, *_: object, **__: object) -> Any:
            return {}

    def worker(name: str) -> Worker:
        return Worker(Settings(home=tmp_path), name, {}, Control("http://nowhere"))

    for name in ("worker-1", "worker-2"):
        left = worker(name).scratch / "job_1-x" / "spill"
        left.mkdir(parents=True)
    again = worker("worker-1")
    again.end()
    again.serve()
    assert not worker("worker-1").scratch.exists()
    assert (worker("worker-2").scratch / "job_1-x" / "spill").exists()
