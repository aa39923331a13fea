"""Monitoring's tables and every statement on them."""

from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.kernel.database import Tx, insert
from headrace.kernel.schema import Document, Instant, metadata, workspace_column
from headrace.monitoring.nouns import Alert, AlertState, Delivery, Window, WindowResult

watches = sa.Table(
    "monitoring_watches",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("model", sa.String(256), primary_key=True),
    sa.Column("cron", sa.String(128), primary_key=True),
)

windows = sa.Table(
    "monitoring_windows",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("model", sa.String(256), primary_key=True),
    sa.Column("cron", sa.String(128), primary_key=True),
    sa.Column("window_end", Instant, primary_key=True),
    sa.Column("job_id", sa.String(64), nullable=False),
    sa.Column("recorded_at", Instant, nullable=False),
    sa.Column("result", Document, nullable=False),
    sa.Index("ix_monitoring_windows_window_end", "workspace", "window_end"),
)

alerts = sa.Table(
    "monitoring_alerts",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    workspace_column(),
    sa.Column("model", sa.String(256), nullable=False),
    sa.Column("monitor", sa.String(64), nullable=False),
    sa.Column("name", sa.String(256), nullable=False),
    sa.Column("version", sa.Integer, nullable=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("windows", sa.Integer, nullable=False),
    sa.Column("window_start", Instant, nullable=False),
    sa.Column("window_end", Instant, nullable=False),
    sa.Column("last_window_end", Instant, nullable=False),
    sa.Column("opened_at", Instant, nullable=False),
    sa.Column("closed_at", Instant, nullable=True),
    sa.Column("closed_window_end", Instant, nullable=True),
    sa.Index(
        "uq_monitoring_alerts_open",
        "workspace",
        "model",
        "name",
        unique=True,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    ),
    sa.Index("ix_monitoring_alerts_model_name", "workspace", "model", "name", "last_window_end"),
)

deliveries = sa.Table(
    "monitoring_deliveries",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("alert_id", sa.String(64), primary_key=True),
    sa.Column("transition", sa.String(16), primary_key=True),
    sa.Column("channel", sa.String(128), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
)


def watched_crons(tx: Tx, model: str) -> set[str]:
    """The schedules on which a model is watched now."""
    statement = sa.select(watches.c.cron).where(watches.c.workspace == tx.workspace, watches.c.model == model)
    return set(tx.execute(statement).scalars())


def add_watch(tx: Tx, model: str, cron: str) -> None:
    """Note that a schedule runs."""
    tx.execute(watches.insert().values(workspace=tx.workspace, model=model, cron=cron))


def remove_watch(tx: Tx, model: str, cron: str) -> None:
    """Note that a schedule does not run any more."""
    tx.execute(
        watches.delete().where(
            watches.c.workspace == tx.workspace, watches.c.model == model, watches.c.cron == cron
        )
    )


def save_window(tx: Tx, result: WindowResult, job_id: str) -> None:
    """Keep a window; looking at the same one again replaces what was found."""
    key = {"workspace": tx.workspace, "model": result.model, "cron": result.cron, "window_end": result.end}
    found = {"job_id": job_id, "recorded_at": tx.now, "result": result}
    statement = insert(tx, windows).values(**key, **found)
    tx.execute(statement.on_conflict_do_update(index_elements=list(key), set_=found))


def newest_window_end(tx: Tx, model: str, cron: str) -> datetime | None:
    """End of the newest window on record."""
    statement = sa.select(sa.func.max(windows.c.window_end)).where(
        windows.c.workspace == tx.workspace, windows.c.model == model, windows.c.cron == cron
    )
    return tx.execute(statement).scalar_one_or_none()


def list_windows(tx: Tx, *, model: str | None, before: datetime | None, limit: int) -> list[Window]:
    """Windows, newest first."""
    statement = sa.select(windows).where(windows.c.workspace == tx.workspace)
    if model is not None:
        statement = statement.where(windows.c.model == model)
    if before is not None:
        statement = statement.where(windows.c.window_end < before)
    statement = statement.order_by(windows.c.window_end.desc(), windows.c.model, windows.c.cron).limit(limit)
    return [
        Window(result=msgspec.convert(row.result, WindowResult), job_id=row.job_id, recorded_at=row.recorded_at)
        for row in tx.execute(statement)
    ]


def add_alert(tx: Tx, alert: Alert) -> None:
    """Keep a new alert."""
    tx.execute(alerts.insert().values(workspace=tx.workspace, **msgspec.structs.asdict(alert)))


def change_alert(tx: Tx, alert_id: str, **values: Any) -> None:
    """Change columns of an alert."""
    tx.execute(alerts.update().where(alerts.c.workspace == tx.workspace, alerts.c.id == alert_id).values(**values))


def find_alert(tx: Tx, alert_id: str) -> Alert | None:
    """One alert."""
    row = tx.execute(sa.select(alerts).where(alerts.c.workspace == tx.workspace, alerts.c.id == alert_id)).first()
    return None if row is None else _alert(row)


def open_alert(tx: Tx, model: str, name: str) -> Alert | None:
    """The open alert of a monitor; there is at most one."""
    row = tx.execute(
        sa.select(alerts).where(
            alerts.c.workspace == tx.workspace,
            alerts.c.model == model,
            alerts.c.name == name,
            alerts.c.state == AlertState.OPEN,
        )
    ).first()
    return None if row is None else _alert(row)


def list_alerts(tx: Tx, *, model: str | None, state: AlertState | None, limit: int) -> list[Alert]:
    """Alerts, newest first."""
    statement = sa.select(alerts).where(alerts.c.workspace == tx.workspace)
    if model is not None:
        statement = statement.where(alerts.c.model == model)
    if state is not None:
        statement = statement.where(alerts.c.state == state)
    statement = statement.order_by(alerts.c.opened_at.desc(), alerts.c.id.desc()).limit(limit)
    return [_alert(row) for row in tx.execute(statement)]


def save_delivery(tx: Tx, delivery: Delivery) -> None:
    """Keep what became of a message, in place of what was known before."""
    columns = msgspec.structs.asdict(delivery)
    keys = ["workspace", "alert_id", "transition", "channel"]
    statement = insert(tx, deliveries).values(workspace=tx.workspace, **columns)
    changed = {name: columns[name] for name in ("state", "reason", "at")}
    tx.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))


def list_deliveries(tx: Tx, alert_id: str) -> list[Delivery]:
    """The messages about an alert."""
    statement = (
        sa.select(deliveries)
        .where(deliveries.c.workspace == tx.workspace, deliveries.c.alert_id == alert_id)
        .order_by(deliveries.c.transition.desc(), deliveries.c.channel)
    )
    return [
        Delivery(
            alert_id=row.alert_id,
            transition=row.transition,
            channel=row.channel,
            state=row.state,
            reason=row.reason,
            at=row.at,
        )
        for row in tx.execute(statement)
    ]


def _alert(row: sa.Row[Any]) -> Alert:
    fields = {field: getattr(row, field) for field in Alert.__struct_fields__}
    return Alert(**fields | {"state": AlertState(row.state)})
