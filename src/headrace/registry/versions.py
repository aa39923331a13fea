"""Reading versions, and the two fields of them that may change: description and tags."""

import msgspec

from headrace.errors import NotFound
from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.registry import models, tables
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
    tx: Tx, model: str, number: int, *, description: str | None = None, tags: dict[str, str] | None = None
) -> Version:
    """Set the description, or replace the tags, of a version.

    Raises:
        InvalidInput: a tag is not one.
    """
    version = get(tx, model, number)
    models.check_changed_tags(version.tags, tags or {})
    changed = msgspec.structs.replace(
        version,
        description=version.description if description is None else description,
        tags=version.tags if tags is None else tags,
    )
    if changed != version:
        tables.change_version(tx, changed)
        events.append(
            tx,
            "registry.version_described",
            f"version/{model}/{number}",
            {"model": model, "number": number, "description": changed.description, "tags": changed.tags},
        )
    return get(tx, model, number)
