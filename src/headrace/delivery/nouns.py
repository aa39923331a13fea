"""Delivery's records: releases with their evidence, pipelines with their stages, and the plan of an apply."""

from datetime import datetime
from enum import StrEnum

import msgspec

from headrace.delivery.experiment_nouns import ExperimentEvidence, RewardOutlook
from headrace.delivery.machine import SHADOW, Happened, Phase, ReleaseState
from headrace.delivery.paired_nouns import QualityEvidence
from headrace.project.durations import lasting
from headrace.project.gates import Gate
from headrace.project.model import ModelDeclaration
from headrace.project.paired import PairedLoss
from headrace.project.policy import DeliveryPolicy
from headrace.project.search import ParameterValue
from headrace.registry.nouns import Evidence, FeatureUse, RegisterVersion
from headrace.serving.nouns import Counts, ServedVersion, Signal

# -- releases -----------------------------------------------------------------------------------------------


class SignalEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the sequential tests make of one signal: e-values, and what they must reach."""

    verdict: str
    """HOLD, ADVANCE or ROLL_BACK."""
    reason: str
    needed: float
    """What `within_tolerance` must reach to go on."""
    harm_needed: float
    """What one of the other two must reach to go back."""
    worse_than_champion: float
    above_tolerance: float
    within_tolerance: float


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """How the answers of a shadow differ from the champion's, on the same requests.

    Intervals hold at every time at once, with 1 - alpha of the release: that of the flips exactly, that of the
    difference for large numbers.
    """

    units: int
    flips: float
    """Share of the units that are decided otherwise."""
    flips_low: float
    flips_high: float
    difference: float | None = None
    """Mean absolute difference of the numbers; None where the answers are none."""
    difference_low: float | None = None
    difference_high: float | None = None
    correlation: float | None = None
    """Of the numbers; None where one of the two is constant."""


class StepEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the canary saw at one step, and what the sequential tests make of it.

    Counts are of distinct units, each with its first fault only.
    """

    step: int
    weight_percent: int
    started_at: datetime
    judged_at: datetime
    challenger: Counts
    champion: Counts
    verdict: str
    """HOLD, ADVANCE or ROLL_BACK."""
    reason: str
    slow_us: int | None = None
    """What takes longer is slow; None where latency is not judged."""
    signals: dict[Signal, SignalEvidence] = {}
    comparison: Comparison | None = None
    """Of the answers, in a step on copies of the requests."""


class Detectable(msgspec.Struct, frozen=True, kw_only=True):
    """What a step is expected to show of one signal."""

    to_go_on_units: int
    """Units of both arms until a version without the signal may go on."""
    rate: float | None
    """The smallest rate of the signal that is found by the time the step may end; None if none is."""
    rate_until_asked: float | None = None
    """The same by the time a person is asked; None if none is, or the traffic is unknown."""
    always_units: int | None
    """Units of both arms until a version that gives the signal every time is taken back; None for never."""


class Foresight(msgspec.Struct, frozen=True, kw_only=True):
    """What a step can show and how soon, told before it begins."""

    step: int
    weight_percent: int
    units_per_s: float
    """Units of both arms a second, as measured when this was told; 0 where nothing was."""
    to_go_on_units: int
    """Units of both arms until a version without any signal may go on."""
    to_go_on_s: float | None
    """The same in seconds, at that traffic and no sooner than the shortest stay."""
    signals: dict[Signal, Detectable]
    reward: RewardOutlook | None = None
    """Where rewards decide: which differences of them are found, and when."""


class Waits(msgspec.Struct, frozen=True, kw_only=True):
    """What the present step of a release waits for, as it is told to whoever looks."""

    units: int | None
    """How many more units of both arms, if none of them gives a signal; None where rewards decide."""
    units_per_s: float
    """Units of both arms a second in the last minute."""
    rest_s: float
    """What is left of the shortest stay, or of the cooling, in seconds of wall time."""
    seconds: float | None
    """About how long until it goes on, if no unit gives a signal; None without traffic, or where rewards decide."""


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A version on its way into production."""

    id: str
    model: str
    number: int
    digest: str
    """Of the version's files; what was gated and approved is what goes live."""
    champion: int | None = None
    """The version in production when the release was opened; None for a first version."""
    cohort: datetime | None = None
    """Business time as of which the gates score; None means the version's own hold-out."""
    state: ReleaseState
    policy: DeliveryPolicy
    """What binds it: as declared when it was opened, and no looser than what production was released by."""
    declared: DeliveryPolicy | None = None
    """As the project declared it when the release was opened; what binds the release after it."""
    canary: tuple[StepEvidence, ...] = ()
    foresight: tuple[Foresight, ...] = ()
    """What each step can show: the present one as it was told when it began, the later ones as told then."""
    quality: QualityEvidence | None = None
    """What the outcomes of the shadow's requests show; None where that is not asked for."""
    pipeline_id: str | None = None
    opened_by: str
    opened_at: datetime
    slow_us: int | None = None
    """What takes longer at the present step counts as slow; None while nothing is known of the champion."""
    step_started_at: datetime | None = None
    """Wall time at which the present step, or the cooling, began."""
    judged_since: datetime | None = None
    """The same, but that a bandit's moves of the share begin nothing anew."""
    clock_set_back_at: datetime | None = None
    """Wall time at which it was seen that the clock had been set back, and the time on the step began anew."""
    experiment: ExperimentEvidence | None = None
    """Of an A/B test or a bandit: what the rewards show."""
    waits: Waits | None = None
    """What its step waits for; worked out for whoever looks, and kept nowhere."""
    updated_at: datetime
    ended_at: datetime | None = None

    @property
    def phase(self) -> Phase:
        """Where it stands."""
        return self.state.phase

    @property
    def in_shadow(self) -> bool:
        """Whether the version answers copies of the requests now, and nobody."""
        state = self.state
        return state.phase is Phase.ROLLING_OUT and state.weight_percent == SHADOW

    @property
    def paired_loss(self) -> PairedLoss | None:
        """What is asked of the outcomes of its shadow's requests; nothing of a release without a shadow."""
        shadow = self.policy.shadow
        has_one = self.champion is not None and self.state.plan.steps[0] == SHADOW
        return shadow.quality if shadow is not None and has_one else None

    @property
    def reason(self) -> str:
        """Why it stands there."""
        return self.state.reason

    @property
    def waits_in_words(self) -> str:
        """How many more units it waits for, or how long, in a few words; nothing where it is something else."""
        waits = self.waits
        if waits is None or self.state.paused or waits.units is None:
            return ""
        if self.phase is Phase.COOLING:
            return f"the end of cooling, in {lasting(waits.rest_s)}"
        if not waits.units:
            return f"the shortest stay, over in {lasting(waits.rest_s)}" if waits.rest_s >= 1 else ""
        units = "1 more unit" if waits.units == 1 else f"{waits.units:,} more units"
        if waits.seconds is None:
            return f"{units} without a fault; none came in the last minute"
        rate = f"{waits.units_per_s:,.{0 if waits.units_per_s >= 10 else 1}f} units/s"
        return f"{units} without a fault, about {lasting(waits.seconds)} at the {rate} of the last minute"


class ReleaseStep(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a release, and the state that follows from it."""

    seq: int
    """Place in the platform's sequence of events."""
    at: datetime
    actor: str
    happened: Happened
    state: ReleaseState


class ReleaseHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A release told again from its events alone."""

    release_id: str
    steps: tuple[ReleaseStep, ...]
    agrees: bool
    """Whether the events lead to the state that is stored."""


class OpenRelease(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to open a release."""

    model: str
    number: int
    cohort: datetime | None = None
    """Business time of the verdict's rows; None takes what the version's pipeline chose, else its hold-out."""


class ReleaseAction(StrEnum):
    """What a person can do to a release."""

    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"


class ReleaseCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A person's command to a release."""

    command: ReleaseAction
    reason: str = ""


class RollbackRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A wish to go back: to a version, or to the last one whose release completed.

    One of the two is needed, or two callers who see the same trouble would go back twice.

    Attributes:
        to: the version to go back to; None finds it.
        expected: the version that the caller wants to leave: the one whose release has traffic, else the one in
            production. Another one refuses the request.
    """

    to: int | None = None
    expected: int | None = None
    reason: str = ""


class Rollback(msgspec.Struct, frozen=True, kw_only=True):
    """What a rollback did, or would do; `left` and `now` are equal when there is nothing to do."""

    model: str
    left: int | None
    now: int | None
    """None when nothing was in production before: the model is served no more."""
    release_id: str | None = None
    """The release that it ends, if one is open."""
    resident: bool = True
    """Whether gateways hold the version already and switch at once; else they load it first, and then switch."""
    sequence: int | None = None
    """Place of the new route in the order of all; a gateway that has applied it answers with the version."""


# -- gates and staging --------------------------------------------------------------------------------------


class GatesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the gates job computes, complete in itself.

    Attributes:
        declaration: the model as its project declares it; None for one that came through another door.
        training_set_id: of the candidate; its hold-out is judged on when there is no cohort.
        production: what the candidate is compared with; None for a first version.
        cohort: business time as of which the rows are taken; None means the hold-out.
    """

    release_id: str
    attempt: int
    declaration: ModelDeclaration | None
    candidate: ServedVersion
    training_set_id: str | None
    production: ServedVersion | None
    gates: tuple[Gate, ...]
    cohort: datetime | None


class GatesResult(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of evidence for each gate, in order.

    Attributes:
        evaluation_digest: names the rows that they were judged on, so that their reuse can be counted.
    """

    evidence: tuple[Evidence, ...]
    evaluation_digest: str = ""


class StagingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the staging job replays: rows of the version's own hold-out."""

    release_id: str
    attempt: int
    version: ServedVersion
    training_set_id: str | None
    rows: int


class StagingResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the staging check found; its verdict is PASS or WORSE."""

    evidence: Evidence


# -- pipelines ----------------------------------------------------------------------------------------------


class PipelineStatus(StrEnum):
    """The life of a pipeline; a waiting one has its data ahead of the business clock."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    BLOCKED = "blocked"
    """A data check did not pass."""
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self not in {PipelineStatus.WAITING, PipelineStatus.RUNNING}


class StageProgress(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of a pipeline: what it does, and what came of it."""

    name: str
    status: str
    """`running`, `done` or `failed`."""
    note: str = ""
    started_at: datetime
    ended_at: datetime | None = None


class ReportStage(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's word on a stage."""

    name: str
    status: str
    note: str = ""
    attempt: int


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """One way from data to a registered version."""

    id: str
    model: str
    status: PipelineStatus
    trigger: str
    """`manual`, or the monitor whose alarm began it."""
    as_of: datetime
    """Business time of the training set's features; labels look ahead from here."""
    cohort: datetime | None = None
    """Business time of the verdict cohort; None judges on the training set's hold-out."""
    ready_at: datetime
    """Business time at which all labels that it needs are mature."""
    params: dict[str, ParameterValue] = {}
    release: bool
    """Whether a release opens by itself when the version is registered."""
    stages: tuple[StageProgress, ...] = ()
    checks: tuple[Evidence, ...] = ()
    training_set_id: str | None = None
    run_id: str | None = None
    number: int | None = None
    release_id: str | None = None
    job_id: str | None = None
    note: str = ""
    """How it ended, or what it waits for."""
    requested_by: str
    requested_at: datetime
    ended_at: datetime | None = None


class Train(msgspec.Struct, frozen=True, kw_only=True):
    """A wish to train a model.

    Attributes:
        as_of: business time of the features; None takes the newest month start whose labels are mature.
        params: values that go over the declared defaults; they are not searched.
        release: whether a release opens by itself.
    """

    model: str
    as_of: datetime | None = None
    params: dict[str, ParameterValue] = {}
    release: bool = True


class TrainRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs to run a pipeline, complete in itself."""

    pipeline_id: str
    declaration: ModelDeclaration
    feature_views: tuple[FeatureUse, ...]
    """The declared views at their registered versions."""
    bundle_digest: str
    environment_digest: str
    code_commit: str | None
    as_of: datetime
    cohort: datetime | None
    params: dict[str, ParameterValue] = {}


class TrainResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a pipeline made; without `register` when a data check did not pass."""

    training_set_id: str
    run_id: str | None = None
    checks: tuple[Evidence, ...] = ()
    register: RegisterVersion | None = None
    note: str = ""


# -- apply --------------------------------------------------------------------------------------------------


class Action(StrEnum):
    """What an apply does to one object."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    ARCHIVED = "archived"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a plan."""

    kind: str
    """`entity`, `source`, `feature_view`, `label`, `model`, `policy` or `bundle`."""
    name: str
    action: Action
    details: tuple[str, ...] = ()
    """What changes, old → new, or what archiving means; a line each."""
    bound: tuple[str, ...] = ()
    """What of a model's declared delivery does not hold for the next release, declared → what holds: the version in
    production was released by something stricter."""
    declared_at: str = ""
    warnings: tuple[str, ...] = ()
    """What policies of the registry ask for and a model's declaration does not give."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What applying a project changes, or changed."""

    project: str
    changes: tuple[Change, ...]
    missing: tuple[str, ...] = ()
    """Digests of the bundle and data files that still have to be uploaded."""
    applied: bool = False


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project as it was last applied."""

    name: str
    bundle_digest: str
    project_file: str
    environment_digest: str
    code_commit: str | None
    objects: dict[str, tuple[str, ...]]
    """Names by kind, so that the next apply knows what is no longer declared."""
    applied_by: str
    applied_at: datetime
    digest: str
    """Of the whole manifest."""


class ModelProject(msgspec.Struct, frozen=True, kw_only=True):
    """A model's declaration with the project whose code trains it."""

    declaration: ModelDeclaration
    project: Project
