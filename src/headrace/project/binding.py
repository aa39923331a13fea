"""Which of two declarations is stricter: the one comparison that loosening, and the bounds of policies, rest on.

Who may apply a project may also take the approval out of it. So a release is held to what its model's version in
production was to be delivered by, wherever the present declaration asks for less; only the release after it is
free of that. Tightening binds at once.

A declaration is made as strict as another one about the same. Where that changes nothing it was no laxer, which is
how the registry's policies tell a gate that asks for too little.
"""

from collections.abc import Sequence

from msgspec import structs

from headrace.project.approval import Approval
from headrace.project.checks import CompletenessCheck, SchemaCheck, StableDistributionCheck
from headrace.project.experiments import ABTest, Bandit, Experiment, Rollout
from headrace.project.gates import (
    AtLeast,
    AtMost,
    Calibrated,
    Fair,
    Gate,
    Latency,
    NotWorseThanProduction,
    Size,
    Slices,
    Small,
)
from headrace.project.metrics import HIGHER_IS_BETTER
from headrace.project.paired import PairedLoss
from headrace.project.policy import DeliveryPolicy
from headrace.project.rollout import Canary
from headrace.project.shadow import Shadow
from headrace.project.staging import Replay

Judge = Gate | SchemaCheck | CompletenessCheck | StableDistributionCheck | Replay
"""Whatever there is evidence of, as projects declare it."""


def stricter(declared: DeliveryPolicy, agreed: DeliveryPolicy | None) -> DeliveryPolicy:
    """The declared policy, made as strict as the agreed one where it asks for less.

    Args:
        declared: what the project says now.
        agreed: what it said when the version in production was released; None when none was released.
    """
    if agreed is None:
        return declared
    return structs.replace(
        declared,
        gates=_gates(declared.gates, agreed.gates),
        staging=_staging(declared.staging, agreed.staging),
        approval=_approval(declared.approval, agreed.approval),
        shadow=_shadow(declared.shadow, agreed.shadow),
        rollout=stricter_rollout(declared.rollout, agreed.rollout),
        holdout_uses=min(declared.holdout_uses, agreed.holdout_uses),
    )


def _approval(declared: Approval | None, agreed: Approval | None) -> Approval | None:
    if declared is None or agreed is None:
        return declared or agreed
    return structs.replace(
        declared,
        role="admin" if "admin" in {declared.role, agreed.role} else declared.role,
        four_eyes=declared.four_eyes or agreed.four_eyes,
    )


def _staging(declared: Replay | None, agreed: Replay | None) -> Replay | None:
    if declared is None or agreed is None:
        return declared or agreed
    return structs.replace(declared, rows=max(declared.rows, agreed.rows))


def _gates(declared: Sequence[Gate], agreed: Sequence[Gate]) -> tuple[Gate, ...]:
    bound: dict[tuple[object, ...], Gate] = {}
    for gate in (*declared, *agreed):
        key = _subject(gate)
        bound[key] = stricter_gate(bound[key], gate) if key in bound else gate
    return tuple(bound.values())


def _subject(gate: Gate) -> tuple[object, ...]:
    """What a gate is about. Two about the same are compared; one about something else does not replace it."""
    match gate:
        case AtLeast() | NotWorseThanProduction():
            return type(gate), gate.metric, gate.threshold
        case AtMost():
            return type(gate), gate.metric
        case Fair():
            return type(gate), gate.measure, gate.threshold, _grouping(gate)
        case Slices():
            return type(gate), gate.metric, gate.threshold, _grouping(gate)
        case _:
            return (type(gate),)


def _grouping(gate: Fair | Slices) -> tuple[str, ...]:
    return tuple(sorted(column.title for column in gate.columns))


def stricter_judge(declared: Judge, agreed: Judge) -> Judge:
    """The declared gate, check or staging, nowhere weaker than the agreed one of its kind about the same."""
    match declared, agreed:
        case CompletenessCheck(), CompletenessCheck():
            return structs.replace(declared, minimum=max(declared.minimum, agreed.minimum))
        case StableDistributionCheck(), StableDistributionCheck():
            # a difference is found the sooner the greater the error rate is
            return structs.replace(declared, alpha=max(declared.alpha, agreed.alpha))
        case Replay(), Replay():
            return structs.replace(declared, rows=max(declared.rows, agreed.rows))
        case ((SchemaCheck() | CompletenessCheck() | StableDistributionCheck() | Replay()), _):
            return declared
        case _, (SchemaCheck() | CompletenessCheck() | StableDistributionCheck() | Replay()):
            return declared
        case _:
            return stricter_gate(declared, agreed)


def stricter_gate(declared: Gate, agreed: Gate) -> Gate:
    """The declared gate, nowhere weaker than the agreed one about the same."""
    match declared, agreed:
        case AtLeast(), AtLeast():
            return structs.replace(
                declared, value=max(declared.value, agreed.value), alpha=_alpha(declared, agreed)
            )
        case AtMost(), AtMost():
            return structs.replace(
                declared, value=min(declared.value, agreed.value), alpha=_alpha(declared, agreed)
            )
        case NotWorseThanProduction(), NotWorseThanProduction():
            margin = min(declared.margin, agreed.margin)
            return structs.replace(declared, margin=margin, alpha=_alpha(declared, agreed))
        case Calibrated(), Calibrated():
            at_most = min(declared.at_most, agreed.at_most)
            return structs.replace(declared, at_most=at_most, alpha=_alpha(declared, agreed))
        case Fair(), Fair():
            small = _stricter_small(declared.small_groups, agreed.small_groups)
            return structs.replace(
                declared,
                at_most=_least(declared.at_most, agreed.at_most),
                at_least=_greatest(declared.at_least, agreed.at_least),
                margin=_least(declared.margin, agreed.margin),
                minimum_rows=_stricter_minimum(declared, agreed, small),
                small_groups=small,
                intersections=declared.intersections or agreed.intersections,
                alpha=_alpha(declared, agreed),
            )
        case Slices(), Slices():
            small = _stricter_small(declared.small_slices, agreed.small_slices)
            alarm = declared.alarm and agreed.alarm
            better = _greatest if HIGHER_IS_BETTER[declared.metric] else _least
            return structs.replace(
                declared,
                margin=_least(declared.margin, agreed.margin),
                bound=better(declared.bound, agreed.bound),
                alarm=alarm,
                minimum_rows=_stricter_minimum(declared, agreed, small),
                small_slices=small,
                # an alarm is raised the sooner the greater its error rate is
                alpha=max(declared.alpha, agreed.alpha) if alarm else _alpha(declared, agreed),
            )
        case Latency(), Latency():
            return structs.replace(
                declared,
                p95_ms=_least(declared.p95_ms, agreed.p95_ms),
                slower_at_most=_least(declared.slower_at_most, agreed.slower_at_most),
                alpha=_alpha(declared, agreed),
            )
        case Size(), Size():
            return structs.replace(declared, at_most_bytes=min(declared.at_most_bytes, agreed.at_most_bytes))
    return declared


def _alpha(
    declared: "AtLeast | AtMost | NotWorseThanProduction | Fair | Calibrated | Slices | Latency",
    agreed: "AtLeast | AtMost | NotWorseThanProduction | Fair | Calibrated | Slices | Latency",
) -> float:
    return min(declared.alpha, agreed.alpha)


def _least(declared: float | None, agreed: float | None) -> float | None:
    return min((one for one in (declared, agreed) if one is not None), default=None)


def _greatest(declared: float | None, agreed: float | None) -> float | None:
    return max((one for one in (declared, agreed) if one is not None), default=None)


def _stricter_minimum(declared: "Fair | Slices", agreed: "Fair | Slices", small: Small) -> int:
    """Where small groups are left out the smaller minimum is stricter; where they leave a doubt, the greater."""
    both = declared.minimum_rows, agreed.minimum_rows
    return min(both) if small == "left_out" else max(both)


def _stricter_small(declared: Small, agreed: Small) -> Small:
    return "left_out" if declared == agreed == "left_out" else "inconclusive"


def _shadow(declared: Shadow | None, agreed: Shadow | None) -> Shadow | None:
    if declared is None or agreed is None:
        return declared or agreed
    return structs.replace(
        declared,
        percent=max(declared.percent, agreed.percent),
        units=max(declared.units, agreed.units),
        flips=_least(declared.flips, agreed.flips),
        difference=_least(declared.difference, agreed.difference),
        then="canary" if declared.then == agreed.then == "canary" else "person",
        quality=_paired_loss(declared.quality, agreed.quality),
    )


def _paired_loss(declared: PairedLoss | None, agreed: PairedLoss | None) -> PairedLoss | None:
    """The agreed one where the two are about something else: they cannot be compared, and there is but one."""
    if declared is None or agreed is None:
        return declared or agreed
    about = [(one.loss, one.feedback, one.matures_after, one.bound, one.classes) for one in (declared, agreed)]
    if about[0] != about[1]:
        return agreed
    order = ("nothing", "full_traffic", "canary")
    return structs.replace(
        declared,
        margin=min(declared.margin, agreed.margin),
        before=max(declared.before, agreed.before, key=order.index),
    )


def stricter_rollout(declared: Rollout, agreed: Rollout) -> Rollout:
    """What decides by rewards is not replaced by what only looks for harm; the rest is bound field by field."""
    if isinstance(agreed, Experiment) and not isinstance(declared, Experiment):
        return stricter_rollout(agreed, declared)
    longer = max(declared, agreed, key=lambda rollout: rollout.minimum_time_duration)
    cooler = max(declared, agreed, key=lambda rollout: rollout.cooling_duration)
    guarded = structs.replace(
        declared,
        tolerance=min(declared.tolerance, agreed.tolerance),
        alpha=min(declared.alpha, agreed.alpha),
        minimum_time=longer.minimum_time,
        cooling=cooler.cooling,
        invalid_tolerance=_least(declared.invalid_tolerance, agreed.invalid_tolerance),
        fallback_tolerance=_least(declared.fallback_tolerance, agreed.fallback_tolerance),
        slow_tolerance=_least(declared.slow_tolerance, agreed.slow_tolerance),
        slow_from_ms=min(declared.slow_from_ms, agreed.slow_from_ms),
    )
    gentler = declared if declared.steps[0] <= agreed.steps[0] else agreed
    if isinstance(guarded, Canary):
        return structs.replace(guarded, steps=gentler.steps)
    if gentler is agreed:  # it begins as gently, and goes on from there
        first = agreed.steps[0]
        guarded = structs.replace(guarded, ramp=(first, *(step for step in guarded.ramp if step > first)))
    return _experiment(guarded, agreed) if isinstance(agreed, Experiment) else guarded


def _experiment(declared: ABTest | Bandit, agreed: Experiment) -> ABTest | Bandit:
    """What was agreed on is what is compared, in its unit; the margin may be smaller, and all may take longer."""
    slower = max(declared, agreed, key=lambda rollout: rollout.matures_after_duration)
    names = ("reward", "range", "lower_is_better", "missing")
    same = all(getattr(declared, name) == getattr(agreed, name) for name in names)
    return structs.replace(
        declared,
        **{name: getattr(agreed, name) for name in names},
        margin=min(declared.margin, agreed.margin) if same else agreed.margin,
        matures_after=slower.matures_after,
        split_alpha=max(declared.split_alpha, agreed.split_alpha),  # the greater it is, the sooner a test is held
    )
