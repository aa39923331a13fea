"""What somebody allows for one version: to run code when it is loaded, or to build types that nobody reviewed.

It is bound to the version's digest, names who allowed it and why, and is an event. Gateways hear of it with their
routes, so a version that waits for it is loaded without anybody's doing.
"""

import re

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.registry import versions
from headrace.serving import preparing, routing, tables_loading
from headrace.serving.loading_nouns import Allow, Allowance, Forbid

REASON_LENGTH = 2_000
TYPES_LIMIT = 200
_TYPE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+")


def allow(tx: Tx, model: str, number: int, asked: Allow) -> Allowance:
    """Allow more for a version than is allowed for it now; what is allowed already changes nothing.

    Raises:
        NotFound: there is no such version.
        InvalidInput: there is no reason, or nothing is allowed, or a type is not one.
    """
    _check(asked)
    version = versions.get(tx, model, number)
    before = tables_loading.find_allowance(tx, model, number, version.digest)
    code = asked.code or (before is not None and before.code)
    types = tuple(sorted({*asked.types, *(before.types if before else ())}))
    if before is not None and (before.code, before.types) == (code, types):
        return before
    allowance = Allowance(
        model=model,
        number=number,
        digest=version.digest,
        code=code,
        types=types,
        reason=asked.reason.strip(),
        allowed_by=tx.actor,
        allowed_at=tx.now,
    )
    tables_loading.put_allowance(tx, allowance)
    events.append(
        tx, "serving.loading_allowed", f"version/{model}/{number}",
        {
            "model": model,
            "number": number,
            "digest": version.digest,
            "code": code,
            "types": types,
            "reason": allowance.reason,
        },
    )  # fmt: skip
    routing.refresh(tx, model, number)
    preparing.ask(tx, model, number)
    return allowance


def forbid(tx: Tx, model: str, number: int, asked: Forbid) -> None:
    """Take back all that was allowed for a version; gateways let go of it, and of the faster form made under it.

    Raises:
        NotFound: there is no such version, or nothing was allowed for it.
        InvalidInput: there is no reason.
    """
    _require_reason(asked.reason)
    version = versions.get(tx, model, number)
    if not tables_loading.drop_allowance(tx, model, number):
        raise NotFound("nothing was allowed for this version", where=f"version/{model}/{number}")
    preparing.forget(tx, model, number)
    events.append(
        tx, "serving.loading_forbidden", f"version/{model}/{number}",
        {"model": model, "number": number, "digest": version.digest, "reason": asked.reason.strip()},
    )  # fmt: skip
    routing.refresh(tx, model, number)


def _check(asked: Allow) -> None:
    _require_reason(asked.reason)
    if not asked.code and not asked.types:
        raise InvalidInput("say what is allowed", where="code", fix="Allow code, or name types.")
    if len(asked.types) > TYPES_LIMIT:
        raise InvalidInput(f"at most {TYPES_LIMIT} types are allowed", where="types")
    for name in asked.types:
        if not _TYPE.fullmatch(name):
            raise InvalidInput(
                f"{name[:100]!r} is not the full name of a type", where="types", fix="Write module.Class."
            )


def _require_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > REASON_LENGTH:
        raise InvalidInput(f"a reason has 1 to {REASON_LENGTH} characters", where="reason", fix="Say why.")
