"""Which policy binds a release: loosening one must itself pass the one that it loosens.

Who may apply a project may also take the approval out of it. So a release is held to what its model's version in
production was to be delivered by, wherever the present declaration asks for less; only the release after it is
free of that. Tightening binds at once.
"""

from collections.abc import Sequence

from msgspec import structs

from headrace.project.approval import Approval
from headrace.project.gates import AtLeast, Gate, NotWorseThanProduction
from headrace.project.policy import DeliveryPolicy
from headrace.project.rollout import Canary


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
        staging=declared.staging or agreed.staging,
        approval=_approval(declared.approval, agreed.approval),
        rollout=_rollout(declared.rollout, agreed.rollout),
    )


def _approval(declared: Approval | None, agreed: Approval | None) -> Approval | None:
    if declared is None or agreed is None:
        return declared or agreed
    return structs.replace(
        declared,
        role="admin" if "admin" in {declared.role, agreed.role} else declared.role,
        four_eyes=declared.four_eyes or agreed.four_eyes,
    )


def _gates(declared: Sequence[Gate], agreed: Sequence[Gate]) -> tuple[Gate, ...]:
    bound = {(type(gate), gate.metric): gate for gate in declared}
    for gate in agreed:
        key = (type(gate), gate.metric)
        bound[key] = _gate(bound[key], gate) if key in bound else gate
    return tuple(bound.values())


def _gate(declared: Gate, agreed: Gate) -> Gate:
    alpha = min(declared.alpha, agreed.alpha)
    if isinstance(declared, AtLeast) and isinstance(agreed, AtLeast):
        return structs.replace(declared, value=max(declared.value, agreed.value), alpha=alpha)
    if isinstance(declared, NotWorseThanProduction) and isinstance(agreed, NotWorseThanProduction):
        return structs.replace(declared, margin=min(declared.margin, agreed.margin), alpha=alpha)
    return declared


def _rollout(declared: Canary, agreed: Canary) -> Canary:
    longer = max(declared, agreed, key=lambda canary: canary.minimum_time_duration)
    cooler = max(declared, agreed, key=lambda canary: canary.cooling_duration)
    gentler = declared if declared.steps[0] <= agreed.steps[0] else agreed
    return structs.replace(
        declared,
        steps=gentler.steps,
        tolerance=min(declared.tolerance, agreed.tolerance),
        alpha=min(declared.alpha, agreed.alpha),
        minimum_time=longer.minimum_time,
        cooling=cooler.cooling,
    )
