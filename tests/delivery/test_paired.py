"""Outcomes of the shadow's requests: they let a version go on, hold it or take it back, and are asked for anew."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.delivery.conftest import Traffic, declaration, declare
from tests.delivery.test_shadow import alike

from headrace.delivery import canary, history, paired, releases, settling
from headrace.delivery.kinds import COMPARE
from headrace.delivery.machine import Phase
from headrace.delivery.nouns import Release, ReleaseAction, ReleaseCommand
from headrace.delivery.paired_nouns import PairedRequest, PairedResult, QualityEvidence
from headrace.kernel import business_time, jobs
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Tx
from headrace.kernel.jobs import Job
from headrace.kernel.sqlite import SqliteDatabase
from headrace.project.paired import PairedLoss
from headrace.project.rollout import Canary
from headrace.project.shadow import Shadow
from headrace.serving import routing
from headrace.statistics.paired_losses import add_up

pytestmark = pytest.mark.both_databases

OpenTo = Callable[[int], Release]
HANDLING = next(handling for handling in settling.HANDLINGS if handling.kind is COMPARE)
LOOK = timedelta(seconds=20)


class Outcomes:
    """Control's look at the outcomes, and a worker that compares."""

    def __init__(self, database: SqliteDatabase, clock: ManualClock) -> None:
        self.database, self.clock = database, clock

    def ask(self) -> Job | None:
        if self.database.read(paired.is_due):
            self.database.write(paired.ask, actor="system")
        return self.database.write(lambda tx: jobs.claim(tx, "worker-1", [COMPARE.name]), actor="system")

    def settle(self, job: Job, result: PairedResult) -> None:
        self.database.write(
            lambda tx: jobs.settle(tx, HANDLING, job.id, job.lease or "", msgspec.to_builtins(result)),
            actor="system",
        )

    def compared(self, units: int, *, worse: float = 0.0, **more: Any) -> PairedRequest:
        """One comparison: on a tenth of the units the versions decide differently, `worse` is the difference."""
        job = self.ask()
        assert job is not None
        request = msgspec.json.decode(job.payload, type=PairedRequest)
        self.settle(job, result_of(request, units, worse=worse, **more))
        self.clock.advance(LOOK)
        return request

    def look(self, release: Release) -> Release:
        for _ in range(2):
            self.database.write(canary.evaluate_open, actor="system")
        assert not self.database.read(canary.is_needed)
        return self.database.read(lambda tx: releases.get(tx, release.id))


def result_of(request: PairedRequest, units: int, *, worse: float = 0.0, **more: Any) -> PairedResult:
    challenger, champion = np.zeros((2, units))
    challenger[: round(units * (0.05 + max(worse, 0.0)))] = 1.0
    champion[-round(units * (0.05 + max(-worse, 0.0))) or units :] = 1.0
    sums = add_up(challenger, champion, margin=request.quality.margin, bound=1.0, alpha=request.alpha)
    told = {name: getattr(sums, name) for name in sums.__dataclass_fields__}
    return PairedResult(release_id=request.release_id, number=request.number, **(told | more))


@pytest.fixture
def outcomes(churn: SqliteDatabase, clock: ManualClock) -> Outcomes:
    return Outcomes(churn, clock)


@pytest.fixture
def begin(
    churn: SqliteDatabase, clock: ManualClock, traffic: Traffic, complete: OpenTo, release_to_traffic: OpenTo
) -> Callable[..., Release]:
    """Version 2 in shadow, with all that the shadow needs but the outcomes."""

    def work(*, steps: tuple[int, ...] = (5, 100), **declared: Any) -> Release:
        quality = PairedLoss(**{"loss": "error", "margin": 0.02, **declared})
        policy = declaration(
            shadow=Shadow(units=500, quality=quality), rollout=Canary(steps, minimum_time="10s", cooling="1h")
        )
        declare(churn, policy)
        complete(1)
        release = release_to_traffic(2)
        serve(traffic, release)
        clock.advance(timedelta(seconds=10))
        return release

    return work


def serve(traffic: Traffic, release: Release) -> None:
    """Traffic without a fault in the present step."""
    traffic.report(release, 1, units=5000)
    traffic.report(release, 2, units=5000, compared=alike(600))


def quality(release: Release) -> QualityEvidence:
    assert release.quality is not None
    return release.quality


def test_a_version_goes_on_once_its_outcomes_are_shown_not_to_be_worse(
    churn: SqliteDatabase, outcomes: Outcomes, begin: Callable[..., Release]
) -> None:
    release = begin()
    held = outcomes.look(release)
    assert (held.state.step, held.canary[0].verdict) == (0, "HOLD")
    assert "0 of about 2,608" in held.canary[0].reason
    outcomes.compared(300, waiting=900)
    held = outcomes.look(release)
    assert held.state.step == 0
    assert held.canary[0].reason.endswith("300 of about 5,105 units have an outcome, 900 wait for theirs")
    churn.write(lambda tx: business_time.move(tx, datetime(1997, 1, 1, tzinfo=UTC)), actor="ana")
    replayed = outcomes.look(release).canary[0].reason
    assert "business time is replayed and stands at 1997-01-01" in replayed
    outcomes.compared(300, waiting=900, ahead=900)
    assert "which is before 900 of them" in outcomes.look(release).canary[0].reason
    outcomes.compared(4000, waiting=7, unlabelled=40)
    gone_on = outcomes.look(release)
    assert (gone_on.state.step, gone_on.state.weight_percent) == (1, 5)
    seen = quality(gone_on)
    assert (seen.verdict, seen.units, seen.unlabelled, seen.waiting) == ("ADVANCE", 4000, 40, 7)
    assert (seen.champion_loss, seen.challenger_loss, seen.difference) == (0.05, 0.05, 0.0)
    assert seen.difference_low is not None
    assert seen.difference_high is not None
    assert -0.02 < seen.difference_low < 0.0 < seen.difference_high < 0.02
    assert seen.not_worse >= seen.needed == 20
    assert churn.read(lambda tx: history.of_release(tx, release.id)).agrees


def test_a_version_goes_back_once_its_outcomes_are_shown_to_be_worse(
    churn: SqliteDatabase, outcomes: Outcomes, begin: Callable[..., Release]
) -> None:
    release = begin()
    outcomes.compared(3000, worse=0.08)
    over = outcomes.look(release)
    assert (over.phase, over.reason) == (
        Phase.ROLLED_BACK,
        "the error is worse than production's by more than 0.02 on 3,000 units with an outcome (+0.08)",
    )
    assert quality(over).worse >= quality(over).harm_needed == 100  # four signals and the outcomes share alpha
    route = churn.read(lambda tx: routing.get(tx, "churn"))
    assert (route.champion, route.shadow) == (1, None)
    assert outcomes.ask() is None  # nothing more is compared


def test_a_difference_of_the_margin_holds_and_asks(
    clock: ManualClock, outcomes: Outcomes, begin: Callable[..., Release]
) -> None:
    release = begin()
    outcomes.compared(20_000, worse=0.02)
    assert (outcomes.look(release).phase, outcomes.look(release).state.step) == (Phase.ROLLING_OUT, 0)
    clock.advance(timedelta(days=1))
    assert outcomes.look(release).state.asked


@pytest.mark.parametrize("before", ["full_traffic", "nothing"])
def test_outcomes_that_come_later_hold_only_what_they_are_declared_to(
    outcomes: Outcomes, begin: Callable[..., Release], traffic: Traffic, clock: ManualClock, before: str
) -> None:
    release = begin(before=before, steps=(5, 50, 100))
    for step in (1, 2):
        release = outcomes.look(release)
        assert release.state.step == step
        serve(traffic, release)
        clock.advance(timedelta(seconds=10))
    release = outcomes.look(release)
    if before == "nothing":
        assert release.state.weight_percent == 100
        return
    assert (release.state.weight_percent, release.canary[2].verdict) == (50, "HOLD")
    outcomes.compared(4000)
    assert outcomes.look(release).state.weight_percent == 100


def test_before_full_traffic_is_the_shadow_where_there_is_no_share_between(
    outcomes: Outcomes, begin: Callable[..., Release]
) -> None:
    release = begin(before="full_traffic", steps=(100,))
    assert outcomes.look(release).state.step == 0
    outcomes.compared(4000)
    assert outcomes.look(release).state.weight_percent == 100


def test_outcomes_that_come_while_it_cools_take_it_back(
    churn: SqliteDatabase,
    outcomes: Outcomes,
    begin: Callable[..., Release],
    traffic: Traffic,
    clock: ManualClock,
) -> None:
    release = begin(before="nothing", steps=(100,))
    release = outcomes.look(release)
    assert release.state.weight_percent == 100
    traffic.report(release, 2, units=5000)
    clock.advance(timedelta(seconds=10))
    release = outcomes.look(release)
    assert release.phase is Phase.COOLING
    outcomes.compared(3000, worse=0.08)
    assert outcomes.look(release).phase is Phase.ROLLED_BACK
    assert churn.read(lambda tx: routing.get(tx, "churn")).champion == 1


def test_one_comparison_at_a_time_and_rests_between_them(
    churn: SqliteDatabase, clock: ManualClock, outcomes: Outcomes, begin: Callable[..., Release]
) -> None:
    begin()
    job = outcomes.ask()
    assert job is not None
    clock.advance(timedelta(hours=1))
    assert not churn.read(paired.is_due)
    request = msgspec.json.decode(job.payload, type=PairedRequest)
    assert (request.number, request.champion, request.challenger, request.step) == (1, 1, 2, 0)
    job = churn.write(lambda tx: jobs.claim(tx, "worker-2", [COMPARE.name]), actor="system")  # its lease has lapsed
    assert job is not None
    outcomes.settle(job, result_of(request, 100, took_s=9.0))
    clock.advance(timedelta(seconds=175))
    assert not churn.read(paired.is_due)  # a twentieth of a worker's time
    clock.advance(timedelta(seconds=10))
    assert outcomes.compared(200).number == 2
    clock.advance(timedelta(days=30))
    assert outcomes.compared(300).number == 3
    clock.advance(timedelta(minutes=14))
    assert not churn.read(paired.is_due)
    clock.advance(timedelta(minutes=1))
    assert churn.read(paired.is_due)


def test_a_comparison_that_fails_leaves_what_there_was_and_is_tried_again(
    churn: SqliteDatabase, clock: ManualClock, outcomes: Outcomes, begin: Callable[..., Release]
) -> None:
    release = begin()
    outcomes.compared(300)
    job = outcomes.ask()
    assert job is not None
    fail = partial(jobs.fail, handling=HANDLING, job_id=job.id, lease=job.lease or "", error="no disk\nat all")
    churn.write(lambda tx: fail(tx, retry=False), actor="system")
    seen = quality(outcomes.look(release))
    assert (seen.units, seen.problem) == (300, "no disk")
    clock.advance(timedelta(seconds=20))
    outcomes.compared(310)
    seen = quality(outcomes.look(release))
    assert (seen.units, seen.problem) == (310, "")


def test_a_comparison_that_was_cancelled_is_asked_for_anew(
    churn: SqliteDatabase, outcomes: Outcomes, begin: Callable[..., Release]
) -> None:
    release = begin()
    churn.write(paired.ask, actor="system")
    assert not churn.read(paired.is_due)
    key = f"{COMPARE.name}/{release.id}/1"
    assert churn.write(lambda tx: jobs.cancel(tx, key, "an admin"), actor="root")
    assert outcomes.compared(300).number == 2


def test_what_another_has_overtaken_is_dropped(
    churn: SqliteDatabase, outcomes: Outcomes, begin: Callable[..., Release]
) -> None:
    release = begin()
    first = outcomes.ask()
    assert first is not None
    outcomes.settle(first, result_of(msgspec.json.decode(first.payload, type=PairedRequest), 100))
    outcomes.clock.advance(LOOK)
    outcomes.compared(200)

    def come_late(tx: Tx) -> None:
        request = msgspec.json.decode(first.payload, type=PairedRequest)
        paired.settle(tx, first, result_of(request, 100))

    churn.write(come_late, actor="system")
    assert quality(outcomes.look(release)).units == 200


def test_corrected_labels_change_what_is_shown(outcomes: Outcomes, begin: Callable[..., Release]) -> None:
    release = begin()
    outcomes.compared(600, worse=0.05)
    before = quality(outcomes.look(release))
    outcomes.compared(600, worse=-0.05)
    after = quality(outcomes.look(release))
    assert [before.difference, after.difference] == pytest.approx([0.05, -0.05])
    assert after.worse < before.worse


def test_what_it_will_take_is_told_before_anything_is_known(begin: Callable[..., Release]) -> None:
    release = begin()
    seen = quality(release)
    assert (seen.assumed, seen.units, seen.matures_after_s) == (True, 0, 90 * 86_400)
    assert seen.to_go_on_units is not None
    assert 1000 < seen.to_go_on_units < 4000
    assert release.foresight[0].to_go_on_units == seen.to_go_on_units


def test_without_a_shadow_or_a_word_nothing_is_asked_for(
    churn: SqliteDatabase, outcomes: Outcomes, complete: OpenTo, release_to_traffic: OpenTo
) -> None:
    declare(churn, declaration(shadow=Shadow(units=1, quality=PairedLoss("error", 0.02))))
    first = release_to_traffic(1)  # nobody to compare with
    assert (first.quality, outcomes.ask()) == (None, None)
    churn.write(
        lambda tx: releases.command(tx, first.id, ReleaseCommand(command=ReleaseAction.ROLL_BACK)), actor="op"
    )
    declare(churn, declaration(shadow=Shadow(units=1)))
    complete(1)
    assert (release_to_traffic(2).quality, outcomes.ask()) == (None, None)
