"""What is worth saying of the things that lineage shows: their rooms are asked, each in its own words."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from headrace.delivery import releases
from headrace.delivery.nouns import Release
from headrace.errors import NotFound
from headrace.kernel.database import Tx
from headrace.kernel.lineage import ASIDE, Subject
from headrace.registry import aliases, evidence, history, versions
from headrace.registry.approval import Approval
from headrace.serving import reports
from headrace.tracking import experiments, logged_models, runs

Facts = dict[str, Any]


def facts_of(tx: Tx, subject: Subject) -> Facts:
    """What is kept of a thing with what its room says of it now."""
    told = _ROOMS.get(subject.kind)
    if told is None or subject.ended_at is not None:
        return dict(subject.about)
    try:
        return {**subject.about, **told(tx, subject.name)}
    except NotFound:  # a run that another server had, a release that is named and not here
        return dict(subject.about)


def version_name(subject: Subject) -> tuple[str, int]:
    """Model and number of a version; one whose name was given away since keeps its number."""
    model, _, number = subject.name.rpartition("/")
    return model, int(number.partition(ASIDE)[0])


def _version(tx: Tx, name: str) -> Facts:
    model, _, number = name.rpartition("/")
    found = versions.get(tx, model, int(number))
    return {
        "stage": found.stage,
        "aliases": [alias.alias for alias in aliases.of_model(tx, model) if alias.number == found.number],
        "owner": found.owner,
        "author": found.author,
        "registered_at": found.created_at,
        "description": found.description,
        "digest": found.digest,
        "metrics": found.metrics,
        "code_commit": found.code_commit,
        "code_dirty": found.code_dirty,
        "code_diff": found.code_diff,
        "features": {f"{use.view}@{use.version}": use.columns for use in found.feature_views},
    }


def _run(tx: Tx, run_id: str) -> Facts:
    found = runs.require(tx, run_id)
    return {
        "name": found.name,
        "experiment": experiments.get(tx, str(found.experiment)).name,
        "status": found.status,
        "deleted": found.deleted,
    }


def _logged_model(tx: Tx, model_id: str) -> Facts:
    found = logged_models.get(tx, model_id, deleted_too=True)
    return {"name": found.name, "status": found.status, "deleted": found.deleted}


def _release(tx: Tx, release_id: str) -> Facts:
    found = releases.get(tx, release_id)
    approval = history.approval_of(tx, found.model, release_id)
    return {
        "phase": found.phase,
        "reason": found.reason,
        "opened_by": found.opened_by,
        "opened_at": found.opened_at,
        "ended_at": found.ended_at,
        "verdicts": _verdicts(tx, found),
        "approved_by": [] if approval is None else _granted_by(approval),
    }


def _granted_by(approval: Approval) -> list[str]:
    return [each.principal for each in approval.decisions if each.grant and each.revoked_at is None]


def _verdicts(tx: Tx, release: Release) -> dict[str, int]:
    """How often each verdict was found; none for a version that was deleted with its evidence."""
    try:
        told = evidence.of_version(tx, release.model, release.number, release_id=release.id)
    except NotFound:
        return {}
    return dict(Counter(each.verdict.value for each in told))


def _predictions(tx: Tx, name: str) -> Facts:
    model, _, number = name.rpartition("/")
    counts = reports.counts_of_version(tx, model, int(number))
    return {"requests": counts.requests, "faults": counts.faults}


_ROOMS: dict[str, Callable[[Tx, str], Facts]] = {
    "version": _version,
    "run": _run,
    "logged-model": _logged_model,
    "release": _release,
    "predictions": _predictions,
}
