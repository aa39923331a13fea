"""Models: the names under which versions are registered."""

import unicodedata
from typing import Any

from headrace.errors import AlreadyExists, InvalidInput
from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.registry import governed, naming, tables, tables_search
from headrace.registry.nouns import Model, ModelDetails, Stage, Version
from headrace.tracking import keys

NAME_LIMIT = 256
_HIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
"""Bidirectional classes of what shows the text after it in another order."""


def create(
    tx: Tx,
    name: str,
    *,
    description: str = "",
    tags: dict[str, str] | None = None,
    declaration: dict[str, Any] | None = None,
) -> Model:
    """Create a model.

    Raises:
        InvalidInput: the name is empty, too long, or holds a slash, a colon or a control character; or a tag is
            not one.
        AlreadyExists: a model of this name exists.
    """
    check_name(name)
    keys.check_tags(tags or {})
    model = Model(
        name=name,
        description=description,
        declaration=declaration,
        tags=tags or {},
        created_by=tx.actor,
        created_at=tx.now,
        updated_at=tx.now,
    )
    if not tables.add_model(tx, model):
        raise AlreadyExists(f"a model named {name!r} exists already", where=f"model/{name}")
    events.append(tx, "registry.model_created", f"model/{name}", {"model": name})
    return model


def ensure(tx: Tx, name: str) -> Model:
    """The model of this name, created when there is none."""
    return tables.find_model(tx, name) or create(tx, name)


def find(tx: Tx, name: str) -> Model | None:
    """The model of this name; None when there is none."""
    return tables.find_model(tx, name)


def get(tx: Tx, name: str) -> Model:
    """The model of this name.

    Raises:
        NotFound: there is none.
    """
    model = tables.find_model(tx, name)
    if model is None:
        raise naming.unknown(tx, name)
    return model


def is_delivered(tx: Tx, name: str) -> bool:
    """Whether a project declares the model, or did."""
    model = tables.find_model(tx, name)
    return model is not None and model.declaration is not None


def search(tx: Tx, *, contains: str = "", limit: int = 100, after: str = "") -> tuple[Model, ...]:
    """Models by name; `after` is the last name of the page before."""
    return tables.list_models(tx, contains=contains, limit=limit, after=after)


def details(tx: Tx, name: str, *, limit: int = 100) -> ModelDetails:
    """A model with its newest versions, its aliases and what is in production."""
    model = get(tx, name)
    serving = tables.versions_in_stage(tx, name, Stage.PRODUCTION)
    return ModelDetails(
        model=model,
        versions=tables.list_versions(tx, name, limit=limit),
        aliases=tables.list_aliases(tx, name),
        production=serving[0].number if serving else None,
    )


def latest_versions(tx: Tx, name: str) -> tuple[Version, ...]:
    """The newest version of each stage that has one, by number."""
    return tuple(tables_search.newest_of_stages(tx, [name])[name])


def declare(tx: Tx, name: str, declaration: dict[str, Any]) -> Model:
    """Create the model of a project, or take its changed declaration; archived models come back."""
    existing = tables.find_model(tx, name)
    if existing is None:
        return create(tx, name, declaration=declaration)
    if existing.declaration != declaration or existing.archived:
        tables.change_model(tx, name, declaration=declaration, archived=False, updated_at=tx.now)
        events.append(tx, "registry.model_declared", f"model/{name}", {"model": name})
    return get(tx, name)


def archive(tx: Tx, name: str, reason: str) -> Model:
    """Mark a model that its project no longer declares; its versions and their stages stay as they are."""
    model = get(tx, name)
    if not model.archived:
        tables.change_model(tx, name, archived=True, updated_at=tx.now)
        events.append(tx, "registry.model_archived", f"model/{name}", {"model": name, "reason": reason})
    return get(tx, name)


def describe(tx: Tx, name: str, *, description: str | None = None, tags: dict[str, str] | None = None) -> Model:
    """Set the description, or replace the tags, of a model.

    Raises:
        NotFound: there is no such model.
        InvalidInput: a tag is not one.
        PermissionRefused: a policy forbids it, or the caller has not got the role.
    """
    model = get(tx, name)
    values: dict[str, Any] = {}
    if description is not None and description != model.description:
        values["description"] = description
    if tags is not None and tags != model.tags:
        check_changed_tags(model.tags, tags)
        values["tags"] = tags
    if values:
        allowed = governed.require_description(tx, name, 0, values)
        tables.change_model(tx, name, updated_at=tx.now, **values)
        events.append(
            tx, "registry.model_described", f"model/{name}", {"model": name, **values, "grounds": allowed}
        )
    return get(tx, name)


def check_name(name: str) -> None:
    """Refuse a name that could not stand in a URL or a `models:/` address, or that shows as another one.

    What joins letters in some alphabets and parts of emoji, though it has no shape of its own, is a part of a name.
    `*` means every model to policies, which would be taken along by a model of that name.
    """
    if (
        not name.strip()
        or len(name) > NAME_LIMIT
        or name in {".", "*"}
        or name.startswith("..")
        or any(sign in "/:" or _hidden(sign) for sign in name)
    ):
        raise InvalidInput(
            "a model's name is 1 to 256 characters without '/', ':' and control characters, and not '.', '..', '*'",
            where="name",
            fix="Choose a name such as 'churn' or 'credit-risk'.",
        )


def check_changed_tags(before: dict[str, str], after: dict[str, str]) -> None:
    """Refuse tags that are new or changed and whose keys or values are none; what is there may stay."""
    keys.check_tags({key: value for key, value in after.items() if before.get(key) != value})


def _hidden(sign: str) -> bool:
    return unicodedata.category(sign) in _HIDDEN or unicodedata.bidirectional(sign) in _TURNS
