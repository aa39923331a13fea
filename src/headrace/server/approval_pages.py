"""The pages of a request for approval: what is asked for and what is known, and a form for who holds a link.

Opening a link decides nothing; only sending its form does, with the ticket that the form carries. The ticket is
what is trusted, so a browser needs no login, and no other site can send a form that has one.
"""

from contextlib import suppress
from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, SkipValidation
from litestar.response import Response

from headrace.errors import HeadraceError, NotFound, PermissionRefused
from headrace.governance import lineage
from headrace.governance.nouns import Node
from headrace.kernel.access import Role
from headrace.kernel.clocks import Clock
from headrace.kernel.database import Transactions, Tx
from headrace.kernel.tickets import Tickets
from headrace.registry import approvals, bounds, evidence, governed, links, stages, versions
from headrace.registry.approval import MEANINGS, Approval, Decision, LinkTicket
from headrace.registry.nouns import ApprovalStatus, Estimate, Evidence, Version
from headrace.server.html import page

FORM = "/approvals/{approval_id:str}/decide"

FIELD_LIMIT = 20_000
METRICS_SHOWN = 30
UPSTREAM = lineage.View(down=False, depth=6, neighbours=10, nodes=30)

Caller = Request[Any, Any, Any]
Issued = NamedDependency[SkipValidation[Tickets]]
Time = NamedDependency[SkipValidation[Clock]]


class ApprovalView(msgspec.Struct, frozen=True, kw_only=True):
    """A request with what is known of it.

    Attributes:
        version: None when it is gone, or for a model as a whole.
        production: the version in production, which its metrics stand beside; None without one, or for itself.
        lineage: what the version was made from, nearest first.
        judged_by: what each piece of evidence was judged by, by its id.
        missing: what the policies ask for beyond approvals and that is not there.
    """

    approval: Approval
    version: Version | None
    production: Version | None
    lineage: tuple[Node, ...]
    evidence: tuple[Evidence, ...]
    judged_by: dict[str, str]
    missing: tuple[str, ...]

    @property
    def metrics(self) -> list[tuple[str, str, str]]:
        """Name, value and that of production, of what the version was measured by, but for the machine's."""
        if self.version is None:
            return []
        other = {} if self.production is None else self.production.metrics
        names = sorted(name for name in self.version.metrics if not name.startswith("system/"))[:METRICS_SHOWN]
        return [(name, _told(self.version.metrics[name]), _told(other.get(name))) for name in names]

    @property
    def made_from(self) -> list[tuple[str, str]]:
        """What the version itself says of its making; the rest is in its lineage."""
        version = self.version
        if version is None:
            return []
        code = version.code_commit or ""
        changed = " with changes that were not committed" if code and version.code_dirty else ""
        size = sum(file.size_bytes for file in version.files)
        told = {
            "code": f"{code}{changed}",
            "copied from": version.source or "",
            "files": f"{len(version.files)}, {size:,} bytes",
        }
        return [(name, value) for name, value in told.items() if value]


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """What a person typed: shown again when it cannot be taken.

    Attributes:
        ticket: the link's, which the form carries.
        principal: in whose name it is sent.
        seen: ids of the evidence that the page showed.
        problem: why it was not taken.
    """

    ticket: str
    principal: str = ""
    answer: str = ""
    meaning: str = ""
    own_words: str = ""
    reason: str = ""
    seen: tuple[str, ...] = ()
    problem: str = ""

    @property
    def decision(self) -> Decision:
        """What it says."""
        return Decision(
            grant=self.answer == "grant",
            meaning=self.own_words.strip() or self.meaning,
            reason=self.reason.strip(),
            seen=self.seen,
        )


@get("/approvals/{approval_id:str}", include_in_schema=False)
async def approval_page(approval_id: FromPath[str], transactions: NamedDependency[Transactions]) -> Response[str]:
    """One request, as everybody may see it."""
    view = await transactions.read(lambda tx: read_view(tx, approvals.get(tx, approval_id)))
    return page("approval.html", view=view, form=None)


@get(FORM, include_in_schema=False)
async def decision_page(
    approval_id: FromPath[str],
    transactions: NamedDependency[Transactions],
    tickets: Issued,
    clock: Time,
    ticket: FromQuery[str] = "",
) -> Response[str]:
    """The form of a link; looking decides nothing."""
    try:
        opened = _open(tickets, ticket, approval_id, clock)
        own = transactions.acting_as(opened.principal, opened.workspace)
        view = await own.read(lambda tx: read_view(tx, links.look(tx, opened)))
    except HeadraceError as problem:
        return _closed(problem)
    if view.approval.status is not ApprovalStatus.REQUESTED:
        return page("approval.html", view=view, form=None)
    return page("approval.html", view=view, form=_blank(view, ticket, opened), meanings=MEANINGS, posts=True)


@post(FORM, include_in_schema=False, status_code=200)
async def send_decision(
    request: Caller,
    approval_id: FromPath[str],
    transactions: NamedDependency[Transactions],
    tickets: Issued,
    clock: Time,
) -> Response[str]:
    """Decide by a link."""
    form = await _form(request)
    try:
        opened = _open(tickets, form.ticket, approval_id, clock)
        own = transactions.acting_as(opened.principal, opened.workspace)
        if form.answer not in {"grant", "refuse"}:
            return await _again(own, opened, form, "Choose one of the two.", 400)
        try:
            await own.write(lambda tx: links.answer(tx, opened, form.decision))
        except PermissionRefused:
            raise
        except HeadraceError as problem:  # what was typed cannot be taken, or there is more to see
            return await _again(own, opened, form, problem.message, problem.status)
        view = await own.read(lambda tx: read_view(tx, approvals.get(tx, approval_id)))
    except HeadraceError as problem:
        return _closed(problem)
    return page("approval.html", view=view, form=None, sent=form.answer)


def read_view(tx: Tx, approval: Approval) -> ApprovalView:
    """Read what a page shows, on one snapshot."""
    about = approval.number and any(each == approval.number for each in versions.numbers(tx, approval.model))
    found = evidence.of_version(tx, approval.model, approval.number) if about else ()
    return ApprovalView(
        approval=approval,
        version=versions.get(tx, approval.model, approval.number) if about else None,
        production=_production(tx, approval),
        lineage=_made_from(tx, approval) if about else (),
        evidence=found,
        judged_by={each.id: bounds.all_words_of(each.judged_by) for each in found},
        missing=governed.missing_evidence(tx, approval) if about and approval.status.waits else (),
    )


def _production(tx: Tx, approval: Approval) -> Version | None:
    found = stages.production(tx, approval.model)
    return None if found is None or found.number == approval.number else found


def _made_from(tx: Tx, approval: Approval) -> tuple[Node, ...]:
    with suppress(NotFound):  # a version may have no place in the graph
        return lineage.around(tx, f"{approval.model}@{approval.number}", UPSTREAM).nodes[1:]
    return ()


def _told(metric: Estimate | None) -> str:
    """A metric, with its interval if it has one."""
    if metric is None:
        return ""
    if metric.low is None or metric.high is None:
        return f"{metric.value:.4g}"
    return f"{metric.value:.4g} ({metric.low:.4g} to {metric.high:.4g})"


def _open(tickets: Tickets, ticket: str, approval_id: str, clock: Clock) -> LinkTicket:
    opened = tickets.read(links.PURPOSE, ticket, LinkTicket, now=clock.now())
    if opened.approval_id != approval_id:
        raise PermissionRefused("this link is for another request", where="link")
    return opened


def _blank(view: ApprovalView, ticket: str, opened: LinkTicket) -> Form:
    seen = tuple(found.id for found in view.evidence)
    return Form(ticket=ticket, principal=opened.principal, seen=seen)


async def _form(request: Caller) -> Form:
    """The fields of a form, each a text and cut off where nobody would have gone on."""
    sent = await request.form()

    def text(name: str) -> str:
        return str(sent.get(name, ""))[:FIELD_LIMIT]

    return Form(
        ticket=text("ticket"),
        answer=text("answer"),
        meaning=text("meaning"),
        own_words=text("own_words"),
        reason=text("reason"),
        seen=tuple(str(each) for each in sent.getall("seen", [])),
    )


async def _again(own: Transactions, opened: LinkTicket, form: Form, problem: str, status: int) -> Response[str]:
    """The form once more, as it was filled in, with what is known now."""
    view = await own.read(lambda tx: read_view(tx, links.look(tx, opened)))
    if view.approval.status is not ApprovalStatus.REQUESTED:  # others were faster
        return page("approval.html", code=status, view=view, form=None)
    seen = tuple(found.id for found in view.evidence)
    shown = msgspec.structs.replace(form, principal=opened.principal, problem=problem, seen=seen)
    return page("approval.html", code=status, view=view, form=shown, meanings=MEANINGS, posts=True)


def _closed(problem: HeadraceError) -> Response[str]:
    return page("approval_closed.html", code=problem.status, problem=problem)


HANDLERS = [approval_page, decision_page, send_decision]

AUTHORIZATION: dict[str, Role | None] = {
    "GET /approvals/{approval_id}": Role.VIEWER,
    # who holds a link has no login: the ticket in it is asked for instead
    "GET /approvals/{approval_id}/decide": None,
    "POST /approvals/{approval_id}/decide": None,
}
