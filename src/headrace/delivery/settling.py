"""What control does when a worker hands in gates or a staging check: keep the evidence, move the release on."""

import msgspec

from headrace.delivery import approvers, experiments, holdouts, paired, pipelines, releases, retraining
from headrace.delivery.kinds import COMPARE, GATES, MEASURE, STAGING, TRAIN
from headrace.delivery.machine import ReportGates, ReportStaging
from headrace.delivery.nouns import GatesRequest, GatesResult, StagingRequest, StagingResult
from headrace.kernel.database import Tx
from headrace.kernel.jobs import Handling, Job
from headrace.kernel.subscriptions import Subscriber
from headrace.registry import evidence
from headrace.registry.nouns import Evidence


def settle_gates(tx: Tx, job: Job, result: GatesResult) -> None:
    """Record every gate's evidence; the release goes on only if each of them passes."""
    request = msgspec.json.decode(job.payload, type=GatesRequest)
    kept = [_record(tx, found, request.release_id, request.attempt) for found in _noted(tx, request, result)]
    failing = [found for found in kept if not found.verdict.passes]
    passed = not failing and len(kept) == len(request.gates)
    reason = "; ".join(found.summary or found.name for found in (failing or kept))
    releases.execute(tx, request.release_id, ReportGates(attempt=request.attempt, passed=passed, reason=reason))


def _noted(tx: Tx, request: GatesRequest, result: GatesResult) -> list[Evidence]:
    """The evidence, with how often its rows have been used."""
    if not result.evaluation_digest:
        return list(result.evidence)
    uses = holdouts.use(tx, request.candidate.model, result.evaluation_digest, request.release_id)
    warn_after = releases.get(tx, request.release_id).policy.holdout_uses
    return [
        holdouts.noted(found, result.evaluation_digest, uses, warn_after=warn_after) for found in result.evidence
    ]


def fail_gates(tx: Tx, job: Job, error: str) -> None:
    """What cannot be computed is not passed."""
    request = msgspec.json.decode(job.payload, type=GatesRequest)
    reason = f"the gates could not be computed: {error}"
    releases.execute(tx, request.release_id, ReportGates(attempt=request.attempt, passed=False, reason=reason))


def settle_staging(tx: Tx, job: Job, result: StagingResult) -> None:
    """Record what the staging check found, and move the release on."""
    request = msgspec.json.decode(job.payload, type=StagingRequest)
    found = _record(tx, result.evidence, request.release_id, request.attempt)
    releases.execute(
        tx,
        request.release_id,
        ReportStaging(attempt=request.attempt, passed=found.verdict.passes, reason=found.summary),
    )


def fail_staging(tx: Tx, job: Job, error: str) -> None:
    """A staging check that could not be made is not passed."""
    request = msgspec.json.decode(job.payload, type=StagingRequest)
    reason = f"the staging check could not be made: {error}"
    releases.execute(tx, request.release_id, ReportStaging(attempt=request.attempt, passed=False, reason=reason))


def _record(tx: Tx, found: Evidence, release_id: str, attempt: int) -> Evidence:
    return evidence.record(tx, msgspec.structs.replace(found, release_id=release_id, attempt=attempt))


HANDLINGS = [
    Handling(GATES, settle_gates, fail_gates),
    Handling(STAGING, settle_staging, fail_staging),
    Handling(MEASURE, experiments.settle, experiments.failed),
    Handling(TRAIN, pipelines.settle, pipelines.failed),
    Handling(COMPARE, paired.settle, paired.failed),
]

SUBSCRIBERS = [
    Subscriber("delivery.approvals", releases.APPROVAL_EVENTS, releases.on_approval_decided),
    Subscriber("delivery.approvers", approvers.EVENTS, approvers.on_asked),
    Subscriber("delivery.retraining", ("monitoring.alert_opened",), retraining.on_alert_opened),
]
