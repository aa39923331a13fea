"""`headrace status`, `clock`, `features`, `alerts`: what there is, at a glance."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from headrace.delivery.nouns import Release
    from headrace.sdk.platform import Platform


def status() -> None:
    """What runs, what is in production, what waits for whom."""
    from headrace.cli.screen import console, moment
    from headrace.sdk.connect import connect

    platform = connect()
    screen = console()
    clock = platform.clock()
    activity = platform.activity()
    screen.print(f"[bold]{platform.url}[/]   you are {platform.access.whoami().name}")
    replay = "  [yellow]replayed[/]" if clock.replayed else ""
    screen.print(f"  business time  {moment(clock.now)}{replay}")
    gateways = platform.gateways()
    screen.print(f"  gateways       {', '.join(gateway.url for gateway in gateways) or '[red]none[/]'}")
    screen.print(f"  work under way {activity.jobs} job(s)")
    show_models(screen, platform)
    _show_open(screen, platform)


def _show_open(screen: "Console", platform: "Platform") -> None:
    """Open releases, approvals and alerts: what waits for somebody."""
    from headrace.cli.screen import table

    shown = table("waits", "for", "since")
    for release in platform.releases():
        if not release.state.final:
            shown.add_row(
                f"release {release.model}@{release.number}",
                _standing(release),
                f"{release.updated_at:%Y-%m-%d %H:%M}",
            )
    for approval in platform.approvals("requested"):
        shown.add_row(
            f"approval of {approval.about} to {approval.wish}",
            f"{approval.granted} of {approval.needed} {approval.role}; headrace approvals show {approval.id}",
            f"{approval.requested_at:%Y-%m-%d %H:%M}",
        )
    for pipeline in platform.pipelines():
        if not pipeline.status.ended:
            shown.add_row(
                f"training {pipeline.model}",
                pipeline.note or pipeline.status,
                f"{pipeline.requested_at:%Y-%m-%d %H:%M}",
            )
    for alert in platform.alerts():
        if alert.state == "open":
            shown.add_row(
                f"[red]alert {alert.model} {alert.name}[/]", alert.summary, f"{alert.opened_at:%Y-%m-%d %H:%M}"
            )
    if shown.row_count:
        screen.print(shown)


def _standing(release: "Release") -> str:
    """Where a release stands, and on what evidence while it has traffic."""
    phase = release.phase.replace("_", " ")
    if release.phase != "rolling_out" or not release.canary:
        return f"{phase}: {release.reason}" if release.reason else phase
    seen = release.canary[-1]
    return (
        f"{phase} at {release.state.weight_percent} %: {seen.challenger.units:,} units, "
        f"{seen.challenger.failed_units} with faults, {seen.verdict}"
    )


def clock(
    to: Annotated[
        datetime | None,
        typer.Argument(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Move it there, for a replay."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Begin a replay without asking.")] = False,
) -> None:
    """Read business time, or move it forward for a replay."""
    from headrace.cli.screen import console, moment
    from headrace.sdk.connect import connect

    platform = connect()
    now = platform.clock()
    if to is not None:
        if not now.replayed and not yes:
            question = "Business time follows wall time. Begin a replay, in which it stands until it is moved?"
            typer.confirm(question, abort=True)
        now = platform.move_clock(to.replace(tzinfo=UTC))
    console().print(f"{moment(now.now)} UTC{' (replayed)' if now.replayed else ''}")


def show_models(screen: "Console", platform: "Platform") -> None:
    """Every model with what is in production."""
    from headrace.cli.screen import moment, table

    shown = table("model", ">versions", ">in production", "changed")
    for model in platform.models():
        production = platform.model(model.name).production
        live = f"[green]{model.name}@{production}[/]" if production else "[dim]none[/]"
        shown.add_row(model.name, str(model.latest_number), live, moment(model.updated_at))
    if shown.row_count:
        screen.print(shown)


def show_versions(screen: "Console", platform: "Platform", name: str) -> None:
    """The newest versions of one model."""
    from headrace.cli.screen import STAGE_COLOURS, coloured, leading, moment, table

    details = platform.model(name)
    keys = leading({key for version in details.versions for key in version.metrics}, 3)
    shown = table("version", "stage", *(f">{key}" for key in keys), "owner", "registered", "training set", "code")
    for version in details.versions:
        values = []
        for key in keys:
            metric = version.metrics.get(key)
            interval = (
                f" [dim]{metric.low:.3f}–{metric.high:.3f}[/]"
                if metric and metric.low is not None and metric.high is not None
                else ""
            )
            values.append(f"{metric.value:.4f}{interval}" if metric else "")
        shown.add_row(
            f"{name}@{version.number}",
            coloured(version.stage, STAGE_COLOURS[version.stage]),
            *values,
            version.owner,
            moment(version.created_at),
            version.training_set_id or "",
            (version.code_commit or "")[:12],
        )
    screen.print(shown)


def features() -> None:
    """Entities, sources, feature views and labels, and how far their data are."""
    from headrace.cli.screen import console, day, table
    from headrace.sdk.connect import connect

    catalog = connect().features()
    shown = table("kind", "name", ">version", "data through", ">rows", "state", "declared at")
    sources = {state.source: state for state in catalog.sources}
    views = {state.view: state for state in catalog.views}
    for item in catalog.objects:
        source, view = sources.get(item.name), views.get(item.name)
        through = rows = problem = ""
        if item.kind == "source" and source:
            through, rows, problem = day(source.ingested_through), f"{source.rows:,}", source.error
        elif item.kind == "view" and view:
            through, problem = day(view.materialized_through), view.error
        state = f"[red]{problem}[/]" if problem else ("archived" if item.archived_at else "")
        shown.add_row(item.kind, item.name, str(item.version), through, rows, state, item.declared_at)
    console().print(shown)


def alerts() -> None:
    """Alerts, newest first."""
    from headrace.cli.screen import console, moment, table
    from headrace.sdk.connect import connect

    shown = table("model", "monitor", "state", "window", "what", "opened")
    for alert in connect().alerts():
        colour = "red" if alert.state == "open" else "dim"
        shown.add_row(
            alert.model,
            alert.name,
            f"[{colour}]{alert.state}[/]",
            f"{alert.window_start:%Y-%m-%d} → {alert.window_end:%Y-%m-%d}",
            alert.summary,
            moment(alert.opened_at),
        )
    console().print(shown)
