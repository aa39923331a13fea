"""Who may do what: principals, their roles, and the bearer tokens that prove them.

A token is 256 random bits and only its SHA-256 is stored, so a copy of the database opens no door; a slow password
hash would add nothing to that. A principal is never deleted and its name never given again, so that the name in the
audit trail always means the same one.
"""

import enum
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.errors import AlreadyExists, Conflict, InvalidInput, NotAuthenticated, NotFound, PolicyRefused
from headrace.kernel import events
from headrace.kernel.database import DEFAULT_WORKSPACE, Tx
from headrace.kernel.ids import new_id
from headrace.kernel.spelling import did_you_mean
from headrace.kernel.tables import principals, tokens

TOKEN_PREFIX = "hdr_"  # noqa: S105 - lets secret scanners recognise a token
TOKEN_BYTES = 32
_TOKEN_FORM = re.compile(r"hdr_[A-Za-z0-9_-]{43}\Z")
_NAME_FORM = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}\Z")
SYSTEM_NAME = "system"
"""The actor of the platform's own work."""
_RESERVED = frozenset({"local", "anonymous", "reader", SYSTEM_NAME})


class Role(enum.StrEnum):
    """What a principal was given. Roles do not contain one another; `permits` holds the two exceptions."""

    VIEWER = "viewer"
    """Reads everything but secrets, and asks for predictions."""
    DEVELOPER = "developer"
    """Applies projects, trains, logs runs, registers versions, opens releases, which ask for approval."""
    APPROVER = "approver"
    """Decides on approvals of what somebody else made."""
    OPERATOR = "operator"
    """Commands releases that are under way, and takes models back; acknowledges alerts."""
    ADMIN = "admin"
    """Makes principals and tokens and may do all of the above."""
    SYSTEM = "system"
    """The platform's own workers and gateways: takes jobs, settles results, reports counters."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody or something that acts.

    Attributes:
        id: its name; unique in the workspace for ever, and the actor of its events.
        name: the same, for display.
        roles: what it was given.
        is_local: a caller on this machine without a token. It may do everything but what is the system's,
            and never counts as a second pair of eyes, since nothing tells two such callers apart.
        workspace: where it acts.
        disabled: whether all its tokens are refused.
    """

    id: str
    name: str
    roles: tuple[Role, ...]
    is_local: bool = False
    workspace: str = DEFAULT_WORKSPACE
    disabled: bool = False


LOCAL = Principal(id="local", name="local", roles=(), is_local=True)


class IssuedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A new token, at the one moment when its secret is known.

    Attributes:
        id: names the token for revocation.
        secret: what the caller sends as `Authorization: Bearer …`; not stored anywhere.
        principal: whose it is.
        expires_at: when it stops working; None never.
    """

    id: str
    secret: str
    principal: str
    expires_at: datetime | None

    def __repr__(self) -> str:
        return f"IssuedToken(id={self.id!r}, principal={self.principal!r}, expires_at={self.expires_at!r})"


class TokenRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a token afterwards."""

    id: str
    principal: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def permits(principal: Principal, role: Role) -> bool:
    """Whether `principal` may do what needs `role`.

    Admin and the local caller may do everything that is not the system's own; whoever has any role may look.
    """
    if principal.disabled:
        return False
    if role in principal.roles:
        return True
    if role is Role.SYSTEM:
        return False
    if principal.is_local or Role.ADMIN in principal.roles:
        return True
    return role is Role.VIEWER and bool(principal.roles)


def acting(tx: Tx) -> Principal:
    """On whose behalf a transaction acts, with the roles that it has now.

    A name that was never given is code of the platform or of a test, and has no roles.
    """
    if tx.actor == LOCAL.id:
        return msgspec.structs.replace(LOCAL, workspace=tx.workspace)
    if tx.actor == SYSTEM_NAME:
        return Principal(id=SYSTEM_NAME, name=SYSTEM_NAME, roles=(Role.SYSTEM,), workspace=tx.workspace)
    row = tx.execute(_select(tx).where(principals.c.id == tx.actor)).first()
    return (
        Principal(id=tx.actor, name=tx.actor, roles=(), workspace=tx.workspace) if row is None else _principal(row)
    )


def role_named(text: str) -> Role:
    """The role of this name.

    Raises:
        InvalidInput: there is none.
    """
    try:
        return Role(text)
    except ValueError as error:
        raise InvalidInput(
            f"{text[:50]!r} is not a role", where="role", fix=f"Give one of {_names(_GRANTABLE)}."
        ) from error


def create_principal(tx: Tx, name: str, roles: Iterable[Role]) -> Principal:
    """Make a principal; it can do nothing until it has a token.

    Raises:
        InvalidInput: the name has a form that is not allowed, or no role was given.
        AlreadyExists: the name was given before, be it to a disabled principal.
        PolicyRefused: the name or a role is the platform's own.
    """
    if not _NAME_FORM.match(name):
        raise InvalidInput(
            "a principal's name has 1 to 64 of a-z, 0-9 and . _ @ - and starts with a letter or digit",
            where="name",
            fix="Choose another name, for example ana or ci@build.",
        )
    if name in _RESERVED or name.startswith(f"{SYSTEM_NAME}-"):
        raise PolicyRefused(f"the name {name!r} is the platform's own", where="name", fix="Choose another name.")
    given = _assignable(roles)
    if not given:
        raise InvalidInput("a principal needs a role", where="roles", fix=f"Give one of {_names(_GRANTABLE)}.")
    return _insert(tx, name, given)


def principal(tx: Tx, name: str) -> Principal:
    """One principal of this workspace.

    Raises:
        NotFound: there is none of this name.
    """
    row = tx.execute(_select(tx).where(principals.c.id == name)).first()
    if row is None:
        question = did_you_mean(name, (each.name for each in all_principals(tx)))
        raise NotFound(
            "there is no such principal",
            where=f"principal/{name[:64]}",
            fix=f"{question} See: headrace access list".strip(),
        )
    return _principal(row)


def all_principals(tx: Tx) -> list[Principal]:
    """Every principal of this workspace, by name."""
    return [_principal(row) for row in tx.execute(_select(tx).order_by(principals.c.id))]


def has_admin(tx: Tx) -> bool:
    """Whether anybody could log in as an admin now: not disabled, with a token that is valid."""
    admins = [known.id for known in all_principals(tx) if Role.ADMIN in known.roles and not known.disabled]
    valid = sa.select(tokens.c.id).where(
        tokens.c.workspace == tx.workspace,
        tokens.c.principal_id.in_(admins),
        tokens.c.revoked_at.is_(None),
        sa.or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > tx.now),
    )
    return tx.execute(valid.limit(1)).first() is not None


def grant_role(tx: Tx, name: str, role: Role) -> Principal:
    """Give a role; giving one twice changes nothing.

    Raises:
        NotFound: there is no such principal.
        PolicyRefused: the role is the platform's own.
    """
    (given,) = _assignable([role])
    before = principal(tx, name)
    if given in before.roles:
        return before
    return _set_roles(tx, before, (*before.roles, given), "kernel.role_granted", given)


def revoke_role(tx: Tx, name: str, role: Role) -> Principal:
    """Take a role away, at once for every token of the principal.

    Raises:
        NotFound: there is no such principal.
        Conflict: nobody would be left who can make principals.
    """
    before = principal(tx, name)
    if role not in before.roles:
        return before
    if role is Role.ADMIN:
        _require_another_admin(tx, name)
    left = tuple(kept for kept in before.roles if kept is not role)
    return _set_roles(tx, before, left, "kernel.role_revoked", role)


def disable_principal(tx: Tx, name: str) -> Principal:
    """Refuse the principal and all its tokens from now on.

    Raises:
        NotFound: there is no such principal.
        Conflict: nobody would be left who can make principals.
    """
    before = principal(tx, name)
    if before.disabled:
        return before
    if Role.ADMIN in before.roles:
        _require_another_admin(tx, name)
    tx.execute(_update(tx, name).values(disabled_at=tx.now))
    events.append(tx, "kernel.principal_disabled", f"principal/{name}", {})
    return principal(tx, name)


def enable_principal(tx: Tx, name: str) -> Principal:
    """Let a disabled principal in again, with its roles and a new token: those that it had stay refused.

    What it has approved before stays lost, too.

    Raises:
        NotFound: there is no such principal.
    """
    before = principal(tx, name)
    if not before.disabled:
        return before
    tx.execute(_update(tx, name).values(disabled_at=None))
    valid = (tokens.c.workspace == tx.workspace, tokens.c.principal_id == name, tokens.c.revoked_at.is_(None))
    refused = tx.execute(tokens.update().where(*valid).values(revoked_at=tx.now)).rowcount
    events.append(tx, "kernel.principal_enabled", f"principal/{name}", {"tokens_revoked": refused})
    return principal(tx, name)


def issue_token(tx: Tx, name: str, *, expires_at: datetime | None = None) -> IssuedToken:
    """Make a token for a principal; the answer is the only place where its secret ever stands.

    Args:
        tx: a write transaction.
        name: the principal.
        expires_at: wall time from which it is refused; None never.

    Raises:
        NotFound: there is no such principal.
        Conflict: the principal is disabled.
        InvalidInput: the expiry is not in the future.
    """
    owner = principal(tx, name)
    if owner.disabled:
        raise Conflict(
            "the principal is disabled",
            where=f"principal/{name}",
            fix=f"Let it in again: headrace access enable {name}",
        )
    if expires_at is not None and expires_at <= tx.now:
        raise InvalidInput("the token would have expired already", where="expires_at", fix="Choose a later time.")
    secret = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    token_id = new_id("tok")
    tx.execute(
        tokens.insert().values(
            id=token_id,
            workspace=tx.workspace,
            principal_id=name,
            digest=_digest(secret),
            created_at=tx.now,
            expires_at=expires_at,
        )
    )
    events.append(tx, "kernel.token_issued", f"principal/{name}", {"token": token_id, "expires_at": expires_at})
    return IssuedToken(id=token_id, secret=secret, principal=name, expires_at=expires_at)


def tokens_of(tx: Tx, name: str) -> list[TokenRecord]:
    """The tokens of one principal, newest first, without their secrets."""
    found = tx.execute(
        sa.select(tokens)
        .where(tokens.c.workspace == tx.workspace, tokens.c.principal_id == name)
        .order_by(tokens.c.id.desc())
    )
    return [
        TokenRecord(
            id=row.id,
            principal=row.principal_id,
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
        )
        for row in found
    ]


def revoke_token(tx: Tx, token_id: str) -> None:
    """Refuse one token from now on; revoking it twice changes nothing.

    Raises:
        NotFound: there is no such token in this workspace.
    """
    row = tx.execute(
        sa.select(tokens.c.principal_id, tokens.c.revoked_at).where(
            tokens.c.workspace == tx.workspace, tokens.c.id == token_id
        )
    ).first()
    if row is None:
        raise NotFound("there is no such token", where="token")
    if row.revoked_at is None:
        tx.execute(tokens.update().where(tokens.c.id == token_id).values(revoked_at=tx.now))
        events.append(tx, "kernel.token_revoked", f"principal/{row.principal_id}", {"token": token_id})


def authenticate(tx: Tx, secret: str) -> Principal:
    """Whose token this is.

    The look-up is by digest and the comparison in constant time, and every refusal reads the same, so that neither
    time nor text tells whether a token was ever valid.

    Raises:
        NotAuthenticated: unknown, expired or revoked, or its principal is disabled.
    """
    digest = _digest(secret)
    row = tx.execute(
        sa.select(tokens.c.digest, tokens.c.expires_at, tokens.c.revoked_at, principals)
        .join_from(
            tokens,
            principals,
            sa.and_(principals.c.workspace == tokens.c.workspace, principals.c.id == tokens.c.principal_id),
        )
        .where(tokens.c.digest == digest)
    ).first()
    stored = row.digest if row is not None else _digest("")
    if (
        not hmac.compare_digest(stored, digest)
        or row is None
        or not _TOKEN_FORM.match(secret)
        or row.revoked_at is not None
        or (row.expires_at is not None and row.expires_at <= tx.now)
        or row.disabled_at is not None
    ):
        raise NotAuthenticated(
            "the token is not valid",
            where="Authorization",
            fix="Ask an admin for a token: headrace access token NAME",
        )
    return _principal(row)


_GRANTABLE = tuple(role for role in Role if role is not Role.SYSTEM)


def _assignable(roles: Iterable[Role]) -> tuple[Role, ...]:
    """The roles in their order of declaration, once each; refuses the system's."""
    wanted = set(roles)
    if Role.SYSTEM in wanted:
        raise PolicyRefused(
            "the role system belongs to the platform's own processes",
            where="roles",
            fix=f"Give one of {_names(_GRANTABLE)}.",
        )
    return tuple(role for role in _GRANTABLE if role in wanted)


def _insert(tx: Tx, name: str, roles: tuple[Role, ...]) -> Principal:
    if tx.execute(_select(tx).where(principals.c.id == name)).first() is not None:
        raise AlreadyExists("this name was given already", where=f"principal/{name}", fix="Choose another name.")
    tx.execute(principals.insert().values(workspace=tx.workspace, id=name, roles=list(roles), created_at=tx.now))
    events.append(tx, "kernel.principal_created", f"principal/{name}", {"roles": list(roles)})
    return principal(tx, name)


def _set_roles(tx: Tx, before: Principal, roles: tuple[Role, ...], event: str, role: Role) -> Principal:
    ordered = [known for known in Role if known in roles]
    tx.execute(_update(tx, before.id).values(roles=ordered))
    events.append(tx, event, f"principal/{before.id}", {"role": role, "roles": ordered})
    return principal(tx, before.id)


def _require_another_admin(tx: Tx, name: str) -> None:
    if not any(
        Role.ADMIN in other.roles and not other.disabled and other.id != name for other in all_principals(tx)
    ):
        raise Conflict(
            "this is the last admin", where=f"principal/{name}", fix="Give somebody else the role admin first."
        )


def _select(tx: Tx) -> sa.Select[Any]:
    return sa.select(principals).where(principals.c.workspace == tx.workspace)


def _update(tx: Tx, name: str) -> sa.Update:
    return principals.update().where(principals.c.workspace == tx.workspace, principals.c.id == name)


def _principal(row: sa.Row[Any]) -> Principal:
    return Principal(
        id=row.id,
        name=row.id,
        roles=tuple(Role(role) for role in row.roles),
        workspace=row.workspace,
        disabled=row.disabled_at is not None,
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _names(roles: Iterable[Role]) -> str:
    return ", ".join(roles)
