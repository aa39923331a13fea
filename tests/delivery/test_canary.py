from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from tests.delivery.conftest import Traffic, declaration, declare

from headrace.delivery import canary, history, releases, tables
from headrace.delivery.machine import Phase, ReportGates, ReportStaging
from headrace.delivery.nouns import OpenRelease, Release, ReleaseAction, ReleaseCommand
from headrace.kernel import events, jobs
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Tx
from headrace.kernel.sqlite import SqliteDatabase
from headrace.project.rollout import Canary
from headrace.registry import stages
from headrace.serving import reports, routing
from headrace.serving import tables as serving_tables
from headrace.serving.nouns import GatewayReport, Signal, SignalledUnit, Trip

OpenTo = Callable[[int], Release]


def look(database: SqliteDatabase, release: Release) -> Release:
    """Passes of the loop until nothing is to be done; a step that began gets its evidence in a second one."""
    for _ in range(2):
        if database.read(canary.is_needed):
            database.write(canary.evaluate_open, actor="system")
    assert not database.read(canary.is_needed)
    return database.read(lambda tx: releases.get(tx, release.id))


def test_a_first_version_needs_299_clean_units_and_the_minimum_time(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, release_to_traffic: OpenTo
) -> None:
    release = release_to_traffic(1)
    traffic.report(release, 1, units=298)
    clock.advance(timedelta(minutes=5))
    assert look(churn, release).phase is Phase.ROLLING_OUT
    traffic.report(release, 1, units=299)
    release = look(churn, release)
    assert release.phase is Phase.COOLING
    production = churn.read(lambda tx: stages.production(tx, "churn"))
    assert production is not None
    assert production.number == 1
    clock.advance(timedelta(minutes=59))
    assert look(churn, release).phase is Phase.COOLING
    clock.advance(timedelta(minutes=1))
    assert look(churn, release).phase is Phase.COMPLETED


def test_evidence_without_the_minimum_time_holds(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, release_to_traffic: OpenTo
) -> None:
    release = release_to_traffic(1)
    traffic.report(release, 1, units=5000)
    assert look(churn, release).phase is Phase.ROLLING_OUT
    clock.advance(timedelta(seconds=-100))
    assert look(churn, release).phase is Phase.ROLLING_OUT
    clock.advance(timedelta(seconds=110))
    assert look(churn, release).phase is Phase.COOLING


def test_time_without_evidence_holds(churn: SqliteDatabase, clock: ManualClock, release_to_traffic: OpenTo) -> None:
    release = release_to_traffic(1)
    clock.advance(timedelta(days=30))
    assert look(churn, release).phase is Phase.ROLLING_OUT


def test_steps_advance_and_the_evidence_is_kept(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    complete(1)
    release = release_to_traffic(2)
    traffic.report(release, 1, units=6000)
    traffic.report(release, 2, units=320)
    clock.advance(timedelta(seconds=10))
    release = look(churn, release)
    assert (release.state.step, release.state.weight_percent) == (1, 100)
    (evidence, following) = release.canary
    assert (evidence.challenger.units, evidence.champion.units, evidence.verdict) == (320, 6000, "ADVANCE")
    assert {found.verdict for found in evidence.signals.values()} == {"ADVANCE"}
    faults = evidence.signals[Signal.FAULTS]
    assert faults.within_tolerance >= faults.needed
    assert following.challenger.units == 0
    route = churn.read(lambda tx: routing.get(tx, "churn"))
    assert (route.champion, route.challenger, route.weight_percent, route.step) == (1, 2, 100.0, 1)


def test_a_faulty_challenger_goes_back_by_itself(
    churn: SqliteDatabase, traffic: Traffic, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    complete(1)
    release = release_to_traffic(2)
    traffic.report(release, 1, units=60)
    traffic.report(release, 2, units=4, failed=4)
    release = look(churn, release)
    assert release.phase is Phase.ROLLED_BACK
    assert "more often than the split explains" in release.reason
    route = churn.read(lambda tx: routing.get(tx, "churn"))
    assert (route.champion, route.challenger) == (1, None)


@pytest.mark.parametrize(
    ("signal", "told"),
    [
        ("invalid outputs", {"invalid_units": 6}),
        ("fallbacks", {"fallback_units": 6}),
        ("slow answers", {"slow_units": 40}),
    ],
)
def test_each_signal_takes_a_version_back_and_is_named(
    churn: SqliteDatabase,
    traffic: Traffic,
    complete: OpenTo,
    release_to_traffic: OpenTo,
    signal: str,
    told: dict[str, int],
) -> None:
    complete(1)
    release = release_to_traffic(2)
    traffic.report(release, 1, units=760, slow_units=38)
    traffic.report(release, 2, units=40, slow_units=2)
    assert look(churn, release).phase is Phase.ROLLING_OUT
    more: dict[str, Any] = {"slow_units": 2} | told
    traffic.report(release, 2, units=41, **more)
    release = look(churn, release)
    assert release.phase is Phase.ROLLED_BACK
    assert release.reason == f"{signal} fall on the challenger more often than the split explains"


def test_a_signal_that_is_not_judged_takes_nothing_back(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, release_to_traffic: OpenTo
) -> None:
    lenient = Canary([100], invalid_tolerance=None, fallback_tolerance=None, slow_tolerance=None)
    declare(churn, declaration(rollout=lenient))
    release = release_to_traffic(1)
    traffic.report(release, 1, units=400, invalid_units=99, fallback_units=99, slow_units=99)
    clock.advance(timedelta(minutes=5))
    assert look(churn, release).phase is Phase.COOLING


def test_the_champions_latency_is_fixed_in_the_route_when_a_step_begins(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    declare(churn, declaration(rollout=Canary([5, 100], minimum_time="10s", slow_from_ms=0)))
    complete(1)
    release = release_to_traffic(2)
    limit = churn.read(lambda tx: routing.get(tx, "churn")).slow_us
    assert limit is not None
    assert 100 <= limit <= 109  # what it was measured at, to a bucket
    assert release.slow_us == limit
    traffic.report(release, 1, units=11_400, slow_units=570, latency_us=900)
    traffic.report(release, 2, units=600, slow_units=30)
    clock.advance(timedelta(seconds=9))
    assert look(churn, release).slow_us == limit  # while the step lasts, whatever the champion does
    clock.advance(timedelta(seconds=1))
    release = look(churn, release)
    assert release.state.step == 1
    assert release.slow_us is not None
    assert 900 <= release.slow_us <= 990
    assert churn.read(lambda tx: routing.get(tx, "churn")).slow_us == release.slow_us


def test_what_nobody_waits_for_is_not_slow(
    churn: SqliteDatabase, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    """A model in its plain form takes ten times as long as one in its faster form, and both take no time."""
    complete(1)
    assert release_to_traffic(2).slow_us == 10_000


def test_a_version_that_is_slow_only_when_its_champion_is_goes_on(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    """A machine under load makes both slow: that says nothing of either."""
    complete(1)
    release = release_to_traffic(2)
    traffic.report(release, 1, units=9500, slow_units=4750)
    traffic.report(release, 2, units=500, slow_units=250)
    clock.advance(timedelta(seconds=10))
    assert look(churn, release).state.step == 1


def test_latency_is_not_judged_while_nothing_is_known_of_the_champions(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    complete(1)
    churn.write(lambda tx: tx.execute(sa.delete(serving_tables.counters)), actor="system")
    release = release_to_traffic(2)
    assert release.slow_us is None
    traffic.report(release, 1, units=6000)
    traffic.report(release, 2, units=320)
    clock.advance(timedelta(seconds=10))
    release = look(churn, release)
    assert release.state.step == 1
    assert release.slow_us is not None
    assert set(release.canary[0].signals) == {Signal.FAULTS, Signal.INVALID_OUTPUTS, Signal.FALLBACKS}


def test_two_gateways_that_see_the_same_broken_units_are_no_more_evidence_than_one(
    churn: SqliteDatabase, traffic: Traffic, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    """Bad customers who happen to be on the challenger fail there every time, whichever gateway they meet."""
    complete(1)
    release = release_to_traffic(2)
    signalled = tuple(SignalledUnit(signal=Signal.FAULTS, unit=unit) for unit in (1, 2))
    for gateway in ("g1", "g2", "g3"):
        traffic.report(release, 1, units=60, gateway=gateway)
        traffic.report(release, 2, units=2, named=(1, 2), signalled=signalled, gateway=gateway)
    release = look(churn, release)
    assert release.phase is Phase.ROLLING_OUT
    assert (release.canary[0].challenger.failed_units, release.canary[0].challenger.units) == (2, 8)
    four = tuple(SignalledUnit(signal=Signal.FAULTS, unit=unit) for unit in (1, 2, 3, 4))
    traffic.report(release, 2, units=3, signalled=four, gateway="g2")
    assert look(churn, release).phase is Phase.ROLLED_BACK


def test_units_that_failed_in_an_earlier_step_are_no_new_evidence_of_harm_but_hold_up_the_next(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    declare(churn, declaration(rollout=Canary([5, 50, 100], minimum_time="10s")))
    complete(1)
    release = release_to_traffic(2)
    units = tuple(SignalledUnit(signal=Signal.FAULTS, unit=unit) for unit in range(24))
    traffic.report(release, 1, units=94_000, signalled=units[1:])
    traffic.report(release, 2, units=5_000, signalled=units[:1])
    clock.advance(timedelta(seconds=10))
    release = look(churn, release)
    assert release.state.step == 1
    traffic.report(release, 1, units=300)
    traffic.report(release, 2, units=300, signalled=units)
    clock.advance(timedelta(seconds=10))
    release = look(churn, release)
    assert (release.phase, release.state.step) == (Phase.ROLLING_OUT, 1)
    evidence = release.canary[-1]
    assert (evidence.challenger.failed_units, evidence.challenger.again) == (24, {Signal.FAULTS: 24})
    assert evidence.signals[Signal.FAULTS].worse_than_champion < 1.5


def test_evidence_survives_control_being_started_again(
    churn: SqliteDatabase, traffic: Traffic, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    """All there is are counts in tables: a control process that knows nothing comes to the same verdict."""
    complete(1)
    release = release_to_traffic(2)
    traffic.report(release, 1, units=60)
    traffic.report(release, 2, units=3, failed=2)
    before = look(churn, release)
    forgotten = msgspec.structs.replace(before, canary=())
    churn.write(lambda tx: tables.put_release(tx, forgotten), actor="system")
    assert look(churn, release).canary == before.canary
    traffic.report(release, 2, units=5, failed=4)
    assert look(churn, release).phase is Phase.ROLLED_BACK


def test_faults_while_cooling_go_back_too(
    churn: SqliteDatabase, traffic: Traffic, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    complete(1)
    release = release_to_traffic(2)
    promote = ReleaseCommand(command=ReleaseAction.PROMOTE)
    release = churn.write(lambda tx: releases.command(tx, release.id, promote), actor="op")
    traffic.report(release, 2, units=100, failed=50)
    assert look(churn, release).phase is Phase.ROLLED_BACK
    production = churn.read(lambda tx: stages.production(tx, "churn"))
    assert production is not None
    assert production.number == 1


def test_looking_again_changes_nothing_and_writes_no_event(
    churn: SqliteDatabase, traffic: Traffic, release_to_traffic: OpenTo
) -> None:
    release = release_to_traffic(1)
    traffic.report(release, 1, units=100)
    once = look(churn, release)
    head = churn.read(events.head)
    for _ in range(5):
        churn.write(canary.evaluate_open, actor="system")
    assert churn.read(events.head) == head
    assert churn.read(lambda tx: releases.get(tx, release.id)) == once


def test_a_paused_release_does_not_advance_until_resumed(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, release_to_traffic: OpenTo
) -> None:
    release = release_to_traffic(1)
    pause, resume = (ReleaseCommand(command=action) for action in (ReleaseAction.PAUSE, ReleaseAction.RESUME))
    churn.write(lambda tx: releases.command(tx, release.id, pause), actor="op")
    traffic.report(release, 1, units=400)
    clock.advance(timedelta(minutes=5))
    assert look(churn, release).phase is Phase.ROLLING_OUT
    churn.write(lambda tx: releases.command(tx, release.id, resume), actor="op")
    assert look(churn, release).phase is Phase.COOLING


def test_a_gateways_breaker_is_a_verdict(
    churn: SqliteDatabase, clock: ManualClock, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    complete(1)
    release = release_to_traffic(2)
    report = GatewayReport(
        gateway="g1",
        boot="b2",
        booted_at=clock.now(),
        url="http://127.0.0.1:1",
        applied_sequence=9,
        trips=(
            Trip(model="churn", version=2, release_id=release.id, step=0, consecutive_faults=5, at=clock.now()),
        ),
    )
    churn.write(lambda tx: reports.record(tx, report), actor="system")
    release = look(churn, release)
    assert (release.phase, release.reason) == (Phase.ROLLED_BACK, "gateway g1 saw 5 faults in a row")


def test_a_clock_that_was_set_back_begins_the_time_of_the_step_anew(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic
) -> None:
    declare(churn, declaration(approval=None))
    clock.advance(timedelta(days=365))  # it was a year ahead when the step began

    def prove(tx: Tx) -> Release:
        release = releases.open_release(tx, OpenRelease(model="churn", number=1))
        releases.execute(tx, release.id, ReportGates(attempt=1, passed=True))
        return releases.execute(tx, release.id, ReportStaging(attempt=2, passed=True))

    release = churn.write(prove, actor="cy")
    clock.advance(timedelta(days=-365))
    traffic.report(release, 1, units=5000)
    held = look(churn, release)
    assert held.step_started_at == clock.now()
    said = f"the clock was set back, so the time on this step began anew at {clock.now():%Y-%m-%d %H:%M}"
    assert held.canary[-1].reason.endswith(said)
    clock.advance(timedelta(seconds=9))
    assert look(churn, release).phase is Phase.ROLLING_OUT
    clock.advance(timedelta(seconds=1))
    assert look(churn, release).phase is Phase.COOLING


def test_a_grant_that_a_clock_set_back_dates_later_than_now_promotes_nothing(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, release_to_traffic: OpenTo
) -> None:
    clock.advance(timedelta(days=365))
    release = release_to_traffic(1)
    clock.advance(timedelta(days=-365))
    traffic.report(release, 1, units=5000)
    assert look(churn, release).step_started_at == clock.now()
    clock.advance(timedelta(minutes=5))
    held = look(churn, release)
    assert (held.phase, held.state.paused) == (Phase.ROLLING_OUT, True)
    assert "dated later than now: a clock was set back" in held.reason


def test_a_clock_that_jumps_ahead_promotes_nothing_without_evidence(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, release_to_traffic: OpenTo
) -> None:
    release = release_to_traffic(1)
    traffic.report(release, 1, units=298)
    clock.advance(timedelta(days=3650))
    assert look(churn, release).phase is Phase.ROLLING_OUT


def test_a_release_that_cannot_be_read_holds_up_no_other(
    churn: SqliteDatabase, traffic: Traffic, release_to_traffic: OpenTo
) -> None:
    """One model's row was written by a later program; another model's version fails and must be taken back."""
    release = release_to_traffic(1)
    traffic.report(release, 1, units=20, failed=20)
    strange = {"phase": "hovering", "state": {}}
    churn.write(
        lambda tx: tx.execute(
            sa.insert(tables.releases).values(
                workspace="another",
                id="rel_0",
                model="other",
                number=1,
                digest="",
                phase="rolling_out",
                is_open=True,
                opened_at=tx.now - timedelta(days=1),
                undone=False,
                document=strange,
            )
        ),
        actor="system",
    )
    assert churn.read(canary.is_needed)
    churn.write(canary.evaluate_open, actor="system")
    assert churn.read(lambda tx: releases.get(tx, release.id)).phase is Phase.ROLLED_BACK
    with pytest.raises(msgspec.ValidationError):  # and once nobody waits, it is told
        churn.read(canary.is_needed)


def asked(database: SqliteDatabase) -> list[str]:
    return [
        event.subject
        for event in database.read(lambda tx: events.after(tx, 0, limit=10_000))
        if event.type == "delivery.release_asked"
    ]


def test_a_step_without_a_verdict_asks_a_person_once_and_goes_on_all_the_same(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    declare(churn, declaration(rollout=Canary([5, 100], ask_after="2h"), alerts=["ops"]))
    complete(1)
    release = release_to_traffic(2)
    traffic.report(release, 1, units=1000)
    traffic.report(release, 2, units=50)
    clock.advance(timedelta(minutes=119))
    assert not look(churn, release).state.asked
    clock.advance(timedelta(minutes=1))
    release = look(churn, release)
    assert (release.phase, release.state.step, release.state.asked) == (Phase.ROLLING_OUT, 0, True)
    assert release.reason.startswith("no verdict after 2h: the evidence on faults, invalid outputs and fallbacks ")
    clock.advance(timedelta(days=3))
    release = look(churn, release)
    assert asked(churn) == [f"release/{release.id}"]
    message = churn.read(lambda tx: jobs.by_key(tx, f"notify/release/{release.id}/asked/0/ops"))
    assert message is not None
    assert b"headrace release churn --do promote" in bytes(message.payload)
    traffic.report(release, 1, units=20_000)
    traffic.report(release, 2, units=1000)
    release = look(churn, release)
    assert (release.state.step, release.state.asked) == (1, False)
    assert churn.read(lambda tx: history.of_release(tx, release.id)).agrees


def test_who_was_asked_may_promote(
    churn: SqliteDatabase, clock: ManualClock, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    complete(1)
    release = release_to_traffic(2)
    clock.advance(timedelta(days=1))
    assert look(churn, release).state.asked
    promote = ReleaseCommand(command=ReleaseAction.PROMOTE, reason="the traffic is too thin to tell")
    promoted = churn.write(lambda tx: releases.command(tx, release.id, promote), actor="op")
    assert (promoted.phase, promoted.state.asked) == (Phase.COOLING, False)


def test_a_paused_step_asks_nobody(
    churn: SqliteDatabase, clock: ManualClock, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    complete(1)
    release = release_to_traffic(2)
    pause = ReleaseCommand(command=ReleaseAction.PAUSE)
    churn.write(lambda tx: releases.command(tx, release.id, pause), actor="op")
    clock.advance(timedelta(days=9))
    assert not look(churn, release).state.asked
