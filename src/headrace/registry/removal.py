"""Deleting and renaming what no project delivers and what is not in production."""

from headrace.errors import AlreadyExists, PolicyRefused
from headrace.kernel import events, lineage, pins
from headrace.kernel.database import Tx
from headrace.registry import approvals, governed, models, stages, tables, versions
from headrace.registry.nouns import Model, Stage


def delete_version(tx: Tx, model: str, number: int) -> None:
    """Delete a version with its aliases; its number is never given again, and its files are no longer held.

    Raises:
        NotFound: there is no such version.
        PolicyRefused: a project delivers the model, the version is in production, or a policy forbids it.
        Pinned: something still needs the version.
    """
    version = versions.get(tx, model, number)
    subject = f"version/{model}/{number}"
    _require_free(models.get(tx, model), f"version {number} of model {model!r}", subject)
    if version.stage is Stage.PRODUCTION:
        raise PolicyRefused(
            f"version {number} of model {model!r} is in production",
            where=subject,
            fix="Move another version to Production, or archive this one, first.",
        )
    pins.require_unpinned(tx, subject)
    allowed = governed.require_deletion(tx, model, number)
    approvals.void_about(tx, model, number, "the version was deleted")
    tables.delete_versions(tx, model, number)
    pins.release(tx, subject)
    lineage.end(tx, subject)
    facts = {"model": model, "number": number, "digest": version.digest, "grounds": allowed}
    events.append(tx, "registry.version_deleted", subject, facts)


def delete_model(tx: Tx, name: str) -> None:
    """Delete a model with all of its versions.

    Raises:
        NotFound: there is no such model.
        PolicyRefused: a project delivers it, a version of it is in production, or a policy forbids it.
        Pinned: something still needs one of its versions.
    """
    model = models.get(tx, name)
    _require_unused(tx, model)
    numbers = tables.version_numbers(tx, name)
    for number in numbers:
        pins.require_unpinned(tx, f"version/{name}/{number}")
    allowed = governed.require_deletion(tx, name)
    approvals.void_about(tx, name, None, "the model was deleted")
    tables.delete_versions(tx, name)
    tables.delete_model(tx, name)
    for number in numbers:
        pins.release(tx, f"version/{name}/{number}")
    lineage.end_below(tx, f"version/{name}/")
    facts = {"model": name, "versions": numbers, "grounds": allowed}
    events.append(tx, "registry.model_deleted", f"model/{name}", facts)


def rename_model(tx: Tx, name: str, after: str) -> Model:
    """Give a model another name; its versions, aliases and history go with it.

    Raises:
        NotFound: there is no such model.
        InvalidInput: the new name is not one.
        AlreadyExists: another model has the new name.
        PolicyRefused: a project delivers it, a version of it is in production, or a policy forbids it.
    """
    model = models.get(tx, name)
    models.check_name(after)
    if tables.find_model(tx, after) is not None:
        raise AlreadyExists(f"Registered Model (name={after}) already exists.", where=f"model/{after}")
    _require_unused(tx, model)
    numbers = tables.version_numbers(tx, name)
    for number in numbers:
        pins.require_unpinned(tx, f"version/{name}/{number}")
    allowed = governed.require_renaming(tx, name, after)
    tables.rename_model(tx, name, after)
    for number in numbers:
        pins.hand_over(tx, f"version/{name}/{number}", f"version/{after}/{number}")
    lineage.rename_below(tx, f"version/{name}/", f"version/{after}/")
    facts = {"before": name, "after": after, "grounds": allowed}
    events.append(tx, "registry.model_renamed", f"model/{after}", facts)
    return models.get(tx, after)


def _require_unused(tx: Tx, model: Model) -> None:
    _require_free(model, f"model {model.name!r}", f"model/{model.name}")
    serving = stages.production(tx, model.name)
    if serving is not None:
        raise PolicyRefused(
            f"version {serving.number} of model {model.name!r} is in production",
            where=f"model/{model.name}",
            fix="Archive that version first.",
        )


def _require_free(model: Model, what: str, where: str) -> None:
    if model.declaration is not None and not model.archived:
        raise PolicyRefused(
            f"{what} belongs to a project that delivers it",
            where=where,
            fix="Take the model out of its project and apply the project first.",
        )
