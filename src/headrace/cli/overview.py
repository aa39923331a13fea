"""`headrace status`, `clock`, `features`, `alerts`: what there is, at a glance."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from headrace.delivery.nouns import Release
    from headrace.delivery.paired_nouns import QualityEvidence
    from headrace.registry.nouns import Estimate
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
    screen.print(f"  work under way {activity.jobs} job{'' if activity.jobs == 1 else 's'}")
    show_models(screen, platform)
    _show_open(screen, platform)


def _show_open(screen: "Console", platform: "Platform") -> None:
    """Open releases, approvals and alerts: what waits for somebody."""
    from headrace.cli.screen import fitted, moment, plain

    rows: list[tuple[str, str, str]] = []
    for release in platform.releases():
        if not release.state.final:
            what = f"release {plain(release.model)}@{release.number}"
            rows.append((what, plain(_standing(release)), moment(release.updated_at)))
    for approval in platform.approvals("requested"):
        what = plain(f"approval of {approval.about} to {approval.wish}")
        whom = f"{approval.granted} of {approval.needed} {approval.role}; headrace approvals show {approval.id}"
        rows.append((what, plain(whom), moment(approval.requested_at)))
    for pipeline in platform.pipelines():
        if not pipeline.status.ended:
            note = plain(pipeline.note or pipeline.status)
            rows.append((f"training {plain(pipeline.model)}", note, moment(pipeline.requested_at)))
    for alert in platform.alerts():
        if alert.state == "open":
            what = f"[red]alert {plain(alert.model)} {plain(alert.name)}[/]"
            rows.append((what, plain(alert.summary), moment(alert.opened_at)))
    if rows:
        columns = dict(zip(("waits", "for", "since"), map(list, zip(*rows, strict=True)), strict=True))
        screen.print(fitted(screen, columns, ("since",)))


def _standing(release: "Release") -> str:
    """Where a release stands, and on what evidence while it has traffic."""
    from headrace.cli.experiments import in_a_line
    from headrace.cli.releases import held

    phase, paused = release.phase.replace("_", " "), ", paused" if release.state.paused else ""
    more = f"; waits for {release.waits_in_words}" if release.waits_in_words else ""
    if held(release):
        more += f"; held to more than is declared: headrace release {release.model}"
    if release.phase != "rolling_out" or not release.canary:
        return f"{phase}{paused}: {release.reason}{more}" if release.reason else f"{phase}{paused}{more}"
    seen = release.canary[-1]
    where = "as a shadow" if release.in_shadow else f"at {release.state.weight_percent} %"
    where += paused
    waits = f"; you may promote, abort or wait: headrace release {release.model}" if release.state.asked else ""
    outcomes = "" if release.quality is None else f"{_outcomes(release.quality)}, "
    said = f"{outcomes}{seen.verdict.replace('_', ' ').lower()}{waits}{more}"
    if release.experiment is not None and not release.state.final:
        return f"{phase} {where}: {in_a_line(release, release.experiment)}, {said}"
    failed = seen.challenger.failed_units
    return f"{phase} {where}: {seen.challenger.units:,} units, {failed} with faults, {said}"


def _outcomes(seen: "QualityEvidence") -> str:
    """How two versions compare by what became of their requests."""
    name = seen.loss.replace("_", " ")
    if seen.difference is None:
        return f"{name} by no outcome yet ({seen.waiting:,} wait)"
    return f"{name} {seen.difference:+.4f} by {seen.units:,} outcomes ({seen.waiting:,} wait)"


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


def show_models(screen: "Console", platform: "Platform") -> bool:
    """Models and what is in production; returns whether there are any."""
    from headrace.cli.screen import moment, plain, table

    shown = table("model", "in production", "since", "newest version", "registered")
    for model in platform.models():
        found = platform.model(model.name)
        live, since = "[dim]none[/]", ""
        if found.production is not None:
            live = f"[green]{plain(model.name)}@{found.production}[/]"
            entered = platform.history(model.name, limit=1).since
            since = moment(entered.at) if entered is not None else ""
        newest = found.versions[0] if found.versions else None
        latest = (
            (f"{plain(model.name)}@{newest.number}", moment(newest.created_at)) if newest else ("[dim]none[/]", "")
        )
        shown.add_row(plain(model.name), live, since, *latest)
    if shown.row_count:
        screen.print(shown)
    return bool(shown.row_count)


def show_versions(screen: "Console", platform: "Platform", name: str) -> None:
    """The newest versions of one model."""
    from headrace.cli.screen import STAGE_COLOURS, coloured, fitted, leading, moment, plain

    versions = platform.model(name).versions
    if not versions:
        screen.print(f"no version of {plain(name)} is there yet")
        return
    keys = leading({key for version in versions for key in version.metrics}, 3)
    columns = {
        "version": [f"{plain(name)}@{version.number}" for version in versions],
        "stage": [coloured(version.stage, STAGE_COLOURS[version.stage]) for version in versions],
        **{f">{key}": [_with_interval(version.metrics.get(key)) for version in versions] for key in keys},
        "owner": [plain(version.owner) for version in versions],
        "registered": [moment(version.created_at) for version in versions],
        "training set": [version.training_set_id or "" for version in versions],
        "code": [plain((version.code_commit or "")[:12]) for version in versions],
    }
    last_metrics = [f">{key}" for key in reversed(keys[1:])]
    screen.print(fitted(screen, columns, ("training set", "code", "owner", *last_metrics)))


def _with_interval(metric: "Estimate | None") -> str:
    """A metric, and its interval if it has one."""
    if metric is None:
        return ""
    if metric.low is None or metric.high is None:
        return f"{metric.value:.4f}"
    return f"{metric.value:.4f} [dim]{metric.low:.3f}–{metric.high:.3f}[/]"


def features() -> None:
    """Entities, sources, feature views and labels, and how far their data are."""
    from headrace.cli.screen import console, day, plain, table
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
        state = f"[red]{plain(problem)}[/]" if problem else ("archived" if item.archived_at else "")
        declared_at = plain(item.declared_at)
        shown.add_row(item.kind, plain(item.name), str(item.version), through, rows, state, declared_at)
    console().print(shown if shown.row_count else "nothing is declared yet: headrace apply PROJECT")


def alerts() -> None:
    """Alerts, newest first."""
    from headrace.cli.screen import console, moment, plain, table
    from headrace.sdk.connect import connect

    shown = table("model", "monitor", "state", "window", "what", "opened")
    for alert in connect().alerts():
        colour = "red" if alert.state == "open" else "dim"
        shown.add_row(
            plain(alert.model),
            plain(alert.name),
            f"[{colour}]{alert.state}[/]",
            f"{alert.window_start:%Y-%m-%d} → {alert.window_end:%Y-%m-%d}",
            plain(alert.summary),
            moment(alert.opened_at),
        )
    console().print(shown if shown.row_count else "no alert was ever opened")
