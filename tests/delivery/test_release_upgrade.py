"""The program is upgraded while an approval waits: what the program before has stored is read, and goes on.

The rows below are what the first program wrote. They stay as they are: every later program must read them.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from tests.delivery.world import World

from headrace.delivery import history, tables
from headrace.delivery.machine import Phase
from headrace.kernel import tables as kernel_tables
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database, Tx

pytestmark = pytest.mark.both_databases

POLICY = {
    "declared_at": "project.py:31",
    "checks": [],
    "search": None,
    "gates": [
        {"kind": "at_least", "metric": "roc_auc", "value": 0.7, "alpha": 0.05, "declared_at": "project.py:33"},
        {
            "kind": "not_worse_than_production",
            "metric": "roc_auc",
            "margin": 0.005,
            "alpha": 0.05,
            "declared_at": "project.py:33",
        },
    ],
    "staging": {"kind": "replay", "rows": 50, "declared_at": "project.py:34"},
    "approval": {"role": "approver", "four_eyes": True, "expires": "7d", "declared_at": "project.py:35"},
    "rollout": {
        "kind": "canary",
        "steps": [5, 50, 100],
        "tolerance": 0.01,
        "alpha": 0.05,
        "minimum_time": "10s",
        "cooling": "1h",
        "declared_at": "project.py:36",
    },
    "monitors": [
        {
            "kind": "drift",
            "every": "0 0 1 * *",
            "alpha": 0.01,
            "minimum_distance": 0.1,
            "declared_at": "project.py:37",
        }
    ],
    "retrain": {"on": ["drift"], "cohorts": "month", "cooldown": "40d", "declared_at": "project.py:38"},
    "alerts": [],
}
WAITING = {
    "id": "rel_2",
    "model": "churn",
    "number": 2,
    "digest": "sha256:0",
    "champion": 1,
    "cohort": None,
    "state": {
        "plan": {"gates": True, "staging": True, "approval": True, "steps": [5, 50, 100]},
        "phase": "awaiting_approval",
        "paused": False,
        "attempt": 3,
        "approval_open": True,
        "step": None,
        "reason": "PASS",
    },
    "policy": POLICY,
    "declared": POLICY,
    "canary": [],
    "pipeline_id": None,
    "opened_by": "cy",
    "opened_at": "2026-01-01T02:00:00Z",
    "step_started_at": None,
    "updated_at": "2026-01-01T02:00:00Z",
    "ended_at": None,
}
CANARY = {
    "step": 0,
    "weight_percent": 5,
    "started_at": "2026-01-01T00:00:00Z",
    "judged_at": "2026-01-01T01:00:00Z",
    "challenger": {"requests": 9, "faults": 0, "units": 9, "failed_units": 0, "latency_us_sum": 100},
    "champion": {"requests": 100, "faults": 0, "units": 100, "failed_units": 0, "latency_us_sum": 0},
    "verdict": "HOLD",
    "reason": "9 of 299 clean requests",
    "needed": 20.0,
    "worse_than_champion": 1.0,
    "above_tolerance": 0.0,
    "within_tolerance": 1.5,
}
ROLLING = WAITING | {
    "state": WAITING["state"] | {"phase": "rolling_out", "attempt": 4, "approval_open": False, "step": 0},  # type: ignore[operator]
    "canary": [CANARY],
    "step_started_at": "2026-01-01T02:00:00Z",
}
HAPPENED = [
    {"event": "release_opened", "plan": WAITING["state"]["plan"], "reason": ""},  # type: ignore[index]
    {"event": "release_gates_passed", "reason": "PASS; PASS"},
    {"event": "release_staging_passed", "reason": "PASS"},
    {"event": "release_approved", "reason": "read"},
    {"event": "release_step_started", "step": 0, "reason": ""},
]
OPTIONAL = {
    "cohort", "declared", "canary", "pipeline_id", "step_started_at", "ended_at", "paused", "reason", "declared_at",
}  # fmt: skip
"""Fields that a program before the first one did not write, as it were."""


def as_it_was(document: Any) -> Any:
    return document


def with_more(document: Any) -> Any:
    """As a later program may write it: every object has a field that nobody here knows."""
    if isinstance(document, dict):
        return {key: with_more(value) for key, value in document.items()} | {"of_tomorrow": {"deep": [1]}}
    return [with_more(each) for each in document] if isinstance(document, list) else document


def with_less(document: Any) -> Any:
    """As an earlier program may have written it."""
    if isinstance(document, dict):
        empty: tuple[Any, ...] = (None, [], False, "")
        return {
            key: with_less(value)
            for key, value in document.items()
            if key not in OPTIONAL or (value not in empty and key != "declared_at")
        }
    return [with_less(each) for each in document] if isinstance(document, list) else document


def store(world: World, document: Any, changed: Callable[[Any], Any]) -> None:
    """Put a row that another program wrote in the place of the last release's, with the names of this world."""
    release = world.last()
    assert release is not None
    mine = document | {"id": release.id, "digest": release.digest, "opened_by": release.opened_by}

    def work(tx: Tx) -> None:
        update = sa.update(tables.releases).where(tables.releases.c.id == release.id)
        tx.execute(update.values(document=changed(mine)))
        rows = sa.update(kernel_tables.events).where(kernel_tables.events.c.subject == f"release/{release.id}")
        for happened in HAPPENED:
            payload = msgspec.json.encode({"happening": changed(happened)}).decode()
            kind = f"delivery.{happened['event']}"
            tx.execute(rows.where(kernel_tables.events.c.type == kind).values(payload=payload))

    world.write(work)


@pytest.mark.parametrize("changed", [as_it_was, with_more, with_less])
def test_a_release_that_waits_for_its_approval_goes_on(
    database: Database, clock: ManualClock, changed: Callable[[Any], Any]
) -> None:
    world = World(database, clock, "default").begin()
    world.deliver(1)
    world.open(2)
    while (release := world.last()) is not None and release.phase is not Phase.AWAITING_APPROVAL:
        world.go_on()
    store(world, WAITING, changed)
    world.answer(grant=True)
    world.hear()
    finish(world)


@pytest.mark.parametrize("changed", [as_it_was, with_more, with_less])
def test_a_rollout_goes_on_with_its_evidence(
    database: Database, clock: ManualClock, changed: Callable[[Any], Any]
) -> None:
    world = World(database, clock, "default").begin()
    world.deliver(1)
    world.open(2)
    while (release := world.last()) is not None and release.phase is not Phase.ROLLING_OUT:
        world.go_on()
    store(world, ROLLING, changed)
    release = world.last()
    assert release is not None
    assert release.canary[0].challenger.units == 9
    finish(world)


def finish(world: World) -> None:
    while (release := world.last()) is not None and not release.state.final:
        world.go_on()
    assert release is not None
    assert release.phase is Phase.COMPLETED
    told = world.read(lambda tx: history.of_release(tx, release.id))
    assert [step.happened.__struct_config__.tag for step in told.steps][:2] == [
        "release_opened",
        "release_gates_passed",
    ]
    assert told.agrees
    assert world.roll_back(expected=2).now == 1
