"""Aliases: free names such as `champion` that point at one version of a model."""

import re

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.registry import governed, models, tables, versions
from headrace.registry.nouns import Alias, Version

_NAME = re.compile(r"[\w\-]{1,255}", re.ASCII)
_NUMBER = re.compile(r"v\d+", re.IGNORECASE)


def set_alias(tx: Tx, model: str, alias: str, number: int) -> Alias:
    """Point an alias at a version, wherever it pointed before.

    Raises:
        InvalidInput: the alias is not a word, or looks like a version number or `latest`.
        NotFound: there is no such version.
        PermissionRefused: a policy forbids it, or the caller has not got the role.
    """
    if not _NAME.fullmatch(alias) or _NUMBER.fullmatch(alias) or alias.lower() == "latest":
        raise InvalidInput(
            "an alias is a word of letters, digits, '_' and '-', and neither 'latest' nor like 'v3'", where="alias"
        )
    versions.get(tx, model, number)
    found = Alias(model=model, alias=alias, number=number)
    known = {each.alias: each.number for each in tables.list_aliases(tx, model)}
    if known.get(alias) != number:
        allowed = governed.require_alias(tx, model, alias, number)
        tables.put_alias(tx, found)
        facts = {"model": model, "alias": alias, "before": known.get(alias), "number": number, "grounds": allowed}
        events.append(tx, "registry.alias_set", f"model/{model}", facts)
    return found


def get_version(tx: Tx, model: str, alias: str) -> Version:
    """The version that an alias points at.

    Raises:
        NotFound: there is no such model or alias.
    """
    models.get(tx, model)
    for known in tables.list_aliases(tx, model):
        if known.alias == alias:
            return versions.get(tx, model, known.number)
    raise NotFound(f"model {model!r} has no alias {alias!r}", where=f"model/{model}")


def of_model(tx: Tx, model: str) -> tuple[Alias, ...]:
    """The aliases of a model by name."""
    return tables.list_aliases(tx, model)


def delete(tx: Tx, model: str, alias: str) -> None:
    """Remove an alias; one that is not there is no error.

    Raises:
        NotFound: there is no such model.
        PermissionRefused: a policy forbids it, or the caller has not got the role.
    """
    models.get(tx, model)
    for known in tables.list_aliases(tx, model):
        if known.alias == alias:
            allowed = governed.require_alias(tx, model, alias, known.number, removed=True)
            tables.drop_alias(tx, model, alias)
            facts = {"model": model, "alias": alias, "before": known.number, "grounds": allowed}
            events.append(tx, "registry.alias_deleted", f"model/{model}", facts)
