"""Monitoring's HTTP door: windows and alerts are read here; only monitors write them."""

from datetime import datetime
from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from headrace.kernel.access import Role
from headrace.kernel.database import Transactions
from headrace.monitoring import alerts, windows
from headrace.monitoring.nouns import Alert, AlertDetails, AlertState, Window

PageSize = Annotated[int, QueryParameter(ge=1, le=1_000)]
InState = Annotated[AlertState | None, QueryParameter(name="state")]  # Litestar keeps the name "state" for itself


@get("/api/v1/monitoring/windows")
async def list_windows(
    transactions: NamedDependency[Transactions],
    model: FromQuery[str | None] = None,
    before: FromQuery[datetime | None] = None,
    limit: PageSize = 100,
) -> tuple[Window, ...]:
    """Windows and what the monitors found in them, newest first."""
    return await transactions.read(lambda tx: windows.listing(tx, model=model, before=before, limit=limit))


@get("/api/v1/alerts")
async def list_alerts(
    transactions: NamedDependency[Transactions],
    model: FromQuery[str | None] = None,
    in_state: InState = None,
    limit: PageSize = 100,
) -> tuple[Alert, ...]:
    """Alerts, newest first."""
    return await transactions.read(lambda tx: alerts.listing(tx, model=model, state=in_state, limit=limit))


@get("/api/v1/alerts/{alert_id:str}")
async def get_alert(alert_id: FromPath[str], transactions: NamedDependency[Transactions]) -> AlertDetails:
    """An alert with the messages about it."""
    return await transactions.read(lambda tx: alerts.details(tx, alert_id))


HANDLERS = [list_windows, list_alerts, get_alert]

AUTHORIZATION = {
    "GET /api/v1/monitoring/windows": Role.VIEWER,
    "GET /api/v1/alerts": Role.VIEWER,
    "GET /api/v1/alerts/{alert_id}": Role.VIEWER,
}
