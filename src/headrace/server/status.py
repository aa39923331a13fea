"""What the status page shows, read on one snapshot."""

from datetime import datetime

import msgspec

from headrace.delivery import waiting
from headrace.delivery.machine import Phase
from headrace.delivery.nouns import Release
from headrace.kernel import business_time, events, jobs
from headrace.kernel.business_time import BusinessClock
from headrace.kernel.database import Tx
from headrace.kernel.events import Event
from headrace.monitoring import alerts
from headrace.monitoring.nouns import Alert
from headrace.registry import approvals, history, models
from headrace.registry.approval import Approval
from headrace.registry.nouns import ApprovalStatus
from headrace.serving import reports
from headrace.serving.nouns import Gateway
from headrace.tracking import search
from headrace.tracking.nouns import Run, RunQuery, Selection

MODELS_SHOWN = 50
EVENTS_SHOWN = 15
RUNS_SHOWN = 10
APPROVALS_SHOWN = 20
NOTHING = Selection(params=(), metrics=(), tags=())


class ModelLine(msgspec.Struct, frozen=True, kw_only=True):
    """One model at a glance."""

    name: str
    description: str
    production: int | None
    since: datetime | None
    newest: int | None
    registered_at: datetime | None


class ReleaseLine(msgspec.Struct, frozen=True, kw_only=True):
    """One open release at a glance."""

    model: str
    number: int
    phase: str
    reason: str
    waits_for: str
    weight_percent: int
    updated_at: datetime


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The platform at a glance."""

    clock: BusinessClock
    jobs: int
    gateways: tuple[Gateway, ...]
    models: tuple[ModelLine, ...]
    releases: tuple[ReleaseLine, ...]
    approvals: tuple[Approval, ...]
    alerts: tuple[Alert, ...]
    runs: tuple[Run, ...]
    events: tuple[Event, ...]


def read_status(tx: Tx) -> Status:
    """Read it."""
    return Status(
        clock=business_time.read(tx),
        jobs=jobs.unfinished(tx),
        gateways=tuple(reports.gateways(tx, alive_only=True)),
        models=tuple(_model(tx, model.name) for model in models.search(tx, limit=MODELS_SHOWN)),
        releases=tuple(
            ReleaseLine(
                model=release.model,
                number=release.number,
                phase=release.phase,
                reason=_reason(release),
                waits_for=release.waits_in_words,
                weight_percent=release.state.weight_percent,
                updated_at=release.updated_at,
            )
            for release in waiting.search(tx, open_only=True)
        ),
        approvals=approvals.search(tx, status=ApprovalStatus.REQUESTED, limit=APPROVALS_SHOWN),
        alerts=alerts.still_open(tx),
        runs=search.find(tx, RunQuery(select=NOTHING, limit=RUNS_SHOWN)).runs,
        events=tuple(events.recent(tx, limit=EVENTS_SHOWN)),
    )


def _reason(release: Release) -> str:
    """Why it stands there; where rewards decide, what they show by now."""
    decided = release.experiment is not None and release.phase is Phase.ROLLING_OUT and release.canary
    return release.canary[-1].reason if decided else release.reason


def _model(tx: Tx, name: str) -> ModelLine:
    found = models.details(tx, name, limit=1)
    newest = found.versions[0] if found.versions else None
    entered = history.read(tx, name, limit=1).since if found.production is not None else None
    return ModelLine(
        name=name,
        description=found.model.description,
        production=found.production,
        since=entered.at if entered is not None else None,
        newest=newest.number if newest is not None else None,
        registered_at=newest.created_at if newest is not None else None,
    )
