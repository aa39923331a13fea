"""A release on the terminal says where it stands, what its steps can show, and what a person can do."""

from datetime import UTC, datetime
from io import StringIO

import msgspec
import pytest
from rich.console import Console

from headrace.cli.overview import _standing
from headrace.cli.releases import show_release
from headrace.delivery.machine import Phase, ReleasePlan, ReleaseState
from headrace.delivery.nouns import (
    Comparison,
    Detectable,
    Foresight,
    Release,
    SignalEvidence,
    StepEvidence,
    Waits,
)
from headrace.delivery.paired_nouns import QualityEvidence
from headrace.project.experiments import ABTest
from headrace.project.policy import DeliveryPolicy
from headrace.project.rollout import Canary
from headrace.serving.nouns import Counts, Signal

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RELEASE = Release(
    id="rel_1",
    model="churn",
    number=3,
    digest="",
    champion=2,
    state=ReleaseState(
        plan=ReleasePlan(gates=False, staging=False, approval=False, steps=(5, 100)),
        phase=Phase.ROLLING_OUT,
        step=0,
        asked=True,
        reason="no verdict after 1d",
    ),
    policy=DeliveryPolicy(),
    foresight=(
        Foresight(
            step=0,
            weight_percent=5,
            units_per_s=12.5,
            to_go_on_units=5980,
            to_go_on_s=480.0,
            signals={
                Signal.FAULTS: Detectable(
                    to_go_on_units=5980, rate=0.0315, rate_until_asked=None, always_units=None
                )
            },
        ),
    ),
    canary=(
        StepEvidence(
            step=0,
            weight_percent=5,
            started_at=NOW,
            judged_at=NOW,
            challenger=Counts(units=50, slow_units=7),
            champion=Counts(units=1000, slow_units=49),
            verdict="HOLD",
            reason="the evidence on slow answers is not sufficient either way",
            slow_us=1500,
            signals={
                Signal.SLOW: SignalEvidence(
                    verdict="HOLD",
                    reason="",
                    needed=20,
                    harm_needed=80,
                    worse_than_champion=3.25,
                    above_tolerance=1,
                    within_tolerance=1e300,
                )
            },
        ),
    ),
    opened_by="cy",
    opened_at=NOW,
    updated_at=NOW,
)


def shown(release: Release) -> str:
    screen = Console(file=StringIO(), width=160, no_color=True)
    show_release(screen, release)
    return screen.file.getvalue()  # type: ignore[attr-defined]


def test_all_of_it_is_there() -> None:
    said = shown(RELEASE)
    for part in (
        "churn@3", "rolling out at 5 %", "no verdict after 1d", "headrace release churn --do promote",
        "at 12.5 units/s", "5,980 units", "8 min", "3.15 %", "never", "slow answers", "slow is beyond 1.50 ms",
        "3.25", "∞", "hold: the evidence on slow answers",
    ):  # fmt: skip
        assert part in said


def test_what_it_waits_for_is_said_in_units_and_time() -> None:
    waits = Waits(units=1_239, units_per_s=2.5, rest_s=0.0, seconds=495.6)
    said = shown(msgspec.structs.replace(RELEASE, waits=waits))
    assert "waits for 1,239 more units without a fault, about 8 min at the 2.5 units/s of the last minute" in said
    assert "to show that less than 1 % of units meet a fault" in said
    assert "headrace release churn --do promote" in said
    quiet = msgspec.structs.replace(waits, units=1, units_per_s=0.0, seconds=None)
    said = shown(msgspec.structs.replace(RELEASE, waits=quiet))
    assert "waits for 1 more unit without a fault; none came in the last minute" in said


def test_where_rewards_decide_it_waits_for_them() -> None:
    waits = Waits(units=None, units_per_s=2.5, rest_s=0.0, seconds=None)
    policy = DeliveryPolicy(rollout=ABTest(reward="purchase"))
    said = shown(msgspec.structs.replace(RELEASE, waits=waits, policy=policy))
    assert "waits for feedback named purchase that tells which version is better" in said


@pytest.mark.parametrize(
    ("phase", "waits", "said"),
    [
        (Phase.GATING, None, "a worker computes its gates"),
        (Phase.STAGING, None, "through a gateway"),
        (Phase.AWAITING_APPROVAL, None, "waits for somebody with the role approver: headrace approve churn@3"),
        (
            Phase.ROLLING_OUT,
            Waits(units=0, units_per_s=9.0, rest_s=40.0, seconds=40.0),
            "the shortest stay, over in 40 s",
        ),
        (
            Phase.COOLING,
            Waits(units=0, units_per_s=9.0, rest_s=3_599.0, seconds=3_599.0),
            "the end of cooling, in 60 min",
        ),
    ],
)
def test_each_phase_says_who_or_what_brings_it_on(phase: Phase, waits: Waits | None, said: str) -> None:
    state = msgspec.structs.replace(RELEASE.state, phase=phase, asked=False)
    release = msgspec.structs.replace(RELEASE, state=state, waits=waits)
    assert said in shown(release)
    paused = msgspec.structs.replace(release, state=msgspec.structs.replace(state, paused=True))
    assert "waits until somebody resumes it: headrace release churn --do resume" in shown(paused)


def test_a_release_that_is_held_to_more_than_is_declared_says_so() -> None:
    declared = DeliveryPolicy(rollout=Canary([25, 100], tolerance=0.02))
    held = msgspec.structs.replace(RELEASE, declared=declared, policy=DeliveryPolicy(rollout=Canary([5, 100])))
    said = shown(held)
    assert "this release is held to more than is declared" in said
    assert "rollout.steps: [25, 100] → [5, 100]" in said
    assert "rollout.tolerance: 0.02 → 0.01" in said
    assert "held to more" in _standing(held)
    assert "held to more" not in shown(msgspec.structs.replace(held, declared=held.policy))


def test_a_first_version_is_compared_with_nobody() -> None:
    said = shown(msgspec.structs.replace(RELEASE, champion=None))
    assert "seen at 5 %: 50 units, slow" in said
    assert "@2" not in said
    assert "1,000" not in said


def test_a_release_that_is_over_asks_nothing() -> None:
    over = msgspec.structs.replace(RELEASE.state, phase=Phase.ABORTED)
    said = shown(msgspec.structs.replace(RELEASE, state=over, foresight=(), canary=()))
    assert "aborted" in said
    assert "--do promote" not in said


def test_a_shadow_shows_how_its_answers_differ() -> None:
    state = msgspec.structs.replace(
        RELEASE.state, plan=msgspec.structs.replace(RELEASE.state.plan, steps=(0, 5, 100)), step=0
    )
    seen = msgspec.structs.replace(
        RELEASE.canary[0],
        weight_percent=0,
        comparison=Comparison(
            units=1200, flips=0.0123, flips_low=0.01, flips_high=0.02, difference=0.004, difference_high=0.005
        ),
    )
    said = shown(msgspec.structs.replace(RELEASE, state=state, canary=(seen,)))
    for part in ("rolling out as a shadow", "1,200 units compared", "1.23% decided otherwise", "0.004 apart"):
        assert part in said


QUALITY = QualityEvidence(
    loss="log_loss",
    margin=0.01,
    before="full_traffic",
    verdict="HOLD",
    reason="not enough",
    matures_after_s=90 * 86_400,
    needed=20,
    harm_needed=100,
    to_go_on_units=5669,
    to_take_back_units=None,
    assumed=True,
)


def test_outcomes_show_what_they_compare_and_what_waits() -> None:
    seen = msgspec.structs.replace(
        QUALITY,
        units=1204,
        waiting=310,
        next_at=NOW,
        unlabelled=12,
        champion_loss=0.4321,
        challenger_loss=0.4290,
        difference=-0.0031,
        difference_low=-0.008,
        difference_high=0.0018,
        not_worse=13.5,
        worse=0.02,
        assumed=False,
        first_at=NOW,
        last_at=NOW,
    )
    said = shown(msgspec.structs.replace(RELEASE, quality=seen))
    for part in (
        "log loss by outcomes of the shadow's requests: 1,204 units", "0.4290", "0.4321", "-0.0031",
        "-0.0080", "+0.0018", "0.02 of 100", "13.50 of 20", "310 units wait", "final 90 d after the request",
        "the next 2026-01-01 00:00", "12 units (1.0%) should have an outcome and have none",
        "requests from 2026-01-01 00:00", "5,669 units show", "no number of units", "shown before full traffic",
        "hold: not enough",
    ):  # fmt: skip
        assert part in said
    assert "taking a usual spread" not in said


def test_outcomes_that_are_not_known_are_told_as_such() -> None:
    said = shown(msgspec.structs.replace(RELEASE, quality=msgspec.structs.replace(QUALITY, problem="no disk")))
    for part in ("0 units", "taking a usual spread", "the last comparison failed: no disk"):
        assert part in said
