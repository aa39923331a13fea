"""kill -9 of each process at every boundary of a release, workers that are stopped, and an upgrade under way.

On SQLite and on PostgreSQL: nothing is lost, nothing happens twice.
"""

import json
import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from headrace.delivery.machine import Phase
from headrace.delivery.nouns import Release, ReleaseAction
from headrace.errors import Conflict, NotFound, Unavailable
from headrace.kernel.jobs import Job
from headrace.sdk.platform import Platform
from headrace.testing.platform import TemporaryPlatform, temporary_platform

from . import small_shop

pytestmark = pytest.mark.loop

MODEL = small_shop.MODEL
REFUSALS = (Conflict, NotFound)


class Shop(NamedTuple):
    """A platform with two versions of a small model, and who works there."""

    platform: TemporaryPlatform
    dana: Platform
    ravi: Platform
    olga: Platform


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The small shop, with two versions trained and none released."""
    folder = tmp_path_factory.mktemp("faults")
    with running(folder, "") as platform:
        yield open_shop(platform, folder)


def running(folder: Path, database: str) -> AbstractContextManager[TemporaryPlatform]:
    """A platform on what is in a folder, and in a PostgreSQL database if there is one."""
    environment = {"HEADRACE_WORKERS": "2"} | ({"HEADRACE_DATABASE": database} if database else {})
    return temporary_platform(folder / "home", environment, program=small_shop.IMPATIENT)


def open_shop(platform: TemporaryPlatform, folder: Path) -> Shop:
    dana = small_shop.open_shop(platform, small_shop.write(folder / "project"))
    for strength in (1.0, 0.5):
        small_shop.train(dana, strength)
    return Shop(platform, dana, platform.person("ravi", "approver"), platform.person("olga", "operator"))


def in_production(shop: Shop) -> int | None:
    return shop.platform.local.model(MODEL).production


def check(shop: Shop, release: Release) -> None:
    """One release did each thing once, and its events lead to what is stored."""
    told = shop.platform.local.release_history(release.id)
    assert told.agrees
    happened = Counter(type(step.happened).__name__ for step in told.steps)
    again = {name for name, count in happened.items() if count > 1} - {"StepStarted", "Paused", "Resumed"}
    assert not again, happened
    asked = [item for item in shop.platform.local.approvals() if item.release_id == release.id]
    assert sum(item.status in {"granted", "used"} for item in asked) == happened["Approved"]
    local = shop.platform.local
    evidence = [found for found in local.evidence(MODEL, release.number) if found.release_id == release.id]
    assert Counter(found.kind for found in evidence) == {
        kind: count for kind, count in (("gate", 2), ("staging", 1)) if passed(happened, kind)
    }
    production = in_production(shop)
    routes = local.transport.call("GET", "/api/v1/routes", returns=list[dict[str, object]])
    assert [route["champion"] for route in routes] == [production]


def passed(happened: Counter[str], kind: str) -> bool:
    return bool(happened["GatesPassed" if kind == "gate" else "StagingPassed"])


@pytest.mark.parametrize("victims", [("control",), ("worker", "gateway-1")], ids=str)
def test_a_release_survives_the_death_of_a_process_at_every_boundary(
    on_sqlite: Shop, victims: tuple[str, ...]
) -> None:
    deliver_among_deaths(on_sqlite, victims)


def test_postgresql_through_deaths_and_an_upgrade(tmp_path: Path, empty_postgresql: str) -> None:
    with running(tmp_path, empty_postgresql) as platform:
        shop = open_shop(platform, tmp_path)
        deliver_among_deaths(shop, ("control", "worker"))
        release = shop.dana.open_release(MODEL, 2)
        shop.dana.wait_for(
            lambda: shop.dana.release(release.id), lambda now: now.phase is Phase.AWAITING_APPROVAL, "staging"
        )
        assert not (tmp_path / "home" / "headrace.db").exists()
    write_as_another_program(empty_postgresql, release)
    with running(tmp_path, empty_postgresql) as platform:
        again = Shop(
            platform,
            platform.person("dora", "developer"),
            platform.person("rita", "approver"),
            platform.person("otto", "operator"),
        )
        ended = small_shop.deliver(platform, again.dana, again.ravi, 2)
        assert (ended.id, ended.phase) == (release.id, Phase.COMPLETED)
        check(again, ended)
        assert again.olga.roll_back(MODEL).now == 1


def write_as_another_program(database: str, release: Release) -> None:
    """Store the release with a field that this program does not know, and without those that may be missing."""
    with psycopg.connect(database, autocommit=True) as server:
        row = server.execute("SELECT document FROM delivery_releases WHERE id = %s", (release.id,)).fetchone()
        assert row is not None
        document = json.loads(row[0]) | {"of_tomorrow": {"deep": [1]}}
        for name in ("canary", "cohort", "declared", "step_started_at", "ended_at"):
            del document[name]
        del document["state"]["step"], document["state"]["paused"]
        server.execute(
            "UPDATE delivery_releases SET document = %s WHERE id = %s", (json.dumps(document), release.id)
        )


def deliver_among_deaths(shop: Shop, victims: tuple[str, ...]) -> None:
    before = in_production(shop)
    number = 2 if before == 1 else 1  # the two versions take turns

    ended = small_shop.deliver(shop.platform, shop.dana, shop.ravi, number, victims=victims)

    assert ended.phase is Phase.COMPLETED, ended.reason
    assert in_production(shop) == number
    if before is not None:
        assert shop.platform.local.version(MODEL, before).stage == "Archived"
    check(shop, ended)
    report = shop.platform.local.verify_audit()
    assert report.verified, report.problems


def test_a_worker_that_is_stopped_past_its_lease_changes_nothing_when_it_goes_on(on_sqlite: Shop) -> None:
    shop = on_sqlite
    release, job, stopped = stop_a_worker_at_work(shop)
    try:
        let_lapse(shop, job)
        done = shop.dana.wait_for(lambda: shop.dana.job(job.id), lambda now: now.state == "done", "the other")
        assert (done.attempt, done.leased_by) != (job.attempt, job.leased_by)
        other = shop.dana.wait_for(
            lambda: shop.dana.release(release.id), lambda now: now.phase is not Phase.GATING, "the gates"
        )
        assert other.phase in {Phase.STAGING, Phase.AWAITING_APPROVAL}
    finally:
        os.kill(stopped, signal.SIGCONT)
    name = str(job.leased_by).partition("@")[0]
    log = shop.platform.launched.home / "logs" / f"{name}.log"
    shop.dana.wait_for(log.read_text, lambda text: is_refused(text, job), "the stopped worker to be refused")
    shop.dana.wait_for(
        lambda: shop.dana.release(release.id), lambda now: now.phase is Phase.AWAITING_APPROVAL, "staging"
    )
    check(shop, shop.olga.command_release(release.id, ReleaseAction.ABORT, "enough was seen"))


def refused(log: str, job: Job) -> bool:
    """Whether a worker's log tells that its result was not taken."""
    return any("job passed on" in line and job.id in line for line in log.splitlines())


def let_lapse(shop: Shop, job: Job) -> None:
    """What half a minute would do."""
    with closing(sqlite3.connect(shop.platform.launched.home / "headrace.db", isolation_level=None)) as database:
        database.execute("UPDATE jobs SET leased_until = 0 WHERE id = ?", (job.id,))


def is_refused(log: str, job: Job) -> bool:
    """Whether a worker's log tells that its result was not taken."""
    return any("job passed on" in line and job.id in line for line in log.splitlines())


def stop_a_worker_at_work(shop: Shop) -> tuple[Release, Job, int]:
    """A release whose gates a worker was computing when it was stopped, the job, and the worker's process."""
    number = 2 if in_production(shop) == 1 else 1
    for _ in range(10):
        release = shop.dana.open_release(MODEL, number)
        key = f"delivery.gates/{release.id}/1"
        job = shop.dana.wait_for(
            lambda key=key: next((job for job in shop.dana.jobs(5) if job.key == key), None),  # type: ignore[misc]
            lambda found: found is not None and found.state != "queued",
            "a worker",
        )
        assert job is not None
        stopped = shop.platform.launched.processes()[str(job.leased_by).partition("@")[0]].pid
        os.kill(stopped, signal.SIGSTOP)
        if shop.dana.job(job.id).state == "leased":
            return release, job, stopped
        os.kill(stopped, signal.SIGCONT)
        shop.olga.command_release(release.id, ReleaseAction.ABORT, "the worker was too fast")
    raise AssertionError("no worker could be stopped at work")


def test_whoever_commands_at_once_while_control_dies(on_sqlite: Shop) -> None:
    """Over HTTP, each with a connection of its own."""
    shop = on_sqlite
    ends = time.monotonic() + 6

    def somebody(number: int) -> None:
        choice = random.Random(number)
        while time.monotonic() < ends:
            with suppress(*REFUSALS, Unavailable):
                act(shop, choice)

    people = [threading.Thread(target=somebody, args=(number,)) for number in range(6)]
    for person in people:
        person.start()
    for _ in range(2):
        time.sleep(2)
        shop.platform.launched.kill("control")
    for person in people:
        person.join()

    local = shop.platform.local
    opened = [release for release in local.releases(MODEL) if not release.state.final]
    assert len(opened) <= 1
    for release in local.releases(MODEL):
        assert local.release_history(release.id).agrees
    for release in opened:
        ending = ReleaseAction.ROLL_BACK if release.phase in {"rolling_out", "cooling"} else ReleaseAction.ABORT
        shop.olga.command_release(release.id, ending, "the test is over")
    local.settle()
    route = local.transport.call("GET", "/api/v1/routes", returns=list[dict[str, object]])
    assert [one["champion"] for one in route] == [in_production(shop)]
    stages = Counter(str(version.stage) for version in local.model(MODEL).versions)
    assert stages["Production"] == 1
    report = local.verify_audit()
    assert report.verified, report.problems


def act(shop: Shop, choice: random.Random) -> None:
    """Something that somebody does."""
    acts: list[Callable[[], object]] = [
        lambda: shop.dana.open_release(MODEL, choice.randint(1, 2)),
        lambda: [shop.ravi.decide(item.id, grant=True) for item in shop.ravi.approvals("requested")],
        lambda: shop.olga.roll_back(MODEL),
        lambda: shop.olga.roll_back(MODEL, to=choice.randint(1, 2)),
        *[lambda: command(shop, choice)] * 4,
    ]
    choice.choice(acts)()


def command(shop: Shop, choice: random.Random) -> None:
    for release in shop.olga.releases(MODEL)[:1]:
        shop.olga.command_release(release.id, choice.choice(list(ReleaseAction)), "because")
