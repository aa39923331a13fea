"""`headrace approvals`: what waits for whom, and answering it."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from headrace.registry.approval import Approval, ApprovalDecision
    from headrace.sdk.platform import Platform

app = typer.Typer(help="Requests for approval: who asks for what, and the answers.", no_args_is_help=True)

Request = Annotated[str, typer.Argument(help="The request's id, or MODEL@N for the only open one.")]
METRICS_SHOWN = 12
Reason = Annotated[str, typer.Option(help="Why, for the record.")]
Meaning = Annotated[str, typer.Option(help="What the approval means, as it is to stand in the audit trail.")]


@app.command("list")
def show_all(
    status: Annotated[
        str, typer.Option(help="requested, granted, used, refused, expired, withdrawn, void, or all.")
    ] = "requested",
    model: Annotated[str | None, typer.Option(help="Only those of this model.")] = None,
) -> None:
    """Requests, newest first: those that wait for a decision, unless others are asked for."""
    from headrace.cli.screen import console, moment, plain, table
    from headrace.errors import InvalidInput
    from headrace.registry.nouns import ApprovalStatus
    from headrace.sdk.connect import connect

    known = [each.value for each in ApprovalStatus]
    if status not in {"all", *known}:
        raise InvalidInput(
            f"{status!r} is no status of a request", where="--status", fix=f"Use one of {', '.join(known)} or all."
        )
    wanted = None if status == "all" else status
    shown = table("request", "what", "status", "needs", "asked by", "until")
    for approval in connect().approving.search(status=wanted, model=model):
        shown.add_row(
            approval.id,
            plain(f"{approval.about} is to {approval.wish}"),
            coloured_status(approval),
            needs(approval),
            plain(approval.requested_by),
            moment(approval.valid_until if approval.status == "granted" else approval.expires_at),
        )
    screen = console()
    screen.print(shown if shown.row_count else plain(_none_found(wanted, model)))


def _none_found(wanted: str | None, model: str | None) -> str:
    """What a list without a row says."""
    whose = f" of {model}" if model else ""
    if wanted == "requested":
        return f"no request{whose} waits for a decision"
    return f"no request{whose}{' is ' + wanted if wanted else ''}"


@app.command("show")
def show(request: Request) -> None:
    """One request with everything that is known: evidence, decisions, and whether each counts."""
    from headrace.cli.screen import console, moment, plain, table
    from headrace.errors import NotFound
    from headrace.registry.bounds import all_words_of
    from headrace.sdk.connect import connect

    platform = connect()
    approval = platform.approving.get(find(platform, request).id)
    screen = console()
    about, wish = plain(approval.about), plain(approval.wish)
    screen.print(f"[bold]{about}[/] is to [bold]{wish}[/]   {coloured_status(approval)}")
    facts = table("", "")
    facts.show_header = False
    rows = {
        "request": approval.id,
        "asked by": f"{approval.requested_by}, {moment(approval.requested_at)} UTC"
        + (f": {approval.why}" if approval.why else ""),
        "needs": needs(approval) + (f"; not of {', '.join(approval.excluded)}" if approval.four_eyes else ""),
        "by policy": "; ".join(approval.governed_by),
        "release": approval.release_id or "",
        "open until": f"{moment(approval.expires_at)} UTC" if approval.status == "requested" else "",
        "digest": approval.digest,
        "because": "" if approval.status in {"requested", "granted", "used"} else approval.reason,
        **{f"{name} to be": str(value) for name, value in approval.details.items()},
    }
    for name, value in rows.items():
        if value:
            facts.add_row(f"[dim]{plain(name)}[/]", plain(value))
    screen.print(facts)
    found = []
    if approval.number:
        try:
            found = platform.evidence(approval.model, approval.number)
            _show_version(screen, platform, approval)
        except NotFound:
            screen.print("[dim]the version is gone[/]")
        else:
            if not found:
                screen.print("[dim]no gate or check has judged this version[/]")
    if found:
        shown = table("verdict", "evidence", "gate", "found")
        for each in found:
            colour = "green" if each.verdict.passes else "red"
            of_metric = f" of {each.metric}" if each.metric else ""
            what = plain(each.summary or each.name)
            judged_by = all_words_of(each.judged_by)
            gate = plain(f"{each.gate}{of_metric}" + (f", judged by {judged_by}" if judged_by else ""))
            shown.add_row(f"[{colour}]{each.verdict}[/]", what, gate, moment(each.recorded_at))
        screen.print(shown)
    for line in approval.missing:
        screen.print(f"[red]![/] {plain(f'the policy asks for more than approvals: {line}')}", soft_wrap=True)
    if approval.decisions:
        shown = table("by", "said", "meaning", "reason", "time")
        for decision in approval.decisions:
            time = f"{decision.at:%Y-%m-%d %H:%M:%S}, by {decision.via}"
            meaning, reason = plain(decision.meaning), plain(decision.reason)
            shown.add_row(plain(decision.principal), _said(decision), meaning, reason, time)
        screen.print(shown)


def _show_version(screen: "Console", platform: "Platform", approval: "Approval") -> None:
    """What the version was measured by, beside production, and where it comes from."""
    from headrace.cli.screen import leading, plain, table

    versions = [platform.version(approval.model, approval.number)]
    champion = platform.model(approval.model).production
    if champion is not None and champion != approval.number:
        versions.append(platform.version(approval.model, champion))
    shown = table("metric", *(f">{one.model}@{one.number}" for one in versions))
    for name in leading(set(versions[0].metrics), METRICS_SHOWN):
        values = (one.metrics.get(name) for one in versions)
        shown.add_row(plain(name), *("" if value is None else f"{value.value:.4g}" for value in values))
    if shown.row_count:
        screen.print(shown)
    else:
        screen.print("[dim]no metric was logged with it[/]")
    if versions[0].run_id:
        screen.print(f"[dim]from run[/] {platform.url}/runs/{versions[0].run_id}", soft_wrap=True)
    where = plain(f"headrace lineage {approval.model}@{approval.number}")
    screen.print(f"[dim]where all of it comes from: {where}[/]", soft_wrap=True)


@app.command("request")
def request_(
    version: Annotated[str, typer.Argument(help="MODEL@N; to ask again about a model as a whole, its name alone.")],
    target: Annotated[
        str, typer.Option(help="stage/STAGE or alias/ALIAS; after a refusal, what that names.")
    ] = "stage/Production",
    why: Annotated[str, typer.Option(help="Why, for who decides.")] = "",
) -> None:
    """Ask for the approvals of a change ahead of it, or again after a refusal."""
    from headrace.cli.screen import console, plain
    from headrace.errors import InvalidInput
    from headrace.sdk.connect import connect

    model, at, number = version.rpartition("@")
    if not at and not target.startswith(("stage/", "alias/")):
        model, number = version, "0"
    if not model or not number.isdecimal():
        raise InvalidInput(f"{version!r} names no version", where="VERSION", fix="Write churn@3.")
    asked = connect().approving.ask(model, int(number), target, why)
    what = plain(f"request {asked.id}: {asked.about} is to {asked.wish}; it needs {needs(asked)}")
    console().print(f"[green]✓[/] {what}")


@app.command("grant")
def grant(request: Request, meaning: Meaning = "", reason: Reason = "") -> None:
    """Grant a request, as one of those who answer for it."""
    from headrace.sdk.connect import connect

    platform = connect()
    answer(platform, find(platform, request), grants=True, meaning=meaning, reason=reason)


@app.command("refuse")
def refuse(request: Request, reason: Reason = "") -> None:
    """Refuse a request, which closes it."""
    from headrace.sdk.connect import connect

    platform = connect()
    answer(platform, find(platform, request), grants=False, reason=reason)


@app.command("revoke")
def revoke(
    request: Request,
    of: Annotated[str | None, typer.Option("--of", help="Whose grant, for admins \\[your own].")] = None,
    reason: Reason = "",
) -> None:
    """Take a grant back that has not been used."""
    from headrace.cli.screen import console, plain
    from headrace.sdk.connect import connect

    platform = connect()
    left = platform.approving.revoke(find(platform, request).id, principal=of, reason=reason)
    console().print(f"[green]✓[/] {plain(f'{left.about} to {left.wish}')}: {left.status}, {needs(left)}")


@app.command("withdraw")
def withdraw(request: Request, reason: Reason = "") -> None:
    """Close a request of one's own."""
    from headrace.cli.screen import console, plain
    from headrace.sdk.connect import connect

    platform = connect()
    closed = platform.approving.withdraw(find(platform, request).id, reason)
    console().print(f"[green]✓[/] {plain(f'{closed.about} to {closed.wish}')}: {closed.status}")


@app.command("link")
def link(
    request: Request,
    principal: Annotated[str, typer.Option("--for", help="Who decides by it.")],
    valid_for: Annotated[str, typer.Option(help="How long it opens.")] = "24h",
) -> None:
    """Make a link by which one person decides once without logging in; it is shown this once."""
    from headrace.cli.screen import console, moment
    from headrace.sdk.connect import connect

    platform = connect()
    made = platform.approving.link(find(platform, request).id, principal, valid_for=valid_for)
    console().print(f"for {made.principal} alone, once, until {moment(made.expires_at)} UTC:", style="dim")
    print(made.url)


def find(platform: "Platform", text: str) -> "Approval":
    """The request that an id, MODEL@N, or MODEL means.

    Raises:
        NotFound: there is none that waits.
        InvalidInput: several wait.
    """
    from headrace.errors import InvalidInput, NotFound

    if text.startswith("apr_"):
        return platform.approving.get(text)
    model, _, number = text.rpartition("@")
    model = model or number
    waiting = [
        approval
        for status in ("requested", "granted")
        for approval in platform.approving.search(status=status, model=model)
        if model == text or str(approval.number) == number
    ]
    if not waiting:
        raise NotFound(f"no approval of {text} is asked for", where=text, fix="See: headrace approvals list")
    open_now = [approval for approval in waiting if approval.status == "requested"] or waiting
    if len(open_now) > 1:
        raise InvalidInput(
            f"{len(open_now)} requests about {text} wait: {', '.join(each.id for each in open_now)}",
            where=text,
            fix="Name one by its id. See: headrace approvals list",
        )
    return open_now[0]


def answer(
    platform: "Platform", approval: "Approval", *, grants: bool, meaning: str = "", reason: str = ""
) -> None:
    """Send a decision; at a terminal, a meaning that is asked for and not given can be chosen."""
    from headrace.cli.screen import console, plain
    from headrace.registry.approval import Decision

    screen = console()
    if grants and approval.signed and not meaning and sys.stdin.isatty():
        meaning = _choose_meaning(approval)
    decision = Decision(grant=grants, meaning=meaning, reason=reason, via="cli")
    decided = platform.approving.decide(approval.id, decision)
    done = "granted" if grants else "refused"
    what = plain(f"{decided.about} is to {decided.wish}")
    screen.print(f"[green]✓[/] you have {done} that {what}: {needs(decided)}")
    if decided.release_id and grants and decided.granted >= decided.needed:
        screen.print(plain(f"  its release goes on by itself: headrace release {decided.model}"), style="dim")


def _choose_meaning(approval: "Approval") -> str:
    from headrace.cli.screen import console, plain
    from headrace.registry.approval import MEANINGS

    console().print(plain(f"What does your approval of {approval.about} to {approval.wish} mean?"))
    for place, meaning in enumerate(MEANINGS, start=1):
        print(f"  {place}  {meaning}")
    given = str(typer.prompt("Choose a number, or say it in your own words")).strip()
    return MEANINGS[int(given) - 1] if given.isdigit() and 0 < int(given) <= len(MEANINGS) else given


def needs(approval: "Approval") -> str:
    """How many of how many, and of whom."""
    if approval.status == "used":
        return f"{approval.needed} of the role {approval.role}"
    return f"{approval.granted} of {approval.needed} of the role {approval.role}"


def coloured_status(approval: "Approval") -> str:
    """The status, in its colour."""
    from headrace.cli.screen import coloured

    colours = {"requested": "yellow", "granted": "green", "used": "green", "refused": "red"}
    return coloured(approval.status, colours.get(approval.status, "dim"))


def _said(decision: "ApprovalDecision") -> str:
    from headrace.cli.screen import plain

    said = "granted" if decision.grant else "refused"
    if decision.revoked_because:
        return f"[dim]{said}; no longer: {plain(decision.revoked_because)}[/]"
    if decision.why_not:
        return f"[dim]{said}; does not count: {plain(decision.why_not)}[/]"
    return f"[{'green' if decision.grant else 'red'}]{said}[/]"
