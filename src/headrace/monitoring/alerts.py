"""Alerts: one for each deviation, however many windows show it, until a healthy window ends it.

Deduplication is by model and monitor. A window that cannot tell neither opens nor closes anything.
"""

from collections.abc import Sequence

import msgspec

from headrace.errors import NotFound
from headrace.kernel import events, jobs
from headrace.kernel.database import Tx
from headrace.kernel.ids import new_id
from headrace.kernel.jobs import Handling, Job
from headrace.monitoring import tables
from headrace.monitoring.jobs import NOTIFY
from headrace.monitoring.nouns import (
    Alert,
    AlertDetails,
    AlertState,
    Delivered,
    Delivery,
    Finding,
    Health,
    Notification,
    WindowResult,
)
from headrace.registry import naming


def observe(tx: Tx, result: WindowResult, finding: Finding, channels: Sequence[str]) -> Alert | None:
    """Take one finding: open, continue or close the monitor's alert.

    Args:
        tx: the transaction that records the window.
        result: the window.
        finding: what one monitor found in it.
        channels: names of the channels to tell of an opening or a recovery.

    Returns:
        The alert, when the finding touched one.
    """
    alert = tables.open_alert(tx, result.model, finding.name)
    if finding.health is Health.INCONCLUSIVE:
        return alert
    if finding.health is Health.ALARM:
        return _open(tx, result, finding, channels) if alert is None else _continue(tx, result, alert)
    return None if alert is None else _close(tx, result, finding, alert, channels)


def listing(
    tx: Tx, *, model: str | None = None, state: AlertState | None = None, limit: int = 100
) -> tuple[Alert, ...]:
    """Alerts, newest first.

    Raises:
        NotFound: there is no such model, and nothing of it.
    """
    return tuple(naming.found_of(tx, model, tables.list_alerts(tx, model=model, state=state, limit=limit)))


def still_open(tx: Tx, *, limit: int = 100) -> tuple[Alert, ...]:
    """The alerts that wait for a healthy window, newest first."""
    return tuple(tables.list_alerts(tx, model=None, state=AlertState.OPEN, limit=limit))


def details(tx: Tx, alert_id: str) -> AlertDetails:
    """An alert and the messages about it.

    Raises:
        NotFound: no such alert in this workspace.
    """
    alert = tables.find_alert(tx, alert_id)
    if alert is None:
        raise NotFound("there is no such alert", where=f"alert/{alert_id}", fix="List alerts at /api/v1/alerts.")
    return AlertDetails(alert=alert, deliveries=tuple(tables.list_deliveries(tx, alert_id)))


def _open(tx: Tx, result: WindowResult, finding: Finding, channels: Sequence[str]) -> Alert:
    alert = Alert(
        id=new_id("alert"),
        model=result.model,
        monitor=finding.monitor,
        name=finding.name,
        version=result.version,
        state=AlertState.OPEN,
        summary=finding.summary,
        windows=1,
        window_start=result.start,
        window_end=result.end,
        last_window_end=result.end,
        opened_at=tx.now,
    )
    tables.add_alert(tx, alert)
    _record(tx, "monitoring.alert_opened", alert, result, finding)
    _tell(tx, alert, "opened", f"{result.model}: {finding.monitor} alarm", finding, result, channels)
    return alert


def _continue(tx: Tx, result: WindowResult, alert: Alert) -> Alert:
    changed = {"windows": alert.windows + 1, "last_window_end": result.end}
    tables.change_alert(tx, alert.id, **changed)
    return msgspec.structs.replace(alert, **changed)


def _close(tx: Tx, result: WindowResult, finding: Finding, alert: Alert, channels: Sequence[str]) -> Alert:
    changed = {
        "state": AlertState.CLOSED,
        "last_window_end": result.end,
        "closed_at": tx.now,
        "closed_window_end": result.end,
    }
    tables.change_alert(tx, alert.id, **changed)
    closed = msgspec.structs.replace(alert, **changed)
    _record(tx, "monitoring.alert_closed", closed, result, finding)
    _tell(tx, closed, "closed", f"{result.model}: {finding.monitor} has recovered", finding, result, channels)
    return closed


def _record(tx: Tx, type_: str, alert: Alert, result: WindowResult, finding: Finding) -> None:
    events.append(
        tx,
        type_,
        f"alert/{alert.id}",
        {
            "alert_id": alert.id,
            "model": alert.model,
            "monitor": alert.monitor,
            "name": alert.name,
            "version": result.version,
            "window_start": result.start,
            "window_end": result.end,
            "summary": finding.summary,
        },
    )


def _tell(
    tx: Tx,
    alert: Alert,
    transition: str,
    title: str,
    finding: Finding,
    result: WindowResult,
    channels: Sequence[str],
) -> None:
    version = "no version" if result.version is None else f"version {result.version}"
    text = (
        f"{finding.summary}\n{version} of {result.model}, predictions from {result.start:%Y-%m-%d %H:%M} "
        f"to {result.end:%Y-%m-%d %H:%M} UTC. Alert {alert.id}."
    )
    for channel in dict.fromkeys(channels):
        message = Notification(alert_id=alert.id, transition=transition, channel=channel, title=title, text=text)
        jobs.enqueue(tx, NOTIFY, message, key=f"notify/{alert.id}/{transition}/{channel}")
        tables.save_delivery(tx, _delivery(tx, message, "queued"))


def tell(tx: Tx, subject: str, transition: str, title: str, text: str, channels: Sequence[str]) -> None:
    """Send a message about something that is no alert to channels; the same one is sent once.

    Args:
        subject: what it is about, for example `release/rel_1`.
        transition: what happened to it.
        title: of the message.
        text: of the message.
        channels: names of channels in the platform's settings.
    """
    for channel in dict.fromkeys(channels):
        message = Notification(
            alert_id=subject, transition=transition, channel=channel, title=title, text=text, subject=subject
        )
        jobs.enqueue(tx, NOTIFY, message, key=f"notify/{subject}/{transition}/{channel}")
        tables.save_delivery(tx, _delivery(tx, message, "queued"))


def _delivery(tx: Tx, message: Notification, state: str, reason: str = "") -> Delivery:
    return Delivery(
        alert_id=message.alert_id,
        transition=message.transition,
        channel=message.channel,
        state=state,
        reason=reason,
        at=tx.now,
    )


def _delivered(tx: Tx, job: Job, _: Delivered) -> None:
    message = msgspec.json.decode(job.payload, type=Notification)
    tables.save_delivery(tx, _delivery(tx, message, "delivered"))
    _record_message(tx, "monitoring.message_delivered", message)


def _not_delivered(tx: Tx, job: Job, error: str) -> None:
    message = msgspec.json.decode(job.payload, type=Notification)
    tables.save_delivery(tx, _delivery(tx, message, "failed", error))


def _record_message(tx: Tx, type_: str, message: Notification) -> None:
    events.append(
        tx,
        type_,
        message.subject or f"alert/{message.alert_id}",
        {"transition": message.transition, "channel": message.channel},
    )


NOTIFY_HANDLING = Handling(NOTIFY, settle=_delivered, failed=_not_delivered)
