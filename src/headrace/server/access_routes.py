"""Principals, roles and tokens over HTTP; every change needs an admin."""

import msgspec
from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from headrace.kernel import access
from headrace.kernel.access import IssuedToken, Principal, Role, TokenRecord
from headrace.kernel.database import Transactions


class NewPrincipal(msgspec.Struct, frozen=True, kw_only=True):
    """A principal to make."""

    name: str
    roles: list[Role]


@get("/api/v1/access/whoami")
async def whoami(principal: NamedDependency[Principal]) -> Principal:
    """Who the caller is."""
    return principal


@get("/api/v1/access/principals")
async def list_principals(transactions: NamedDependency[Transactions]) -> list[Principal]:
    """Every principal."""
    return await transactions.read(access.all_principals)


@post("/api/v1/access/principals")
async def create_principal(data: JSONBody[NewPrincipal], transactions: NamedDependency[Transactions]) -> Principal:
    """Make a principal."""
    return await transactions.write(lambda tx: access.create_principal(tx, data.name, data.roles))


@put("/api/v1/access/principals/{name:str}/roles/{role:str}")
async def grant_role(
    name: FromPath[str], role: FromPath[str], transactions: NamedDependency[Transactions]
) -> Principal:
    """Give a role."""
    return await transactions.write(lambda tx: access.grant_role(tx, name, access.role_named(role)))


@delete("/api/v1/access/principals/{name:str}/roles/{role:str}", status_code=200)
async def revoke_role(
    name: FromPath[str], role: FromPath[str], transactions: NamedDependency[Transactions]
) -> Principal:
    """Take a role away."""
    return await transactions.write(lambda tx: access.revoke_role(tx, name, access.role_named(role)))


@post("/api/v1/access/principals/{name:str}/disable", status_code=200)
async def disable_principal(name: FromPath[str], transactions: NamedDependency[Transactions]) -> Principal:
    """Refuse a principal from now on."""
    return await transactions.write(lambda tx: access.disable_principal(tx, name))


@post("/api/v1/access/principals/{name:str}/enable", status_code=200)
async def enable_principal(name: FromPath[str], transactions: NamedDependency[Transactions]) -> Principal:
    """Let a disabled principal in again; it needs a new token."""
    return await transactions.write(lambda tx: access.enable_principal(tx, name))


@get("/api/v1/access/principals/{name:str}/tokens")
async def list_tokens(name: FromPath[str], transactions: NamedDependency[Transactions]) -> list[TokenRecord]:
    """A principal's tokens, without their secrets."""
    return await transactions.read(lambda tx: access.tokens_of(tx, name))


@post("/api/v1/access/principals/{name:str}/tokens")
async def issue_token(name: FromPath[str], transactions: NamedDependency[Transactions]) -> IssuedToken:
    """Make a token; its secret is in this answer and nowhere else."""
    return await transactions.write(lambda tx: access.issue_token(tx, name))


@delete("/api/v1/access/tokens/{token_id:str}")
async def revoke_token(token_id: FromPath[str], transactions: NamedDependency[Transactions]) -> None:
    """Refuse a token from now on."""
    await transactions.write(lambda tx: access.revoke_token(tx, token_id))


HANDLERS = [
    whoami, list_principals, create_principal, grant_role, revoke_role, disable_principal, enable_principal,
    list_tokens, issue_token, revoke_token,
]  # fmt: skip

AUTHORIZATION = {
    "GET /api/v1/access/whoami": Role.VIEWER,
    "GET /api/v1/access/principals": Role.ADMIN,
    "POST /api/v1/access/principals": Role.ADMIN,
    "PUT /api/v1/access/principals/{name}/roles/{role}": Role.ADMIN,
    "DELETE /api/v1/access/principals/{name}/roles/{role}": Role.ADMIN,
    "POST /api/v1/access/principals/{name}/disable": Role.ADMIN,
    "POST /api/v1/access/principals/{name}/enable": Role.ADMIN,
    "GET /api/v1/access/principals/{name}/tokens": Role.ADMIN,
    "POST /api/v1/access/principals/{name}/tokens": Role.ADMIN,
    "DELETE /api/v1/access/tokens/{token_id}": Role.ADMIN,
}
