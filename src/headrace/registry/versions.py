"""Reading versions, and the two fields of them that may change: description and tags."""

import msgspec

from headrace.errors import NotFound
from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.registry import governed, models, tables
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


def numbers(tx: Tx, model: str) -> list[int]:
    """The numbers of a model's versions, ascending; none when there is no such model."""
    return tables.version_numbers(tx, model)


def describe(
    tx: Tx, model: str, number: int, *, description: str | None = None, tags: dict[str, str] | None = None
) -> Version:
    """Set the description, or replace the tags, of a version.

    Raises:
        InvalidInput: a tag is not one.
        PermissionRefused: a policy forbids it, or the caller has not got the role.
    """
    version = get(tx, model, number)
    models.check_changed_tags(version.tags, tags or {})
    changed = msgspec.structs.replace(
        version,
        description=version.description if description is None else description,
        tags=version.tags if tags is None else tags,
    )
    if changed != version:
        words = {"description": changed.description, "tags": changed.tags}
        allowed = governed.require_description(tx, model, number, words)
        tables.change_version(tx, changed)
        facts = {"model": model, "number": number, **words, "grounds": allowed}
        events.append(tx, "registry.version_described", f"version/{model}/{number}", facts)
    return get(tx, model, number)
