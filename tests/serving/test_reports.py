"""Reports: counts that add up over gateways and boots, whatever is repeated, reordered or restarted."""

import itertools
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import START

from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database
from headrace.serving import reports, tables
from headrace.serving.distinct import unit_hash
from headrace.serving.latencies import bucket
from headrace.serving.nouns import Counts, GatewayReport, LoadedVersion, Route, Signal, SignalledUnit, VersionCounts

pytestmark = pytest.mark.both_databases


def counted(
    requests: int, faults: int = 0, *, release_id: str | None = "rel_1", step: int | None = 0
) -> VersionCounts:
    return VersionCounts(
        model="churn",
        version=2,
        release_id=release_id,
        step=step,
        requests=requests,
        faults=faults,
        units=requests,
        failed_units=faults,
        latency_us_sum=10 * requests,
    )


def report(*counts: VersionCounts, gateway: str = "gateway-1", boot: str = "boot-1", **more: Any) -> GatewayReport:
    given_values: dict[str, Any] = {"booted_at": START, "url": "http://127.0.0.1:8471", "applied_sequence": 1}
    return GatewayReport(gateway=gateway, boot=boot, counts=counts, **(given_values | more))


def record(database: Database, told: GatewayReport) -> None:
    database.write(lambda tx: reports.record(tx, told), actor="system-gateway-1")


def counts(database: Database, step: int = 0) -> Counts:
    return database.read(lambda tx: reports.counts(tx, "rel_1", step, 2))


def test_counts_add_up_over_gateways_and_boots(database: Database) -> None:
    assert counts(database) == Counts()
    record(database, report(counted(10, 1)))
    record(database, report(counted(5, 2), gateway="gateway-2"))
    record(database, report(counted(3), boot="boot-2", booted_at=START + timedelta(seconds=9)))
    assert counts(database) == Counts(requests=18, faults=3, units=18, failed_units=3, latency_us_sum=180)


def test_repeated_and_late_reports_change_nothing(database: Database) -> None:
    for told in (counted(10, 1), counted(20, 2), counted(20, 2), counted(10, 1)):
        record(database, report(told))
    assert (counts(database).requests, counts(database).faults) == (20, 2)


def test_steps_and_releases_are_counted_apart(database: Database) -> None:
    record(database, report(counted(10), counted(7, step=1), counted(99, release_id=None, step=None)))
    assert (counts(database, 0).requests, counts(database, 1).requests) == (10, 7)
    outside = database.read(lambda tx: reports.counts_outside_releases(tx, "churn", 2))
    assert outside.requests == 99


def test_a_gateways_state_is_that_of_its_newest_life(database: Database, clock: ManualClock) -> None:
    loaded = (LoadedVersion(model="churn", number=2), LoadedVersion(model="churn", number=3, error="a pickle"))
    record(database, report(boot="boot-2", booted_at=START + timedelta(seconds=9), loaded=loaded))
    record(database, report(counted(4)))  # an old process had one more to send
    (gateway,) = database.read(reports.gateways)
    assert (gateway.boot, gateway.last_seen) == ("boot-2", START)
    assert gateway.holds("churn", 2)
    assert not gateway.holds("churn", 3)
    assert counts(database).requests == 4


def test_a_gateway_that_starts_after_the_clock_was_set_back_is_heard(
    database: Database, clock: ManualClock
) -> None:
    record(database, report(boot="boot-1", booted_at=START))
    clock.advance(timedelta(days=-30))
    loaded = (LoadedVersion(model="churn", number=2),)
    record(database, report(boot="boot-2", booted_at=clock.now(), loaded=loaded))
    (gateway,) = database.read(reports.gateways)
    assert (gateway.boot, gateway.last_seen) == ("boot-2", clock.now())
    assert database.read(lambda tx: reports.held_everywhere(tx, "churn", 2))


def test_a_silent_gateway_is_not_alive(database: Database, clock: ManualClock) -> None:
    record(database, report(loaded=(LoadedVersion(model="churn", number=2),)))
    record(database, report(gateway="gateway-2"))
    assert not database.read(lambda tx: reports.held_everywhere(tx, "churn", 2))
    clock.advance(timedelta(seconds=4))
    record(database, report(loaded=(LoadedVersion(model="churn", number=2),)))
    clock.advance(timedelta(seconds=2))
    alive = database.read(lambda tx: reports.gateways(tx, alive_only=True))
    assert [gateway.name for gateway in alive] == ["gateway-1"]
    assert database.read(lambda tx: reports.held_everywhere(tx, "churn", 2))
    clock.advance(timedelta(seconds=10))
    assert not database.read(lambda tx: reports.held_everywhere(tx, "churn", 2))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_order_and_repetition_of_reports_gives_the_last_totals(database: Database, data: st.DataObject) -> None:
    release = f"rel_{data.draw(st.uuids())}"
    totals = {"gateway-1": 5, "gateway-2": 3}
    sent = [
        report(counted(number, number // 2, release_id=release), gateway=gateway)
        for gateway, last in totals.items()
        for number in range(1, last + 1)
    ]
    for told in data.draw(st.permutations(sent + sent[:2])):
        record(database, told)
    found = database.read(lambda tx: reports.counts(tx, release, 0, 2))
    assert (found.requests, found.faults) == (8, 3)


RELEASES = itertools.count()
"""Each example its own, in one database."""
UNITS = st.sampled_from([unit_hash("rel", str(number)) for number in range(8)])


def seen_by(
    gateway: str, boot: str, version: int, units: set[int], failed: set[int], release: str
) -> GatewayReport:
    """What a gateway tells that saw these units with a name, and one without."""
    told = VersionCounts(
        model="churn",
        version=version,
        release_id=release,
        step=0,
        requests=len(units) + 1,
        faults=len(failed),
        units=1,
        failed_units=0,
        named=tuple(sorted(units)),
        signalled=tuple(SignalledUnit(signal=Signal.FAULTS, unit=unit) for unit in sorted(failed)),
        latency_us_sum=0,
    )
    return report(told, gateway=gateway, boot=boot)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seen=st.lists(st.tuples(st.sets(UNITS), st.sets(UNITS)), min_size=1, max_size=4), data=st.data())
def test_a_unit_counts_once_whichever_gateways_and_lives_of_them_it_met(
    database: Database, seen: list[tuple[set[int], set[int]]], data: st.DataObject
) -> None:
    release = f"rel_{next(RELEASES)}"
    told = [
        seen_by(f"gateway-{place % 2}", f"boot-{place}", 2, units | failed, failed, release)
        for place, (units, failed) in enumerate(seen)
    ]
    for each in data.draw(st.permutations(told + told[:2])):
        record(database, each)
    found = database.read(lambda tx: reports.counts(tx, release, 0, 2))
    assert found.units == len(seen) + len(set.union(*(units | failed for units, failed in seen)))
    assert found.failed_units == len(set.union(*(failed for _, failed in seen)))


def test_a_unit_that_gave_a_signal_in_an_earlier_step_gives_it_again(database: Database) -> None:
    ana, ben = unit_hash("rel_1", "ana"), unit_hash("rel_1", "ben")
    for step, version, units in ((1, 2, (ana, ben)), (0, 1, (ana,))):  # the later step is told first
        signalled = tuple(SignalledUnit(signal=Signal.SLOW, unit=unit) for unit in units)
        told = msgspec.structs.replace(counted(5, step=step), version=version, signalled=signalled)
        record(database, report(told))
    first = database.read(lambda tx: reports.counts(tx, "rel_1", 0, 1))
    second = database.read(lambda tx: reports.counts(tx, "rel_1", 1, 2))
    assert (first.slow_units, first.again) == (1, {})
    assert (second.slow_units, second.again) == (2, {Signal.SLOW: 1})


def test_units_of_a_release_that_is_over_are_forgotten_and_its_counts_are_not(
    database: Database, clock: ManualClock
) -> None:
    signalled = (SignalledUnit(signal=Signal.FAULTS, unit=unit_hash("rel_1", "ana")),)
    told = msgspec.structs.replace(counted(5, 2), failed_units=0, signalled=signalled)
    record(database, report(told))

    def look() -> tuple[bool, int]:
        """As the loop does; whether something was stale, and how many units are known afterwards."""
        stale = database.read(reports.units_are_stale)
        database.write(reports.forget_units, actor="system")
        return stale, counts(database).failed_units

    route = Route(model="churn", champion=1, challenger=2, salt="s", release_id="rel_1", versions=(), sequence=1)
    database.write(lambda tx: tables.put_route(tx, route), actor="system")
    assert look() == (False, 1)
    clock.advance(reports.UNITS_KEPT + timedelta(seconds=1))
    assert look() == (False, 1)  # the release is open, however quiet
    over = msgspec.structs.replace(route, release_id=None, challenger=None, sequence=2)
    database.write(lambda tx: tables.put_route(tx, over), actor="system")
    assert look() == (True, 0)
    assert look() == (False, 0)
    assert (counts(database).requests, counts(database).faults) == (5, 2)
    record(database, report(told, boot="boot-2", booted_at=START + timedelta(seconds=9)))
    assert look() == (False, 1)  # it has counted just now


def test_names_that_did_not_change_stay_as_they_were(database: Database) -> None:
    record(database, report(msgspec.structs.replace(counted(1), units=0, named=(7, 9))))
    record(database, report(msgspec.structs.replace(counted(2), units=0)))
    assert (counts(database).requests, counts(database).units) == (2, 2)


def quantile(database: Database, release_id: str) -> int | None:
    return database.read(lambda tx: reports.latency_quantile_us(tx, "churn", 2, 0.95, release_id=release_id))


def test_a_latency_is_told_from_this_release_if_enough_was_measured_and_else_from_all(database: Database) -> None:
    def measured(release_id: str | None, rows: int, latency_us: int, gateway: str) -> None:
        told = counted(rows, release_id=release_id, step=None if release_id is None else 0)
        told = msgspec.structs.replace(told, latency_counts={bucket(latency_us): rows})
        record(database, report(told, gateway=gateway))

    measured(None, 150, 100, "gateway-1")
    assert quantile(database, "rel_1") is None
    measured(None, 50, 100, "gateway-2")
    measured("rel_1", 199, 1000, "gateway-1")
    whole = quantile(database, "rel_1")
    assert whole is not None
    assert 1000 <= whole < 1100
    assert quantile(database, "rel_9") == whole
    measured("rel_1", 800, 3000, "gateway-2")
    within = quantile(database, "rel_1")
    assert within is not None
    assert 3000 <= within < 3300


def test_fallbacks_of_a_version_that_is_not_even_asked_are_told(database: Database) -> None:
    told = msgspec.structs.replace(counted(5), fallbacks=1, fallback_units=1)
    record(database, report(told))
    record(database, report(msgspec.structs.replace(told, fallbacks=3, fallback_units=3)))
    record(database, report(told))
    found = counts(database)
    assert (found.requests, found.fallbacks, found.fallback_units) == (5, 3, 3)
