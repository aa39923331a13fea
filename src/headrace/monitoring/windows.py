"""Windows: a model in production is watched on its monitors' schedules, and what a window shows is kept.

Control-side: the looking itself is a worker's, see `observe`.
"""

from datetime import datetime

import msgspec

from headrace.kernel import events, pins, schedules
from headrace.kernel.database import Tx
from headrace.kernel.events import Event
from headrace.kernel.jobs import Handling, Job
from headrace.kernel.subscriptions import Subscriber
from headrace.monitoring import alerts, tables
from headrace.monitoring.firings import previous_firing
from headrace.monitoring.jobs import WINDOW
from headrace.monitoring.nouns import (
    Finding,
    Health,
    Window,
    WindowRequest,
    WindowResult,
    monitor_kind,
    named_monitors,
)
from headrace.project.model import ModelDeclaration
from headrace.project.policy import DeliveryPolicy
from headrace.registry import models, naming, stages

ACTOR = "system"
"""Who watches: alarms are the platform's, not those of whoever promoted the version."""


def policy(tx: Tx, model: str) -> DeliveryPolicy | None:
    """The delivery policy of a model; None when it was created through another door."""
    declaration = models.get(tx, model).declaration
    return None if declaration is None else msgspec.convert(declaration, ModelDeclaration).policy


def watch(tx: Tx, model: str) -> None:
    """Bring the model's schedules in line with its monitors and with whether it is in production.

    A schedule that stays is left alone, so that no firing of it is lost.
    """
    declared = policy(tx, model)
    wanted: set[str] = set()
    if declared is not None and not models.get(tx, model).archived and stages.production(tx, model) is not None:
        wanted = {monitor.every for monitor in declared.monitors}
    watched = tables.watched_crons(tx, model)
    for cron in sorted(watched - wanted):
        schedules.unschedule(tx, _schedule(model, cron))
        tables.remove_watch(tx, model, cron)
    for cron in sorted(wanted - watched):
        schedules.schedule(tx, _schedule(model, cron), WINDOW, WindowRequest(model=model, cron=cron), cron)
        tables.add_watch(tx, model, cron)


def settle(tx: Tx, job: Job, result: WindowResult) -> None:
    """Keep a window and let the alerts see it.

    A window that is older than one already on record is kept, and leaves the alerts alone.
    """
    newest = tables.newest_window_end(tx, result.model, result.cron)
    tables.save_window(tx, result, job.id)
    if result.counts is not None:
        holder = f"window/{result.model}/{result.end.isoformat()}"
        pins.pin(tx, f"blob/{result.counts}", holder, "a window's counts, which merge into longer ones")
    events.append(
        tx,
        "monitoring.window_observed",
        f"model/{result.model}",
        {
            "model": result.model,
            "version": result.version,
            "window_start": result.start,
            "window_end": result.end,
            "predictions": result.predictions,
            "labels_joined": result.labels_joined,
            "findings": {finding.name: finding.health for finding in result.findings},
        },
    )
    if newest is not None and result.end <= newest:
        return
    declared = policy(tx, result.model)
    channels = () if declared is None else tuple(declared.alerts)
    for finding in result.findings:
        alerts.observe(tx, result, finding, channels)


def listing(
    tx: Tx, *, model: str | None = None, before: datetime | None = None, limit: int = 100
) -> tuple[Window, ...]:
    """Windows on record, newest first; `before` continues a listing.

    Raises:
        NotFound: there is no such model, and nothing of it.
    """
    return tuple(naming.found_of(tx, model, tables.list_windows(tx, model=model, before=before, limit=limit)))


def _not_observed(tx: Tx, job: Job, error: str) -> None:
    """A window that could not be looked at is on record as inconclusive, never as healthy."""
    request = msgspec.json.decode(job.payload, type=WindowRequest)
    end = request.end or job.scheduled_for
    declared = policy(tx, request.model)
    if end is None or declared is None:
        return
    version = stages.production(tx, request.model)
    findings = tuple(
        Finding(
            monitor=monitor_kind(monitor),
            name=name,
            health=Health.INCONCLUSIVE,
            summary=f"the window could not be looked at: {error.splitlines()[0]}",
            rows=0,
        )
        for name, monitor in named_monitors(tuple(declared.monitors)).items()
        if monitor.every == request.cron
    )
    result = WindowResult(
        model=request.model,
        cron=request.cron,
        start=previous_firing(request.cron, end),
        end=end,
        version=None if version is None else version.number,
        predictions=0,
        faults=0,
        labels_joined=0,
        findings=findings,
    )
    settle(tx, job, result)


def _schedule(model: str, cron: str) -> str:
    return f"monitoring/{model}/{cron}"


def _model_changed(tx: Tx, event: Event) -> None:
    name = event.payload.get("model") or event.payload.get("name")
    if isinstance(name, str):
        watch(tx.acting_as(ACTOR), name)


WINDOW_HANDLING = Handling(WINDOW, settle=settle, failed=_not_observed)

SUBSCRIBERS = (
    Subscriber(
        name="monitoring.watch",
        types=("registry.stage_changed", "registry.model_declared", "registry.model_archived"),
        handle=_model_changed,
    ),
)

HANDLINGS = (WINDOW_HANDLING, alerts.NOTIFY_HANDLING)
