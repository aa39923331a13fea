"""Reading versions, and the three fields of them that may change: description, tags and owner."""

import msgspec

from headrace.errors import NotFound
from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.registry import models, register, tables
from headrace.registry.nouns import Version


def get(tx: Tx, model: str, number: int) -> Version:
    """One version.

    Raises:
        NotFound: there is no such version.
    """
    version = tables.find_version(tx, model, number)
    if version is None:
        raise NotFound(f"model {model!r} has no version {number}", where=f"version/{model}/{number}")
    return version


def describe(
    tx: Tx,
    model: str,
    number: int,
    *,
    description: str | None = None,
    tags: dict[str, str] | None = None,
    owner: str | None = None,
) -> Version:
    """Set the description or the owner, or replace the tags, of a version.

    Raises:
        InvalidInput: a tag or the owner is not one.
    """
    version = get(tx, model, number)
    models.check_changed_tags(version.tags, tags or {})
    if owner is not None:
        register.check_owner(owner)
    changed = msgspec.structs.replace(
        version,
        description=version.description if description is None else description,
        tags=version.tags if tags is None else tags,
        owner=version.owner if owner is None else owner,
    )
    if changed != version:
        tables.change_version(tx, changed)
        events.append(
            tx,
            "registry.version_described",
            f"version/{model}/{number}",
            {
                "model": model,
                "number": number,
                "description": changed.description,
                "tags": changed.tags,
                "owner": changed.owner,
            },
        )
    return get(tx, model, number)
