"""The acts of production: months of predictions, drift and its alarm, late labels, and the audit trail."""

import random
import sqlite3
from datetime import datetime

from headrace.cli.demonstration.stage import Stage
from headrace.cli.demonstration.traffic import score_customers
from headrace.cli.demonstration.world import MODEL, World, date
from headrace.delivery.nouns import PipelineStatus
from headrace.kernel import audit, checkpoints
from headrace.kernel.settings import load_settings
from headrace.monitoring.nouns import AlertState, Health

MONTHS = [date(1997, month) for month in range(9, 13)] + [date(1998, month) for month in range(1, 4)]
CUSTOMERS_A_MONTH = 1500


def months(stage: Stage, world: World) -> None:
    """The shop goes on; the first month's drift raises one alarm, which waits for labels to retrain on."""
    with stage.act("Seven months in production", f"1997-08-01 → {MONTHS[-1]:%Y-%m-%d}"):
        chosen = random.Random(1997)  # noqa: S311 - traffic, not secrets
        served = 0
        with stage.bar("months", len(MONTHS)) as bar:
            for month in MONTHS:
                traffic = score_customers(world.dana, MODEL, chosen.sample(world.customers, CUSTOMERS_A_MONTH))
                served += traffic.answered[1]
                world.local.move_clock(month)
                if month != MONTHS[-1]:
                    world.local.settle()
                else:
                    _await_window(world, month)
                bar.step()
                if month == MONTHS[0]:
                    _confirm_alarm(stage, world)
        stage.confirm(
            f"{served:,} predictions by customer id, features looked up online, all by version 1",
            holds=served == CUSTOMERS_A_MONTH * len(MONTHS),
        )
        results = sorted((window.result for window in world.dana.windows(MODEL)), key=lambda result: result.end)
        judged = [finding for result in results for finding in result.findings if finding.monitor == "performance"]
        known = [finding for finding in judged if finding.health is not Health.INCONCLUSIVE]
        labels = sum(result.labels_joined for result in results)
        stage.confirm(
            f"{len(results)} monthly windows were judged; {labels:,} labels matured and were joined to predictions",
            holds=[result.end for result in results] == MONTHS and labels > 0,
        )
        logged = [result.predictions for result in results]
        stage.confirm(
            f"{sum(logged):,} predictions were logged and reached the lake, as many as were answered",
            holds=logged[0] > CUSTOMERS_A_MONTH and all(count == CUSTOMERS_A_MONTH for count in logged[1:]),
        )
        stage.confirm(f"performance on mature labels: {known[-1].summary if known else 'none'}", holds=bool(known))
        stage.confirm("still one alarm, delivered once", holds=len(_drift_messages(world)) == 1)


def _await_window(world: World, month: datetime) -> None:
    """The last month also starts the retraining, which the next act follows: wait for its window alone."""
    world.local.wait_for(
        lambda: world.dana.windows(MODEL),
        lambda windows: any(window.result.end == month for window in windows),
        "the window of the last month",
    )


def _confirm_alarm(stage: Stage, world: World) -> None:
    alerts = world.dana.alerts()  # of every monitor: one cause is one alarm
    stage.confirm(
        f"August drifted, one alarm is open: {alerts[0].summary if alerts else ''}",
        holds=[(alert.monitor, alert.state) for alert in alerts] == [("drift", AlertState.OPEN)],
    )
    world.local.wait_for(lambda: _drift_messages(world), bool, "the webhook")
    stage.confirm("it was delivered to the webhook, once", holds=len(_drift_messages(world)) == 1)
    (retraining,) = [item for item in world.dana.pipelines(MODEL) if item.trigger == "drift"]
    stage.confirm(
        f"a retraining waits until {retraining.ready_at:%Y-%m-%d}, when enough new labels are mature",
        holds=retraining.status is PipelineStatus.WAITING and retraining.ready_at <= date(1998, 3),
    )


def _drift_messages(world: World) -> list[str]:
    return [str(message) for message in world.receiver.messages if "drift" in str(message)]


def audit_trail(stage: Stage, world: World) -> None:
    """The chain verifies; one edited row in a copy is found."""
    with stage.act("Audit", "1998-03-01"):
        settings = load_settings(home=world.platform.home)
        signed = checkpoints.checkpoints_path(settings.home)
        report = audit.verify(settings.database_path, signed)
        stage.confirm(
            f"{report.events} events verify against {report.checkpoints} signed checkpoints", holds=report.verified
        )
        copy = world.platform.home.parent / "edited.db"
        audit.copy_file(settings.database_path, copy)
        with sqlite3.connect(copy) as connection:
            (seq,) = connection.execute(
                "SELECT seq FROM events WHERE type = 'registry.approval_granted' ORDER BY seq LIMIT 1"
            ).fetchone()
            connection.execute("UPDATE events SET actor = 'mallory' WHERE seq = ?", (seq,))
        connection.close()
        found = audit.verify(copy, signed)
        stage.confirm(
            f"in a copy, the approver of event {seq} was changed to mallory; verify names it: "
            f"{found.problems[0].where if found.problems else 'nothing'}",
            holds=any(problem.where == f"event/{seq}" for problem in found.problems),
        )
