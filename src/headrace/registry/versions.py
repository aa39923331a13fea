"""Reading versions, and the three fields of them that may change: description, tags and owner."""

from collections.abc import Sequence

import msgspec

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.registry import governed, models, register, tables, tables_standing
from headrace.registry.nouns import Stage, Standing, Version

LATEST = "latest"
NUMBER_DIGITS = 10


def get(tx: Tx, model: str, number: int) -> Version:
    """One version.

    Raises:
        NotFound: there is no such version.
    """
    version = tables.find_version(tx, model, number)
    if version is None:
        raise governed.missing_version(tx, model, number)
    return version


def numbers(tx: Tx, model: str) -> list[int]:
    """The numbers of a model's versions, ascending; none when there is no such model."""
    return tables.version_numbers(tx, model)


def named(tx: Tx, name: str) -> Version | None:
    """The version that `MODEL@3`, `MODEL@champion`, `MODEL@production` or `MODEL@latest` means.

    An alias goes before a stage of the same name. None for a number that is not registered, or no longer.

    Raises:
        InvalidInput: it names no version.
        NotFound: there is no such model, no such alias, or nothing in the stage.
    """
    model, at, which = name.rpartition("@")
    if not at or not model or not which:
        fix = f"Write {name or 'churn'}@3, {name or 'churn'}@champion or {name or 'churn'}@production."
        raise InvalidInput(f"{name[:100]!r} names no version", where="version", fix=fix)
    if which.isascii() and which.isdecimal() and len(which) < NUMBER_DIGITS:
        return tables.find_version(tx, model, int(which))
    models.get(tx, model)
    for alias in tables.list_aliases(tx, model):
        if alias.alias == which:
            return get(tx, model, alias.number)
    if which.lower() == LATEST:
        newest = tables.list_versions(tx, model, limit=1)
        if newest:
            return newest[0]
    for stage in Stage:
        if stage.value.lower() == which.lower():
            found = tables.versions_in_stage(tx, model, stage)
            if found:
                return found[0]
    raise NotFound(f"model {model!r} has no version {which!r}", where=f"model/{model}", fix="See: headrace models")


def standings(tx: Tx, versions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Standing]:
    """Where versions stand, by model and number; those that are deleted are left out."""
    found = tables_standing.standing(tx, versions) if versions else ()
    return {(each.model, each.number): each for each in found}


def in_production(tx: Tx) -> list[tuple[str, int]]:
    """Model and number of every version in production."""
    return tables_standing.in_stage(tx, Stage.PRODUCTION)


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
        PermissionRefused: a policy forbids it, or the caller has not got the role.
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
        words = {"description": changed.description, "tags": changed.tags, "owner": changed.owner}
        allowed = governed.require_description(tx, model, number, words)
        tables.change_version(tx, changed)
        facts = {"model": model, "number": number, **words, "grounds": allowed}
        events.append(tx, "registry.version_described", f"version/{model}/{number}", facts)
    return get(tx, model, number)
