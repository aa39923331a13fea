"""Who may apply a project cannot apply the approval away: a release is held to the stricter policy."""

from collections.abc import Callable

import pytest
from tests.delivery.conftest import add_version, declaration, declare

from headrace.delivery import releases
from headrace.delivery.machine import AnswerApproval, Phase, ReportGates, ReportStaging
from headrace.delivery.nouns import OpenRelease, Release
from headrace.kernel.sqlite import SqliteDatabase
from headrace.project.approval import Approval
from headrace.project.binding import stricter
from headrace.project.column import column
from headrace.project.declaration import definition
from headrace.project.experiments import ABTest, Bandit
from headrace.project.gates import (
    Gate,
    at_least,
    at_most,
    calibrated,
    fair,
    latency,
    not_worse_than_production,
    size,
    slices,
)
from headrace.project.paired import PairedLoss
from headrace.project.policy import DeliveryPolicy
from headrace.project.rollout import Canary
from headrace.project.shadow import Shadow
from headrace.project.staging import replay

STRICT = DeliveryPolicy(
    gates=[at_least("roc_auc", 0.7), not_worse_than_production("roc_auc", margin=0.005)],
    staging=replay(rows=50),
    approval=Approval(four_eyes=True),
    rollout=Canary([5, 100], tolerance=0.01, alpha=0.05, minimum_time="1h", cooling="1d"),
)


def test_what_is_left_out_is_put_back() -> None:
    bound = stricter(DeliveryPolicy(), STRICT)
    assert bound.approval == STRICT.approval
    assert tuple(bound.gates) == tuple(STRICT.gates)
    assert bound.staging == STRICT.staging
    assert (bound.rollout.steps, bound.rollout.tolerance) == ((5, 25, 50, 100), 0.01)
    assert (bound.rollout.minimum_time, bound.rollout.cooling) == ("1h", "1d")


def test_what_is_weakened_is_held() -> None:
    weak = DeliveryPolicy(
        gates=[at_least("roc_auc", 0.5, alpha=0.2), not_worse_than_production("roc_auc", margin=0.2)],
        approval=Approval(four_eyes=False),
        rollout=Canary([100], tolerance=0.5, alpha=0.05, minimum_time="1s", cooling="1s"),
    )
    floor, ceiling = stricter(weak, STRICT).gates
    assert (floor.value, floor.alpha, ceiling.margin) == (0.7, 0.05, 0.005)  # type: ignore[union-attr]
    approval = stricter(weak, STRICT).approval
    assert approval is not None
    assert approval.four_eyes
    assert stricter(weak, STRICT).rollout.steps == (5, 100)


LOOSENED: list[tuple[Gate, Gate, Gate]] = [
    (at_most("brier", 0.3), at_most("brier", 0.2), at_most("brier", 0.2)),
    (calibrated(at_most=0.1), calibrated(at_most=0.05), calibrated(at_most=0.05)),
    (
        fair(["age"], at_most=0.2, minimum_rows=20, small_groups="left_out", intersections=False),
        fair(["age"], at_most=0.1, margin=0.02),
        fair(["age"], at_most=0.1, margin=0.02),
    ),
    (
        fair(["age"], measure="equalized_odds_ratio", at_least=0.5, small_groups="left_out", minimum_rows=500),
        fair(["age"], measure="equalized_odds_ratio", at_least=0.8, small_groups="left_out", minimum_rows=50),
        fair(["age"], measure="equalized_odds_ratio", at_least=0.8, small_groups="left_out", minimum_rows=50),
    ),
    (
        slices("roc_auc", ["age"], margin=0.1, alarm=True, small_slices="left_out"),
        slices("roc_auc", ["age"], margin=0.05, bound=0.6, alpha=0.01),
        slices("roc_auc", ["age"], margin=0.05, bound=0.6, alpha=0.01),
    ),
    (
        slices("log_loss", ["age"], bound=0.9, alarm=True, alpha=0.001),
        slices("log_loss", ["age"], bound=0.7, alarm=True, alpha=0.05),
        slices("log_loss", ["age"], bound=0.7, alarm=True, alpha=0.05),
    ),
    (
        latency(p95_ms=50),
        latency(p95_ms=20, slower_at_most=0.2),
        latency(p95_ms=20, slower_at_most=0.2),
    ),
    (size(at_most_bytes=2_000), size(at_most_bytes=1_000), size(at_most_bytes=1_000)),
]


@pytest.mark.parametrize(("declared", "agreed", "bound"), LOOSENED, ids=lambda gate: type(gate).__name__)
def test_every_gate_is_held_to_what_was_agreed(declared: Gate, agreed: Gate, bound: Gate) -> None:
    for first, second in ((declared, agreed), (agreed, declared)):
        (found,) = stricter(DeliveryPolicy(gates=[first]), DeliveryPolicy(gates=[second])).gates
        assert definition(found) == definition(bound)
        assert found.declared_at == first.declared_at


@pytest.mark.parametrize(
    ("declared", "agreed"),
    [
        (at_least("f1", 0.7, threshold=0.9), at_least("f1", 0.7)),
        (fair(["age"], at_most=0.1), fair(["age", "region"], at_most=0.1)),
        (fair([column("age", edges=[99])], at_most=0.1), fair([column("age", edges=[18, 65])], at_most=0.1)),
        (fair(["age"], at_most=0.1), fair(["age"], measure="equal_opportunity_difference", at_most=0.1)),
        (slices("f1", ["age"], margin=0.1), slices("roc_auc", ["age"], margin=0.1)),
    ],
)
def test_a_gate_about_something_else_does_not_replace_an_agreed_one(declared: Gate, agreed: Gate) -> None:
    found = stricter(DeliveryPolicy(gates=[declared]), DeliveryPolicy(gates=[agreed])).gates
    assert [definition(gate) for gate in found] == [definition(declared), definition(agreed)]


def test_of_two_gates_about_the_same_the_stricter_stays() -> None:
    declared = DeliveryPolicy(gates=[at_least("roc_auc", 0.9), at_least("roc_auc", 0.1)])
    (gate,) = stricter(declared, STRICT).gates[:1]
    assert gate.value == 0.9  # type: ignore[union-attr]


def test_the_number_of_uses_of_a_holdout_is_not_raised() -> None:
    assert stricter(DeliveryPolicy(holdout_uses=100), DeliveryPolicy(holdout_uses=5)).holdout_uses == 5


def test_what_is_tightened_binds_at_once() -> None:
    tight = DeliveryPolicy(
        gates=[at_least("roc_auc", 0.9), at_least("accuracy", 0.8)],
        approval=Approval(role="admin"),
        rollout=Canary([1, 100], tolerance=0.001, minimum_time="2h", cooling="2d"),
    )
    bound = stricter(tight, STRICT)
    assert [gate.declared_at for gate in bound.gates][:2] == [gate.declared_at for gate in tight.gates]
    assert bound.gates[0].value == 0.9  # type: ignore[union-attr]
    assert len(bound.gates) == 3
    assert bound.approval is not None
    assert bound.approval.role == "admin"
    assert (bound.rollout.steps, bound.rollout.tolerance) == ((1, 100), 0.001)


def test_a_first_release_is_held_to_what_is_declared() -> None:
    assert stricter(DeliveryPolicy(), None) == DeliveryPolicy()


def test_loosening_is_free_only_after_a_release_that_passed_the_old_policy(
    churn: SqliteDatabase, complete: Callable[[int], Release]
) -> None:
    assert complete(1).phase is Phase.COMPLETED
    declare(churn, declaration(approval=None, gates=[]))

    second = churn.write(lambda tx: releases.open_release(tx, OpenRelease(model="churn", number=2)), actor="ana")
    assert second.phase is Phase.GATING
    assert second.policy.approval is not None
    assert len(second.policy.gates) == 2
    churn.write(lambda tx: releases.execute(tx, second.id, ReportGates(attempt=1, passed=True)), actor="ana")
    waiting = churn.write(
        lambda tx: releases.execute(tx, second.id, ReportStaging(attempt=2, passed=True)), actor="ana"
    )
    assert waiting.phase is Phase.AWAITING_APPROVAL
    churn.write(lambda tx: releases.execute(tx, second.id, AnswerApproval(granted=False)), actor="bo")

    number = add_version(churn, "r3")
    third = churn.write(
        lambda tx: releases.open_release(tx, OpenRelease(model="churn", number=number)), actor="ana"
    )
    assert third.policy.approval is not None  # the refused one changed nothing


def test_after_that_release_the_looser_policy_stands(
    churn: SqliteDatabase, complete: Callable[[int], Release]
) -> None:
    complete(1)
    declare(churn, declaration(approval=None))
    assert complete(2).phase is Phase.COMPLETED
    number = add_version(churn, "r3")
    third = churn.write(
        lambda tx: releases.open_release(tx, OpenRelease(model="churn", number=number)), actor="ana"
    )
    assert third.policy.approval is None


def test_tolerances_of_a_rollout_are_held_to_the_stricter() -> None:
    agreed = DeliveryPolicy(
        rollout=Canary(invalid_tolerance=0.01, fallback_tolerance=None, slow_tolerance=0.5, slow_from_ms=5)
    )
    declared = DeliveryPolicy(rollout=Canary(invalid_tolerance=None, fallback_tolerance=0.02, slow_tolerance=2.0))
    bound = stricter(declared, agreed).rollout
    assert (bound.invalid_tolerance, bound.fallback_tolerance, bound.slow_tolerance) == (0.01, 0.02, 0.5)
    assert bound.slow_from_ms == 5


def test_a_shadow_cannot_be_left_out_or_loosened() -> None:
    agreed = DeliveryPolicy(shadow=Shadow(percent=50, units=2000, flips=0.05, then="person"))
    assert stricter(DeliveryPolicy(), agreed).shadow == agreed.shadow
    looser = DeliveryPolicy(shadow=Shadow(percent=10, units=100, flips=0.2, difference=0.1))
    bound = stricter(looser, agreed).shadow
    assert bound is not None
    assert (bound.percent, bound.units, bound.flips, bound.difference, bound.then) == (
        50,
        2000,
        0.05,
        0.1,
        "person",
    )
    assert stricter(looser, DeliveryPolicy()).shadow == looser.shadow


def test_a_comparison_by_outcomes_cannot_be_left_out_loosened_or_replaced() -> None:
    agreed = DeliveryPolicy(shadow=Shadow(quality=PairedLoss("error", margin=0.02, before="full_traffic")))
    assert agreed.shadow is not None

    def bound(quality: PairedLoss | None) -> PairedLoss | None:
        shadow = stricter(DeliveryPolicy(shadow=Shadow(quality=quality)), agreed).shadow
        assert shadow is not None
        return shadow.quality

    assert bound(None) == agreed.shadow.quality
    assert bound(PairedLoss("brier", margin=0.001)) == agreed.shadow.quality
    others = PairedLoss("error", margin=0.001, classes=[0, 1], feedback="kind", matures_after="1d")
    assert bound(others) == agreed.shadow.quality
    looser = bound(PairedLoss("error", margin=0.05, before="nothing"))
    assert looser is not None
    assert (looser.margin, looser.before) == (0.02, "full_traffic")
    tighter = bound(PairedLoss("error", margin=0.01, before="canary"))
    assert tighter is not None
    assert (tighter.margin, tighter.before) == (0.01, "canary")


def test_what_decides_by_rewards_is_not_replaced_by_a_canary() -> None:
    agreed = DeliveryPolicy(rollout=ABTest(reward="purchase", margin=0.01, tolerance=0.02))
    bound = stricter(DeliveryPolicy(rollout=Canary([2, 100], tolerance=0.01)), agreed).rollout
    assert isinstance(bound, ABTest)
    assert (bound.reward, bound.steps) == ("purchase", (2, 50, 100))
    assert (bound.tolerance, bound.minimum_time) == (0.01, "7d")


def test_an_experiment_begins_as_gently_as_the_canary_before_it() -> None:
    agreed = DeliveryPolicy(rollout=Canary([5, 25, 100], tolerance=0.001, cooling="2d"))
    bound = stricter(DeliveryPolicy(rollout=Bandit(reward="purchase", ramp=[10])), agreed).rollout
    assert isinstance(bound, Bandit)
    assert (bound.steps, bound.tolerance, bound.cooling) == ((5, 10, 50, 100), 0.001, "2d")
    assert stricter(DeliveryPolicy(rollout=ABTest(reward="purchase", share=3)), agreed).rollout.steps == (3, 100)


def test_an_experiment_is_not_weakened() -> None:
    agreed = DeliveryPolicy(rollout=ABTest(reward="purchase", alpha=0.01, margin=0.001, matures_after="7d"))
    weak = ABTest(reward="purchase", alpha=0.2, margin=0.1, matures_after="1h", split_alpha=1e-9, minimum_time="1d")
    bound = stricter(DeliveryPolicy(rollout=weak), agreed).rollout
    assert isinstance(bound, ABTest)
    assert (bound.alpha, bound.margin, bound.matures_after) == (0.01, 0.001, "7d")
    assert (bound.split_alpha, bound.minimum_time) == (0.001, "7d")
    for changed in (
        ABTest(reward="minutes", range=(0, 60), margin=1.0),
        ABTest(reward="purchase", lower_is_better=True),
        ABTest(reward="purchase", missing=1.0),
        ABTest(reward="purchase", range=(-1000, 1000), margin=999.0),
    ):  # another question than the one that was agreed on
        other = stricter(DeliveryPolicy(rollout=changed), agreed).rollout
        assert isinstance(other, ABTest)
        asked = (other.reward, other.range, other.lower_is_better, other.missing, other.margin)
        assert asked == ("purchase", (0.0, 1.0), False, None, 0.001)
