"""Monitoring's records: windows, what each monitor found in them, alerts and their delivery.

Frozen and light: control, workers and the SDK share them, and their JSON is the wire.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from headrace.project.monitors import Monitor, PerformanceMonitor

OUTPUT_COLUMN = "prediction"
"""Name under which a reference profile holds the model's own scores, beside the features."""


class Health(StrEnum):
    """What a monitor found in a window."""

    HEALTHY = "HEALTHY"
    ALARM = "ALARM"
    INCONCLUSIVE = "INCONCLUSIVE"
    """Too little data to tell: no alarm, and no recovery either."""


class AlertState(StrEnum):
    """An alert is open until its monitor finds a healthy window."""

    OPEN = "open"
    CLOSED = "closed"


class WindowRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A window to look at.

    Attributes:
        model: the model that is watched.
        cron: the schedule whose monitors look; the window ends at one of its firings and begins at the one before.
        end: end of the window, business time, for a window that no schedule asked for.
    """

    model: str
    cron: str
    end: datetime | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one monitor found.

    Attributes:
        monitor: its kind: "drift", "quality" or "performance".
        name: tells monitors of one model apart, such as "performance:roc_auc"; alerts go by it.
        health: the verdict.
        summary: one sentence for people.
        rows: predictions that it rests on.
        details: the numbers, by monitor.
    """

    monitor: str
    name: str
    health: Health
    summary: str
    rows: int
    details: dict[str, Any] = {}


class WindowResult(msgspec.Struct, frozen=True, kw_only=True):
    """A window as the worker measured it: predictions with business time in [start, end).

    Attributes:
        version: the version that was judged, the one in production; None when there was none any more.
        predictions: live predictions in the window, of every version.
        faults: those of them that faulted.
        labels_joined: labels that were written because they had matured.
        counts: blob digest of the window's counts in the bins of the version's profile; they merge exactly.
        findings: one for each monitor.
    """

    model: str
    cron: str
    start: datetime
    end: datetime
    version: int | None
    predictions: int
    faults: int
    labels_joined: int
    counts: str | None = None
    findings: tuple[Finding, ...] = ()


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A window that is on record."""

    result: WindowResult
    job_id: str
    recorded_at: datetime
    """Wall time."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A deviation of one monitor of one model, from the window that showed it until one that is healthy.

    Attributes:
        version: the version that was judged when it opened.
        windows: windows that showed it, so far.
        window_start: start of the window that opened it, business time.
        window_end: end of that window.
        last_window_end: end of the newest window that was judged.
        closed_window_end: end of the window that closed it.
    """

    id: str
    model: str
    monitor: str
    name: str
    version: int | None
    state: AlertState
    summary: str
    windows: int
    window_start: datetime
    window_end: datetime
    last_window_end: datetime
    opened_at: datetime
    closed_at: datetime | None = None
    closed_window_end: datetime | None = None


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """A message to one channel.

    Attributes:
        alert_id: what it is about.
        transition: "opened" or "closed".
        channel: name of a channel in the platform's settings; the address is a secret and stays there.
        subject: what it is about if that is no alert, such as `release/rel_1`; then `alert_id` is the same.
    """

    alert_id: str
    transition: str
    channel: str
    title: str
    text: str
    subject: str = ""


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """The channel took the message."""

    channel: str


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message: "queued", "delivered" or "failed"."""

    alert_id: str
    transition: str
    channel: str
    state: str
    reason: str = ""
    at: datetime


class AlertDetails(msgspec.Struct, frozen=True, kw_only=True):
    """An alert and its messages."""

    alert: Alert
    deliveries: tuple[Delivery, ...]


def monitor_kind(monitor: Monitor) -> str:
    """What a monitor watches: "drift", "quality" or "performance"."""
    return str(type(monitor).__struct_config__.tag)


def named_monitors(monitors: tuple[Monitor, ...]) -> dict[str, Monitor]:
    """Monitors by a name that is unique within the model; the schedule tells two of a kind apart."""
    names: dict[str, Monitor] = {}
    for monitor in monitors:
        kind = monitor_kind(monitor)
        name = f"{kind}:{monitor.metric}" if isinstance(monitor, PerformanceMonitor) else kind
        if name in names:
            name = f"{name}@{monitor.every}"
        names.setdefault(name, monitor)
    return names
