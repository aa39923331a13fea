"""The records of approvals: what was asked for, who answered for it and in what words, and links to answer by.

A request names one change of one version, by its digest. It is open until enough have granted it, and it is used up
by the change that it allows.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec

from headrace.registry.nouns import ApprovalStatus

MEANINGS = (
    "I have reviewed the evidence and accept the risk.",
    "I have verified that the version is fit for its intended use.",
    "I authorize the change on behalf of the model's owner.",
)
"""What a grant may mean, to choose from; any other text may be given instead."""

Via = Literal["api", "cli", "link"]


class ApprovalDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What one person decided: with the time, the meaning and the digest, an electronic signature.

    Attributes:
        link: id of the link that it was made by; empty for any other door.
        evidence: ids of what was known of the version when it was decided.
        valid_until: wall time from which a grant counts no more; None never.
        event_seq: the event that recorded it; what happens to the person's roles later comes after it.
        revoked_because: why it counts no more; empty while it stands.
        counts: whether it counts now.
        why_not: why a grant that stands does not count, such as a role that was taken away.
    """

    id: str
    approval_id: str
    principal: str
    grant: bool
    reason: str = ""
    meaning: str = ""
    via: Via = "api"
    link: str = ""
    digest: str = ""
    evidence: tuple[str, ...] = ()
    at: datetime
    valid_until: datetime | None = None
    event_seq: int = 0
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    revoked_because: str = ""
    counts: bool = False
    why_not: str = ""


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """A request that others answer for a change of a version, bound to the version's digest.

    Attributes:
        number: the version; 0 for the model as a whole.
        digest: of the version's files; of all versions for the model as a whole.
        target: what is to become of it, such as `stage/Production` or `alias/champion`.
        details: what is asked for beyond the target, such as the new description.
        release_id: the release that asks; None when a caller does.
        role: who may decide.
        needed: how many must grant it.
        four_eyes: whether those in `excluded` may not decide.
        excluded: the author, and who asked.
        signed: whether a grant needs a meaning and a refusal a reason.
        governed_by: the policies that asked for it.
        notify: names of channels that are told of it, and that its time runs out.
        remind_at: wall time of that; None where nobody is to be told, or was.
        why: why it is asked for, in the words of who asks.
        expires_at: wall time until which it can be decided.
        valid_for_s: seconds for which a grant counts; None without end.
        valid_until: wall time until which it may be used, once it is granted; None without end.
        decided_by: who decided last.
        reason: why it stands as it does.
        used_at: wall time of the change that it allowed.
        decisions: who decided what, oldest first.
        missing: what policies ask for beyond approvals and that is not there; told of one request that waits.
    """

    id: str
    model: str
    number: int
    digest: str
    target: str = "stage/Production"
    details: dict[str, Any] = {}
    release_id: str | None = None
    role: str
    needed: int = 1
    four_eyes: bool
    excluded: tuple[str, ...]
    signed: bool = False
    governed_by: tuple[str, ...] = ()
    notify: tuple[str, ...] = ()
    remind_at: datetime | None = None
    why: str = ""
    status: ApprovalStatus
    requested_by: str
    requested_at: datetime
    expires_at: datetime
    valid_for_s: float | None = None
    valid_until: datetime | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    reason: str = ""
    used_at: datetime | None = None
    decisions: tuple[ApprovalDecision, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        """The version, or the model, for people."""
        return f"{self.model}@{self.number}" if self.number else self.model

    @property
    def wish(self) -> str:
        """What is asked for, for people."""
        return wish_of(self.target)

    @property
    def granted(self) -> int:
        """How many grants count."""
        return sum(decision.counts for decision in self.decisions)


class RequestApproval(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask for; `excluded` adds principals to the version's author and who asks."""

    model: str
    number: int
    digest: str | None = None
    """None takes the version's."""
    target: str = "stage/Production"
    details: dict[str, Any] = {}
    release_id: str | None = None
    role: str = "approver"
    needed: int = 1
    four_eyes: bool = True
    signed: bool = False
    governed_by: tuple[str, ...] = ()
    notify: tuple[str, ...] = ()
    why: str = ""
    expires_s: float
    valid_for_s: float | None = None
    excluded: tuple[str, ...] = ()


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to a request for approval.

    Attributes:
        reason: why.
        meaning: what the grant means, such as one of `MEANINGS`.
        seen: ids of the evidence that was looked at; when given, it must be all that there is.
        via: through which door, for the record.
    """

    grant: bool
    reason: str = ""
    meaning: str = ""
    seen: tuple[str, ...] | None = None
    via: Literal["api", "cli"] = "api"


class Revocation(msgspec.Struct, frozen=True, kw_only=True):
    """A grant that is taken back.

    Attributes:
        principal: whose grant; None means the caller's own.
    """

    principal: str | None = None
    reason: str = ""


class Withdrawal(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is taken back."""

    reason: str = ""


class AskForApproval(msgspec.Struct, frozen=True, kw_only=True):
    """A caller's wish to ask ahead of a change: `target` is `stage/<stage>` or `alias/<alias>`.

    After a refusal it may be whatever that was for; `number` is then 0 for a model as a whole.
    """

    model: str
    number: int
    target: str
    why: str = ""


class AskForLink(msgspec.Struct, frozen=True, kw_only=True):
    """A wish for a link by which one person can decide without logging in.

    Attributes:
        principal: who decides by it.
        valid_for: how long it opens, such as 24h.
    """

    principal: str
    valid_for: str = "24h"


class ApprovalLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link that was issued, at the one moment when its address is known."""

    id: str
    approval_id: str
    principal: str
    expires_at: datetime
    url: str


class LinkRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a link: it opens once.

    Attributes:
        event_seq: the event that issued it; what happens to its people's roles later comes after it.
    """

    id: str
    approval_id: str
    principal: str
    issued_by: str
    issued_at: datetime
    expires_at: datetime
    event_seq: int = 0
    used_at: datetime | None = None


class LinkTicket(msgspec.Struct, frozen=True, array_like=True):
    """What the link itself says, sealed by `kernel.tickets`."""

    id: str
    approval_id: str
    digest: str
    principal: str
    workspace: str


def wish_of(target: str) -> str:
    """A target for people: what the version or model is to do."""
    kind, _, name = target.partition("/")
    alias, _, removed = name.partition("/")
    if kind == "alias":
        return f"lose the alias {alias}" if removed else f"get the alias {alias}"
    wishes = {
        "stage": f"move to {name}",
        "deleted": "be deleted",
        "renamed": f"be renamed to {name}",
        "described": "be described anew",
    }
    return wishes.get(kind, target)
