"""A/B tests and bandits as releases: what workers count decides, and what cannot be trusted asks a person."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from tests.delivery.conftest import Traffic, declaration, declare

from headrace.delivery import canary, experiments, history, releases, settling, tables
from headrace.delivery.experiment_nouns import ArmRewards, ExperimentEvidence, Measured, MeasureRequest
from headrace.delivery.kinds import MEASURE
from headrace.delivery.machine import Phase, Reallocated
from headrace.delivery.nouns import Release, ReleaseAction, ReleaseCommand
from headrace.kernel import business_time, events, jobs
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Tx
from headrace.kernel.jobs import Job
from headrace.kernel.sqlite import SqliteDatabase
from headrace.project.experiments import ABTest, Bandit
from headrace.project.rollout import Canary
from headrace.project.shadow import Shadow
from headrace.registry import stages
from headrace.serving import routing

pytestmark = pytest.mark.both_databases

OpenTo = Callable[[int], Release]
Begin = Callable[..., Release]
HANDLINGS = {handling.kind.name: handling for handling in settling.HANDLINGS}


@pytest.fixture
def test(churn: SqliteDatabase, complete: OpenTo, release_to_traffic: OpenTo) -> Begin:
    """Version 2 beside version 1, in an A/B test or a bandit that was declared from the beginning."""

    def begin(kind: type[ABTest] | type[Bandit] = ABTest, **declared: Any) -> Release:
        declare(churn, declaration(rollout=Canary([100], minimum_time="1s", cooling="1h")))
        complete(1)
        shadow = {"shadow": declared.pop("shadow")} if "shadow" in declared else {}
        fields: dict[str, Any] = {"reward": "purchase", "missing": 0.0, "minimum_time": "7d"} | declared
        declare(churn, declaration(rollout=kind(**fields), approval=None, **shadow))
        return release_to_traffic(2)

    return begin


def look(database: SqliteDatabase, release: Release) -> Release:
    for _ in range(3):
        database.write(canary.evaluate_open, actor="system")
    assert not database.read(canary.is_needed)
    return database.read(lambda tx: releases.get(tx, release.id))


def claim(database: SqliteDatabase) -> Job | None:
    return database.write(lambda tx: jobs.claim(tx, "worker-1", (MEASURE.name,)), actor="system")


def settle(database: SqliteDatabase, job: Job, measured: Measured) -> None:
    database.write(
        lambda tx: jobs.settle(tx, HANDLINGS[MEASURE.name], job.id, job.lease or "", msgspec.to_builtins(measured)),
        actor="system",
    )


def new(units: int, ones: int, *, step: int = 0, **changes: Any) -> ArmRewards:
    """So many units of the challenger with a mature reward, so many of which are 1."""
    facts: dict[str, Any] = {
        "units": units,
        "mature": units,
        "arrived": ones,
        "rewards": units,
        "total": ones,
        "squares": ones,
        "ends": units,
        "beyond": 0,
    }
    return ArmRewards(step=step, challenger=True, **(facts | changes))


def old(units: int, ones: int, **changes: Any) -> ArmRewards:
    """The same of the champion."""
    return msgspec.structs.replace(new(units, ones, **changes), challenger=False)


def measure(database: SqliteDatabase, clock: ManualClock, *arms: ArmRewards, took_s: float = 0.5) -> MeasureRequest:
    """Control asks, a worker counts."""
    clock.advance(timedelta(seconds=11))
    assert database.read(experiments.is_due)
    database.write(experiments.ask, actor="system")
    job = claim(database)
    assert job is not None
    settle(database, job, Measured(until=clock.now(), arms=arms, took_s=took_s))
    return msgspec.json.decode(job.payload, type=MeasureRequest)


def seen(release: Release) -> ExperimentEvidence:
    assert release.experiment is not None
    return release.experiment


def test_the_better_version_is_promoted_by_itself_after_the_minimum_time(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, test: Begin
) -> None:
    release = test()
    assert (release.state.plan.steps, release.state.weight_percent) == ((50, 100), 50)
    assert look(churn, release).canary[-1].reason == "no rewards have been counted yet"
    request = measure(churn, clock, new(4000, 400), old(4000, 240))
    assert (request.reward, request.missing, request.matures_after_s) == ("purchase", 0.0, 86_400.0)
    held = look(churn, release)
    assert (held.phase, held.state.step) == (Phase.ROLLING_OUT, 0)
    assert held.canary[-1].verdict == "ADVANCE"
    clock.advance(timedelta(days=7))
    release = look(churn, held)
    assert (release.state.step, release.state.weight_percent) == (1, 100)
    assert release.canary[0].reason.startswith("it is shown to bring more than version 1: purchase +0.04 (")
    found = seen(release)
    assert (found.challenger_mean, found.champion_mean) == (0.1, 0.06)
    assert found.difference == pytest.approx(0.04)
    assert 0.0 < found.difference_low < 0.04 < found.difference_high
    assert found.better >= found.needed == 40.0
    assert found.split < 1
    traffic.report(release, 2, units=400)
    clock.advance(timedelta(minutes=1))
    release = look(churn, release)
    assert release.phase is Phase.COOLING  # at 100 % it is watched as any canary is
    assert churn.read(lambda tx: stages.production(tx, "churn")).number == 2  # type: ignore[union-attr]
    assert churn.read(lambda tx: history.of_release(tx, release.id)).agrees


def test_the_worse_version_goes_back_at_once(churn: SqliteDatabase, clock: ManualClock, test: Begin) -> None:
    release = test()
    measure(churn, clock, new(4000, 240), old(4000, 400))
    release = look(churn, release)
    assert release.phase is Phase.ROLLED_BACK
    assert "bring less than version 1: purchase -0.04" in release.reason


def test_the_signals_of_the_canary_guard_it(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, test: Begin
) -> None:
    release = test()
    measure(churn, clock, new(4000, 400), old(4000, 240))
    traffic.report(release, 1, units=400)
    traffic.report(release, 2, units=400, failed=40)
    release = look(churn, release)
    assert release.phase is Phase.ROLLED_BACK
    assert release.reason.startswith("faults")


def test_faults_alone_do_not_promote(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, test: Begin
) -> None:
    release = test()
    traffic.report(release, 1, units=40_000)
    traffic.report(release, 2, units=40_000)
    measure(churn, clock, new(4000, 300), old(4000, 300))
    clock.advance(timedelta(days=8))
    assert look(churn, release).state.step == 0
    clock.advance(timedelta(days=22))
    asked = look(churn, release)
    assert (asked.state.asked, asked.state.paused) == (True, False)
    assert "neither is shown to bring more" in asked.reason


def test_a_clock_that_stands_or_was_set_back_is_named_as_what_is_waited_for(
    churn: SqliteDatabase, clock: ManualClock, test: Begin
) -> None:
    release = test()
    measure(churn, clock, new(40, 2, mature=20), old(40, 2))
    assert "business time" not in seen(look(churn, release)).reason
    churn.write(lambda tx: business_time.move(tx, datetime(1997, 8, 1, tzinfo=UTC)), actor="ana")
    measure(churn, clock, new(40, 2, mature=20), old(40, 2))
    reason = seen(look(churn, release)).reason
    assert reason.startswith("neither is shown to bring more")
    assert reason.endswith(
        "business time is replayed and stands at 1997-08-01 00:00: nothing becomes due until it is"
        " moved on (headrace clock)"
    )
    measure(churn, clock, new(40, 0, mature=0, rewards=0, ahead=30), old(40, 0, mature=0, rewards=0))
    reason = seen(look(churn, release)).reason
    assert "is mature yet; business time is replayed" in reason
    assert "before 30 of them" in reason


def test_a_loss_is_better_when_it_is_lower_and_has_its_own_unit(
    churn: SqliteDatabase, clock: ManualClock, test: Begin
) -> None:
    """Minutes until delivery, between 0 and 60: a mean of 15 against one of 30."""
    release = test(reward="minutes", lower_is_better=True, range=(0, 60), missing=None, minimum_time="0s")
    some = {"arrived": 900, "rewards": 900, "ends": 10}
    measure(
        churn,
        clock,
        new(1000, 0, total=225.0, squares=100.0, **some),
        old(1000, 0, total=450.0, squares=300.0, **some),
    )
    release = look(churn, release)
    assert release.state.step == 1
    found = seen(release)
    assert (found.challenger_mean, found.champion_mean) == (15.0, 30.0)
    assert found.difference == pytest.approx(-15.0)
    assert found.difference_low < -15.0 < found.difference_high < 0.0
    assert found.better_probability > 0.99
    assert found.arrival is not None
    assert found.arrival < 1.0


def test_a_margin_lets_a_version_through_that_is_hardly_worse(
    churn: SqliteDatabase, clock: ManualClock, test: Begin
) -> None:
    release = test(margin=0.05, minimum_time="0s")
    measure(churn, clock, new(4000, 395), old(4000, 400))
    assert look(churn, release).state.step == 1


def test_a_wrong_split_takes_no_verdict_waits_for_a_person_and_names_causes(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, test: Begin
) -> None:
    release = test(minimum_time="0s")
    measure(churn, clock, new(3600, 400), old(4000, 240))
    release = look(churn, release)
    assert (release.state.step, release.state.paused, release.state.waited) == (0, True, True)
    assert "3,600 of 7,600 units are the challenger's where the shares say 3,800" in release.reason
    assert "callers pin a version" in release.reason
    assert (seen(release).problem, seen(release).verdict) == ("split", "HOLD")
    assert len(churn.read(lambda tx: events.after(tx, 0, types=["delivery.release_asked"]))) == 1
    resume = ReleaseCommand(command=ReleaseAction.RESUME)
    churn.write(lambda tx: releases.command(tx, release.id, resume), actor="op")
    held = look(churn, release)  # it is still so: no verdict, and nobody is asked twice
    assert (held.state.step, held.state.paused) == (0, False)
    traffic.report(release, 1, units=400)
    traffic.report(release, 2, units=400, failed=40)
    assert look(churn, release).phase is Phase.ROLLED_BACK  # harm is harm


@pytest.mark.parametrize("share", [0.47, 0.52])
@pytest.mark.parametrize("ones", [0.001, 0.02, 0.5, 0.97])
def test_a_split_that_is_hardly_wrong_is_found_before_it_passes_for_a_difference(
    churn: SqliteDatabase, clock: ManualClock, test: Begin, share: float, ones: float
) -> None:
    release = test(minimum_time="0s")
    for units in range(1_000, 40_000, 1_500):
        mine = round(share * units)
        theirs = units - mine
        measure(churn, clock, new(mine, max(1, round(ones * mine))), old(theirs, max(1, round(ones * theirs))))
        release = look(churn, release)
        assert (release.phase, release.state.step, seen(release).verdict) == (Phase.ROLLING_OUT, 0, "HOLD")
        if seen(release).problem == "split":
            return
    raise AssertionError("the split was never found")


def test_rewards_that_do_not_come_as_often_take_no_verdict(
    churn: SqliteDatabase, clock: ManualClock, test: Begin
) -> None:
    release = test(missing=None, minimum_time="0s")
    mine = new(4000, 400, arrived=2000, rewards=2000, ends=2000)
    measure(churn, clock, mine, old(4000, 240, arrived=3000, rewards=3000, ends=3000))
    release = look(churn, release)
    assert (release.state.paused, seen(release).problem) == (True, "arrival")
    assert "2,000 of 4,000 units of the challenger have a reward and 3,000 of 4,000" in release.reason


def test_rewards_that_are_late_on_one_arm_only_hold_until_they_have_come(
    churn: SqliteDatabase, clock: ManualClock, test: Begin
) -> None:
    release = test(missing=None, minimum_time="0s")
    theirs = old(4000, 240, arrived=3000, rewards=3000, ends=3000)
    measure(churn, clock, new(4000, 300, arrived=2830, rewards=2830, ends=2830), theirs)
    held = look(churn, release)  # it looks better, and may only look so
    assert (held.state.step, held.state.paused, seen(held).problem) == (0, False, None)
    assert "may not be split" in held.canary[-1].reason
    measure(churn, clock, new(4000, 300, arrived=2000, rewards=2000, ends=2000), theirs)
    held = look(churn, release)
    assert (held.state.paused, seen(held).problem) == (True, "arrival")
    measure(churn, clock, new(4000, 400, arrived=3010, rewards=3010, ends=3010), theirs)
    held = look(churn, release)  # they have come: it may be trusted, once the person who was asked says so
    assert (held.state.step, held.state.paused, seen(held).problem) == (0, True, None)
    resume = ReleaseCommand(command=ReleaseAction.RESUME)
    churn.write(lambda tx: releases.command(tx, release.id, resume), actor="op")
    assert look(churn, release).state.weight_percent == 100


def test_where_a_missing_reward_has_a_value_fewer_that_come_are_the_result(
    churn: SqliteDatabase, clock: ManualClock, test: Begin
) -> None:
    release = test()
    measure(churn, clock, new(4000, 240), old(4000, 400))
    assert look(churn, release).experiment.arrival is None  # type: ignore[union-attr]


def test_one_count_is_under_way_at_a_time_and_costly_ones_are_seldom(
    churn: SqliteDatabase, clock: ManualClock, test: Begin
) -> None:
    test()
    churn.write(experiments.ask, actor="system")
    first = claim(churn)
    assert first is not None
    clock.advance(timedelta(minutes=9))
    assert not churn.read(experiments.is_due)
    clock.advance(timedelta(minutes=1))
    assert churn.read(experiments.is_due)  # nothing was heard of it
    churn.write(experiments.ask, actor="system")
    churn.write(experiments.ask, actor="system")
    settle(churn, first, Measured(until=clock.now(), arms=(new(10, 1),), took_s=1.0))
    assert not churn.read(experiments.is_due)  # what is late is no word on the newer one
    second = claim(churn)
    assert second is not None
    assert claim(churn) is None
    settle(churn, second, Measured(until=clock.now(), arms=(new(20, 1),), took_s=60.0))
    clock.advance(timedelta(minutes=19))
    assert not churn.read(experiments.is_due)
    clock.advance(timedelta(minutes=1))
    assert churn.read(experiments.is_due)
    clock.advance(timedelta(days=-30))
    assert churn.read(experiments.is_due)  # the clock was set back


def test_a_release_that_a_later_program_wrote_stops_no_count(
    churn: SqliteDatabase, test: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = test()
    found, ids = tables.find_release, tables.ids_in_phases

    def find(tx: Tx, release_id: str, *, lock: bool = False) -> Release | None:
        if release_id == "rel_later":
            raise msgspec.ValidationError("Invalid value 'roulette'")
        return found(tx, release_id, lock=lock)

    monkeypatch.setattr(tables, "find_release", find)
    monkeypatch.setattr(tables, "ids_in_phases", lambda tx, phases: (("default", "rel_later"), *ids(tx, phases)))
    assert churn.read(experiments.is_due)
    churn.write(experiments.ask, actor="system")
    job = claim(churn)
    assert job is not None
    assert msgspec.json.decode(job.payload, type=MeasureRequest).release_id == release.id


def test_a_count_that_failed_is_made_again_and_is_no_evidence(
    churn: SqliteDatabase, clock: ManualClock, test: Begin
) -> None:
    release = test()
    measure(churn, clock, new(100, 10), old(100, 10))
    before = look(churn, release)
    clock.advance(timedelta(seconds=11))
    churn.write(experiments.ask, actor="system")
    job = claim(churn)
    assert job is not None
    handling = HANDLINGS[MEASURE.name]
    churn.write(lambda tx: jobs.fail(tx, handling, job.id, job.lease or "", "no disk", retry=False), actor="system")
    assert look(churn, release).experiment == before.experiment
    assert not churn.read(experiments.is_due)
    clock.advance(timedelta(minutes=10))
    assert churn.read(experiments.is_due)


def test_control_that_forgot_everything_comes_to_the_same_evidence(
    churn: SqliteDatabase, clock: ManualClock, test: Begin
) -> None:
    release = test()
    measure(churn, clock, new(1000, 90), old(1000, 60))
    before = look(churn, release)
    forgotten = msgspec.structs.replace(before, canary=(), experiment=None)
    churn.write(lambda tx: tables.put_release(tx, forgotten), actor="system")
    assert look(churn, release) == before
    head = churn.read(events.head)
    churn.write(canary.evaluate_open, actor="system")
    assert churn.read(events.head) == head


def test_control_that_ends_while_a_worker_counts_takes_its_word_all_the_same(
    churn: SqliteDatabase, clock: ManualClock, test: Begin
) -> None:
    """Nothing of a test is in memory: what is asked, counted and judged are rows, each written at once or not."""
    release = test(Bandit)
    measure(churn, clock, new(200, 22), old(200, 18))
    clock.advance(timedelta(minutes=11))
    churn.write(experiments.ask, actor="system")
    job = claim(churn)
    assert job is not None
    release = look(churn, release)  # the share moves while it is counted, and then control ends
    assert release.state.step == 1
    forgotten = msgspec.structs.replace(release, canary=(), experiment=None)
    churn.write(lambda tx: tables.put_release(tx, forgotten), actor="system")
    assert not churn.read(experiments.is_due)
    settle(churn, job, Measured(until=clock.now(), arms=(new(220, 25), old(220, 19)), took_s=1.0))
    after = look(churn, release)
    assert (seen(after).challenger_units, seen(after).champion_units) == (220, 220)
    assert after.state == release.state  # the worker has seen nothing of the new share, but that moves it no more
    assert churn.read(lambda tx: history.of_release(tx, release.id)).agrees


def test_a_bandit_counts_each_share_for_itself_after_a_restart(
    churn: SqliteDatabase, clock: ManualClock, test: Begin
) -> None:
    release = test(Bandit)
    arms: tuple[ArmRewards, ...] = ()
    for step, ones in enumerate((22, 10, 30)):
        clock.advance(timedelta(minutes=11))
        weight = release.state.weight_percent / 100
        units = round(400 * weight), 400 - round(400 * weight)
        arms += new(units[0], ones, step=step), old(units[1], round(18 * (1 - weight) * 2), step=step)
        measure(churn, clock, *arms)
        release = look(churn, release)
        assert release.state.step == step + 1
        forgotten = msgspec.structs.replace(release, canary=(), experiment=None)
        churn.write(lambda tx, kept=forgotten: tables.put_release(tx, kept), actor="system")  # type: ignore[misc]
        again = look(churn, release)
        assert (again.experiment, again.state) == (release.experiment, release.state)
    shares = [step / 100 for step in release.state.plan.steps[:3]]
    assert len(set(shares)) == 3
    assert seen(release).challenger_expected == pytest.approx(sum(400 * share for share in shares))


def test_a_shadow_comes_first_and_brings_nobody_anything(churn: SqliteDatabase, test: Begin) -> None:
    release = test(ramp=[5], shadow=Shadow(units=1))
    assert release.state.plan.steps == (0, 5, 50, 100)
    assert not churn.read(experiments.is_due)


def test_units_of_the_ramp_count_with_its_share(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, test: Begin
) -> None:
    release = test(ramp=[5])
    assert churn.read(experiments.is_due)
    traffic.report(release, 1, units=6000)
    traffic.report(release, 2, units=320)
    clock.advance(timedelta(minutes=1))
    release = look(churn, release)
    assert (release.state.step, release.state.weight_percent) == (1, 50)
    measure(
        churn,
        clock,
        new(320, 30, step=0),
        old(6000, 500, step=0),
        new(1000, 90, step=1),
        old(1000, 90, step=1),
    )
    found = seen(look(churn, release))
    assert found.challenger_expected == pytest.approx(6320 * 0.05 + 2000 * 0.5)
    assert (found.challenger_units, found.champion_units, found.split < 1.0) == (1320, 7000, True)


def test_a_bandit_moves_its_share_and_each_share_is_a_step(
    churn: SqliteDatabase, clock: ManualClock, test: Begin
) -> None:
    release = test(Bandit, every="10m", floor=10)
    measure(churn, clock, new(200, 22), old(200, 18))
    assert look(churn, release).state.step == 0  # not yet
    clock.advance(timedelta(minutes=10))
    measure(churn, clock, new(200, 22), old(200, 18))
    release = look(churn, release)
    wanted = seen(release).wanted_percent
    assert wanted is not None
    assert 60 < wanted < 90
    assert (release.state.plan.steps, release.state.step) == ((50, wanted, 100), 1)
    assert "it is the better one by purchase" in release.reason
    route = churn.read(lambda tx: routing.get(tx, "churn"))
    assert (route.weight_percent, route.step, route.challenger) == (wanted, 1, 2)
    clock.advance(timedelta(minutes=20))
    assert look(churn, release).state.step == 1  # the same evidence moves it once
    more = new(900, 120, step=1), old(300, 18, step=1)
    measure(churn, clock, new(200, 22), old(200, 18), *more)
    release = look(churn, release)
    assert (release.state.plan.steps, release.state.step) == ((50, wanted, 90, 100), 2)  # the floor of the other
    told = churn.read(lambda tx: history.of_release(tx, release.id))
    assert told.agrees
    assert sum(isinstance(step.happened, Reallocated) for step in told.steps) == 2


def test_a_bandit_promotes_what_is_shown_to_be_better_and_asks_in_the_end(
    churn: SqliteDatabase, clock: ManualClock, test: Begin
) -> None:
    release = test(Bandit, ask_after="2d")
    clock.advance(timedelta(days=1))
    measure(churn, clock, new(200, 22), old(200, 18))
    release = look(churn, release)
    assert release.state.step == 1
    clock.advance(timedelta(days=1))
    release = look(churn, release)
    assert release.state.asked  # counted from the beginning, however often the share moved
    clock.advance(timedelta(days=5))
    weight = release.state.weight_percent / 100
    units = round(8000 * weight), round(8000 * (1 - weight))
    best = new(units[0], units[0] // 8, step=1), old(units[1], units[1] // 16, step=1)
    measure(churn, clock, new(200, 22), old(200, 18), *best)
    release = look(churn, release)
    assert release.state.weight_percent == 100
    assert "bring more than version 1" in release.canary[-2].reason


def test_a_bandit_whose_test_cannot_be_trusted_moves_nothing(
    churn: SqliteDatabase, clock: ManualClock, test: Begin
) -> None:
    release = test(Bandit)
    clock.advance(timedelta(minutes=20))
    measure(churn, clock, new(3600, 400), old(4000, 340))
    release = look(churn, release)
    assert (release.state.step, release.state.paused) == (0, True)


def test_a_first_version_has_nobody_to_be_compared_with(
    churn: SqliteDatabase, clock: ManualClock, release_to_traffic: OpenTo
) -> None:
    declare(churn, declaration(rollout=ABTest(reward="purchase")))
    assert release_to_traffic(1).state.plan.steps == (100,)
    assert not churn.read(experiments.is_due)


def test_what_it_will_find_is_told_before_and_again_with_what_was_seen(
    churn: SqliteDatabase, clock: ManualClock, test: Begin
) -> None:
    release = test(find=0.02)
    outlook = release.foresight[0].reward
    assert outlook is not None
    assert (outlook.basis, release.foresight[1].reward) == ("assumed", None)
    (before,) = outlook.differences
    assert before.difference == pytest.approx(0.02)
    assert before.seconds is None
    measure(churn, clock, new(1000, 52), old(1000, 50))
    after = seen(look(churn, release)).outlook
    assert after is not None
    assert after.basis == "seen"
    assert before.units is not None
    assert after.differences[0].units is not None
    assert after.differences[0].units < before.units / 2  # conversions of 5 % spread far less than they could
