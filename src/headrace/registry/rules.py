"""Policies: what must be there before a version changes its stage or an alias, and the pure rules on them.

A policy governs one stage, or the aliases of one pattern, of one model or of all. The most specific one binds.
Where there is none, the change is open to whoever may register versions.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from headrace.errors import InvalidInput, ProjectError
from headrace.project.declaration import NAME as CHANNEL
from headrace.project.durations import UNITS_S, parse_duration, parse_window
from headrace.project.policy import EVIDENCE_KINDS
from headrace.registry import bounds
from headrace.registry.bounds import Bounds, RolloutBounds
from headrace.registry.nouns import Stage

ANY_MODEL = "*"
DEFAULT = "default"
MOST_APPROVALS = 20
LONGEST = timedelta(days=3650)
OPEN = "open: no policy is set, so whoever may register versions may make the change"
DELIVERED = "only a release moves a version into or out of Production: its project delivers the model"

_ADMIN = "admin"
_PATTERN = re.compile(r"[\w\-*]{1,255}", re.ASCII)
_LOOSEST = timedelta.max

CLOCK_STEP = timedelta(minutes=5)
"""How far a clock may be set back without putting a grant or evidence into the future."""


class RequiredEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence that a version must have: the newest of its kind has to pass.

    Attributes:
        gate: kind of the gate, check or staging as projects declare it, such as `not_worse_than_production`.
        metric: of this metric; None takes every metric of which there is such evidence.
        max_age: how old it may be, such as 30d; empty for any age.
        bounds: how strictly it must have been declared, and on how many rows; None takes any declaration.
    """

    gate: str
    metric: str | None = None
    max_age: str = ""
    bounds: Bounds | None = None

    @property
    def what(self) -> str:
        """What it is of, for people."""
        return f"{self.gate} of {self.metric}" if self.metric else self.gate

    @property
    def says(self) -> str:
        """In short, for people."""
        strictly = [] if self.bounds is None else [self.bounds.says]
        return ", ".join([self.what, *strictly, *([f"at most {self.max_age} old"] if self.max_age else [])])


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What the changes of one stage, or of some aliases, ask for.

    Attributes:
        model: name of the model, or `*` for every model.
        stage: the stage that it governs; else `alias` is given.
        alias: the alias, or a pattern with `*`, that it governs.
        evidence: what a version must have before it enters the stage or gets the alias.
        approvals: how many must approve the change.
        role: who may approve.
        four_eyes: whether the version's author and whoever asks are refused as approvers.
        expires: how long a request stands, in wall time.
        valid_for: how long a grant counts, in wall time.
        movers: the roles that may make the change; empty means whoever may register versions.
        rollout: how carefully the traffic must move into Production, so that only a release makes the change.
        notify: names of channels in the platform's settings that are told of a request for approval.
        note: why, for people.
        set_by: who set it.
        set_at: when it was set, in wall time.
    """

    model: str = ANY_MODEL
    stage: Stage | None = None
    alias: str | None = None
    evidence: tuple[RequiredEvidence, ...] = ()
    approvals: int = 0
    role: str = "approver"
    four_eyes: bool = True
    expires: str = "7d"
    valid_for: str = "30d"
    movers: tuple[str, ...] = ()
    rollout: RolloutBounds | None = None
    notify: tuple[str, ...] = ()
    note: str = ""
    set_by: str = ""
    set_at: datetime | None = None

    @property
    def kind(self) -> str:
        """`stage` or `alias`."""
        return "alias" if self.stage is None else "stage"

    @property
    def pattern(self) -> str:
        """The stage, or the pattern of aliases."""
        return (self.alias or "") if self.stage is None else self.stage.value

    @property
    def governs(self) -> str:
        """What it governs, such as `stage/Production` or `alias/champion`."""
        return f"{self.kind}/{self.pattern}"

    @property
    def named(self) -> str:
        """The policy itself, such as `churn: stage/Production`."""
        return f"{self.model}: {self.governs}"

    @property
    def asks_nothing(self) -> bool:
        """Whether it leaves everything open."""
        return not (self.evidence or self.approvals or self.movers or self.rollout)

    @property
    def says(self) -> str:
        """What it asks for, in a sentence."""
        if self.asks_nothing:
            return "open: the policy asks for nothing"
        parts = []
        if self.evidence:
            parts.append("evidence: " + "; ".join(required.says for required in self.evidence))
        if self.rollout is not None:
            parts.append(self.rollout.says)
        if self.approvals:
            whom = ", not of the author or whoever asks" if self.four_eyes else ""
            parts.append(f"{count_of(self.approvals, self.role)}{whom}")
            parts += [f"told to: {', '.join(self.notify)}"] if self.notify else []
        if self.movers:
            parts.append(f"made by: {' or '.join(self.movers)}")
        return "; ".join(parts)


class EvidenceToAskFor(RequiredEvidence, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Evidence that a policy is to ask for."""


class PolicyToSet(Policy, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy as somebody writes it, read strictly: a word that is misspelled would leave something open.

    Who set it, and when, is not for the writer to say.
    """

    evidence: tuple[EvidenceToAskFor, ...] = ()

    @property
    def policy(self) -> Policy:
        """What it says."""
        return msgspec.convert(msgspec.to_builtins(self), Policy)


class EffectivePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What binds one stage or some aliases of a model, and where that comes from.

    Attributes:
        governs: such as `stage/Production` or `alias/champion`.
        source: the model whose policy it is, `*`, or `default`.
        says: what it asks for, in a sentence.
        policy: the policy; one that asks for nothing by default.
    """

    governs: str
    source: str
    says: str
    policy: Policy


class ModelPolicies(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that governs one model.

    Attributes:
        is_open: whether nothing does.
        says: that in a sentence.
    """

    model: str
    is_open: bool
    says: str
    policies: tuple[EffectivePolicy, ...]


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What one change asks for: the policies that govern it, taken together.

    Attributes:
        movers: for each policy that names some, the roles of which whoever makes the change has one.
        proven_to: the policies that ask for the evidence.
        notify: the channels that are told when it has to be approved.
        rollouts: for each policy that bounds the rollout, its name and the bounds.
        valid_for: how long a grant counts; None without end.
    """

    governed_by: tuple[str, ...] = ()
    evidence: tuple[RequiredEvidence, ...] = ()
    approvals: int = 0
    role: str = "approver"
    four_eyes: bool = False
    signed: bool = False
    expires: timedelta = _LOOSEST
    valid_for: timedelta | None = None
    movers: tuple[tuple[str, ...], ...] = ()
    proven_to: tuple[str, ...] = ()
    rollouts: tuple[tuple[str, RolloutBounds], ...] = ()
    notify: tuple[str, ...] = ()

    @property
    def asks_nothing(self) -> bool:
        """Whether whoever may register versions may make the change."""
        return not (self.evidence or self.approvals or self.movers or self.rollouts)


# -- which policy binds -------------------------------------------------------------------------------------


def binding(policies: Iterable[Policy], model: str, kind: str, name: str) -> Policy | None:
    """The most specific policy on a stage or an alias of a model.

    One of the model goes before one of all models; then an alias by its name before a pattern, and the longer
    pattern before the shorter one.
    """
    found = [
        policy
        for policy in policies
        if policy.model in {model, ANY_MODEL} and policy.kind == kind and _matches(policy, name)
    ]
    return max(found, key=_specificity, default=None)


def _matches(policy: Policy, name: str) -> bool:
    return policy.pattern == name if policy.kind == "stage" else fnmatchcase(name, policy.pattern)


def _specificity(policy: Policy) -> tuple[bool, bool, int, str]:
    letters = len(policy.pattern.replace("*", ""))
    return policy.model != ANY_MODEL, "*" not in policy.pattern, letters, policy.pattern


def effective(policies: Sequence[Policy], model: str) -> ModelPolicies:
    """Everything that governs a model: each stage, and each pattern of aliases that a policy names."""
    found = [
        _effective(binding(policies, model, "stage", stage.value), f"stage/{stage.value}")
        for stage in (Stage.STAGING, Stage.PRODUCTION, Stage.ARCHIVED)
    ]
    patterns = {
        policy.pattern for policy in policies if policy.kind == "alias" and policy.model in {model, ANY_MODEL}
    }
    for pattern in sorted(patterns):
        own = [policy for policy in policies if policy.kind == "alias" and policy.pattern == pattern]
        found.append(_effective(binding(own, model, "alias", pattern), f"alias/{pattern}"))
    if "*" not in patterns:
        found.append(_effective(None, "alias/*"))
    is_open = all(each.policy.asks_nothing for each in found)
    says = OPEN if is_open else "governed: " + ", ".join(e.governs for e in found if not e.policy.asks_nothing)
    return ModelPolicies(model=model, is_open=is_open, says=says, policies=tuple(found))


def _effective(policy: Policy | None, governs: str) -> EffectivePolicy:
    kind, _, name = governs.partition("/")
    if policy is None:
        nothing = Policy(stage=Stage(name)) if kind == "stage" else Policy(alias=name)
        return EffectivePolicy(governs=governs, source=DEFAULT, says=OPEN, policy=nothing)
    return EffectivePolicy(governs=governs, source=policy.model, says=policy.says, policy=policy)


# -- what policies ask for together -------------------------------------------------------------------------


def demand(entering: Iterable[Policy | None], leaving: Iterable[Policy | None] = ()) -> Demand:
    """What a change asks for: of what is entered all, of what is left no evidence."""
    found = Demand()
    for policy in entering:
        if policy is not None:
            found = together(found, demand_of(policy))
    for policy in leaving:
        if policy is not None:
            found = together(found, _without_proof(demand_of(policy)))
    return found


def demand_of(policy: Policy) -> Demand:
    """What one policy asks for."""
    return Demand(
        governed_by=() if policy.asks_nothing else (policy.named,),
        evidence=policy.evidence,
        approvals=policy.approvals,
        role=policy.role,
        four_eyes=policy.four_eyes,
        signed=policy.approvals > 0,
        expires=parse_duration(policy.expires),
        valid_for=parse_duration(policy.valid_for),
        movers=(policy.movers,) if policy.movers else (),
        proven_to=(policy.named,) if policy.evidence else (),
        rollouts=() if policy.rollout is None else ((policy.named, policy.rollout),),
        notify=policy.notify,
    )


def together(first: Demand, second: Demand) -> Demand:
    """What asks for all that two demands ask for; where they name different roles, an admin decides."""
    approving = [each for each in (first, second) if each.approvals]
    roles = {each.role for each in approving}
    return Demand(
        governed_by=tuple(dict.fromkeys((*first.governed_by, *second.governed_by))),
        evidence=tuple(dict.fromkeys((*first.evidence, *second.evidence))),
        approvals=max(first.approvals, second.approvals),
        role=roles.pop() if len(roles) == 1 else (_ADMIN if roles else first.role),
        four_eyes=any(each.four_eyes for each in approving),
        signed=any(each.signed for each in approving),
        expires=min((each.expires for each in approving), default=_LOOSEST),
        valid_for=min((each.valid_for for each in approving if each.valid_for is not None), default=None),
        movers=tuple(dict.fromkeys((*first.movers, *second.movers))),
        proven_to=tuple(dict.fromkeys((*first.proven_to, *second.proven_to))),
        rollouts=tuple(dict.fromkeys((*first.rollouts, *second.rollouts))),
        notify=tuple(dict.fromkeys((*first.notify, *second.notify))),
    )


def _without_proof(found: Demand) -> Demand:
    """The same for what leaves, which has nothing to prove."""
    return msgspec.structs.replace(found, evidence=(), proven_to=(), rollouts=())


def without_approvals(found: Demand) -> Demand:
    """The same for a change that needs nobody's agreement; who may make it stays."""
    governed_by = found.governed_by if found.movers else ()
    return msgspec.structs.replace(_without_proof(found), governed_by=governed_by, approvals=0)


def approved_instead(found: Demand) -> Demand:
    """The same for somebody who is none of its movers: at least one approval, in place of the role."""
    if found.approvals:
        return msgspec.structs.replace(found, movers=())
    usual = demand_of(Policy(approvals=1))
    return msgspec.structs.replace(usual, governed_by=found.governed_by, notify=found.notify)


# -- what a policy may say ----------------------------------------------------------------------------------


def check(policy: Policy, roles: Sequence[str]) -> None:
    """Refuse a policy that cannot be meant.

    Args:
        policy: what is to be set.
        roles: the roles that there are.

    Raises:
        InvalidInput: names the field.
    """
    if (policy.stage is None) == (policy.alias is None):
        raise InvalidInput("a policy governs a stage or an alias, one of them", where="stage")
    if policy.stage is Stage.NONE:
        raise InvalidInput(
            "every version begins in None, so nothing can be asked for it",
            where="stage",
            fix="Set the policy on the stage that versions are to enter.",
        )
    if policy.alias is not None and not _PATTERN.fullmatch(policy.alias):
        raise InvalidInput("an alias is a word of letters, digits, '_', '-' and, as a pattern, '*'", where="alias")
    if not 0 <= policy.approvals <= MOST_APPROVALS:
        raise InvalidInput(f"a policy asks for 0 to {MOST_APPROVALS} approvals", where="approvals")
    known = f"Give one of {', '.join(roles)}."
    if policy.role not in roles or policy.role in {"viewer", "system"}:
        raise InvalidInput(f"{policy.role[:50]!r} is no role that approves", where="role", fix=known)
    for role in policy.movers:
        if role not in roles:
            raise InvalidInput(f"{role[:50]!r} is not a role", where="movers", fix=known)
    _check_asked(policy)
    window(policy.expires, "expires")
    window(policy.valid_for, "valid_for")


def _check_asked(policy: Policy) -> None:
    """Refuse channels, evidence and a rollout that cannot be meant."""
    for channel in policy.notify:
        if not CHANNEL.fullmatch(channel):  # an address is a secret, and would stand in the audit trail
            raise InvalidInput(
                "a policy names channels, not their addresses",
                where="notify",
                fix="Put the address into HEADRACE_ALERT_CHANNELS under a name, and give the name.",
            )
    for required in policy.evidence:
        _check_required(required)
    if policy.rollout is not None:
        if policy.stage is not Stage.PRODUCTION:
            raise InvalidInput(
                "traffic moves into Production only",
                where="rollout",
                fix="Set the policy on the stage Production, or leave rollout out.",
            )
        bounds.check_rollout(policy.rollout)


def _check_required(required: RequiredEvidence) -> None:
    if required.gate not in EVIDENCE_KINDS:  # nothing would ever pass it
        raise InvalidInput(
            f"{required.gate[:50]!r} is nothing that there is evidence of",
            where="evidence",
            fix=f"Name it as projects do: {', '.join(EVIDENCE_KINDS)}.",
        )
    if required.max_age:
        window(required.max_age, "max_age")
    if required.bounds is not None:
        bounds.check(required.gate, required.metric, required.bounds)


def window(text: str, field: str) -> timedelta:
    """A length of time such as 7d, above zero and no longer than ten years.

    Raises:
        InvalidInput: it is none.
    """
    try:
        found = parse_window(text, field=field)
    except ProjectError as error:
        raise InvalidInput(error.message, where=field, fix=error.fix) from error
    if found > LONGEST:
        raise InvalidInput(f"{field} {text!r} is longer than ten years", where=field)
    return found


_COMPARED: tuple[tuple[str, Callable[[Policy], Any]], ...] = (
    ("approvals", lambda policy: policy.approvals),
    ("four_eyes", lambda policy: policy.four_eyes),
)


def loosened(before: Policy | None, after: Policy | None) -> list[str]:
    """In what respects a change of a policy asks for less, a line each; None is no policy at all."""
    if before is None:
        return []
    if after is None:
        return [] if before.asks_nothing else [f"removed: {before.says}"]
    lines = [f"{name}: {read(before)} -> {read(after)}" for name, read in _COMPARED if read(after) < read(before)]
    lines += [
        f"evidence: no longer {each.says}"
        for each in before.evidence
        if not any(_covers(other, each) for other in after.evidence)
    ]
    if before.rollout is not None and not bounds.covers_rollout(after.rollout, before.rollout):
        lines.append(f"rollout: no longer {before.rollout.says}")
    if before.movers and not set(after.movers or ("anybody",)) <= set(before.movers):
        lines.append(f"movers: {', '.join(before.movers)} -> {', '.join(after.movers) or 'whoever may register'}")
    if before.approvals and after.role not in {before.role, _ADMIN}:  # others may approve than before
        lines.append(f"role: {before.role} -> {after.role}")
    for name in ("expires", "valid_for"):
        was, now = getattr(before, name), getattr(after, name)
        if before.approvals and parse_duration(now) > parse_duration(was):
            lines.append(f"{name}: {was} -> {now}")
    return lines


def _covers(after: RequiredEvidence, before: RequiredEvidence) -> bool:
    """Whether what is required now lets nothing through that what was required before kept back."""
    if (after.gate, after.metric) != (before.gate, before.metric):
        return False
    if before.max_age and (not after.max_age or parse_duration(after.max_age) > parse_duration(before.max_age)):
        return False
    if before.bounds is None:
        return True
    return after.bounds is not None and bounds.covers(after.bounds, before.bounds, after.gate, after.metric)


# -- words --------------------------------------------------------------------------------------------------


def count_of(approvals: int, role: str) -> str:
    """How many approvals of whom, for people."""
    return f"{approvals} approval{'' if approvals == 1 else 's'} of the role {role}"


def age_of(age: timedelta) -> str:
    """A length of time in its largest whole unit."""
    seconds = max(0, int(age.total_seconds()))
    for unit in ("d", "h", "m"):
        if seconds >= UNITS_S[unit]:
            return f"{seconds // UNITS_S[unit]}{unit}"
    return f"{seconds}s"
