"""Taking in registered models from another server: with their numbers, their stages and their times.

As in `tracking.importing`, what is missing is added and what is here stays.
"""

import msgspec

from headrace.errors import HeadraceError, PermissionRefused, PolicyRefused
from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.registry import aliases, approvals, completion, governed, jobs, lineage, models, stages, tables
from headrace.registry.imported import ImportModel, ImportVersion, ModelHere
from headrace.registry.nouns import Model, ModelFile, Stage, Version, directory_digest
from headrace.registry.register import check_files, pin_parts
from headrace.tracking import artifacts, runs

REASON = "imported"


def take_model(tx: Tx, found: ImportModel) -> ModelHere:
    """Take in a model with its versions and aliases; what cannot be kept is refused by itself.

    Raises:
        InvalidInput: the name is not one.
        PolicyRefused: a project delivers the model here, so that its versions come from nowhere else.
    """
    models.check_name(found.name)
    model = tables.find_model(tx, found.name)
    if model is None:
        _add(tx, found)
    elif model.declaration is not None and not model.archived:
        raise PolicyRefused(
            f"model {found.name!r} belongs to a project that delivers it",
            where=f"model/{found.name}",
            fix="Rename the model before it is imported.",
        )
    refused: list[str] = []
    for version in sorted(found.versions, key=lambda each: each.number):
        refused += _take_version(tx, found.name, version)
    named = {alias.alias for alias in aliases.of_model(tx, found.name)}
    for alias, number in found.aliases.items():
        if alias not in named:
            try:
                aliases.set_alias(tx, found.name, alias, number)
            except HeadraceError as problem:
                refused.append(f"alias {alias!r}: {problem.message}")
    if model is None:  # its last change was elsewhere
        tables.change_model(tx, found.name, updated_at=found.updated_at)
    return msgspec.structs.replace(look(tx, found.name), refused=tuple(refused))


def look(tx: Tx, name: str) -> ModelHere:
    """What is here of a model."""
    model = tables.find_model(tx, name)
    if model is None:
        return ModelHere()
    newest_first = tables.list_versions(tx, name, limit=max(1, model.latest_number))
    return ModelHere(model=model, versions=newest_first[::-1], aliases=aliases.of_model(tx, name))


def _add(tx: Tx, found: ImportModel) -> None:
    model = Model(
        name=found.name,
        description=found.description,
        tags=found.tags,
        created_by=tx.actor,
        created_at=found.created_at,
        updated_at=found.updated_at,
    )
    tables.add_model(tx, model)
    events.append(tx, "registry.model_imported", f"model/{found.name}", {"model": found.name})


def _take_version(tx: Tx, name: str, found: ImportVersion) -> list[str]:
    """Take in one version; one of its number that is here has to be the same one."""
    known = tables.find_version(tx, name, found.number)
    if known is not None:
        if (known.source or "", known.run_id, known.created_at) != (found.source, found.run_id, found.created_at):
            return [f"version {found.number}: another one has this number here; rename the model on one side"]
        if known.files or not (files := files_of(tx, found)):
            return []
        try:
            _fill(tx, known, files, found)
        except PolicyRefused as problem:
            return [f"files of version {found.number}: {problem.message}"]
        return []
    try:
        _register(tx, name, found, files_of(tx, found))
    except HeadraceError as problem:
        return [f"version {found.number}: {problem.message}"]
    if found.stage is not Stage.NONE:
        try:
            stages.transition(tx, name, found.number, found.stage, REASON)
        except PermissionRefused as problem:
            return [f"stage of version {found.number}: {problem.message}"]
        tables.change_times(tx, name, found.number, updated_at=found.updated_at)
    return []


def files_of(tx: Tx, found: ImportVersion) -> tuple[ModelFile, ...]:
    """What the version is made of: the files below its folder, under names relative to it."""
    if found.owner is None:
        return found.files
    prefix = f"{found.folder}/" if found.folder else ""
    return tuple(
        ModelFile(path=file.path.removeprefix(prefix), digest=file.digest, size_bytes=file.size_bytes)
        for file in artifacts.under(tx, found.owner, found.folder)
    )


def _register(tx: Tx, name: str, found: ImportVersion, files: tuple[ModelFile, ...]) -> None:
    check_files(files)
    run = runs.get(tx, found.run_id) if found.run_id and runs.find(tx, found.run_id) else None
    version = Version(
        model=name,
        number=found.number,
        digest=directory_digest(files),
        files=files,
        run_id=found.run_id,
        artifact_prefix=found.folder,
        source=found.source,
        signature=found.signature,
        tags=found.tags,
        description=found.description,
        owner=found.user or tx.actor,
        author=tx.actor,
        created_by=found.user or tx.actor,
        created_at=found.created_at,
        updated_at=found.updated_at,
    )
    if run is not None:
        version = completion.from_run(tx, version, run)
    # the number is in the origin, since elsewhere the same files may be two versions
    tables.add_version(tx, version, origin=f"import/{found.number}")
    tables.reach_number(tx, name, found.number)
    lineage.begin(tx, version, run, found.owner)
    _record(tx, version, found.owner)


def _fill(tx: Tx, known: Version, files: tuple[ModelFile, ...], found: ImportVersion) -> None:
    """Give a version its files that came without them."""
    check_files(files)
    governed.require_files(tx, known)
    filled = msgspec.structs.replace(
        known, files=files, digest=directory_digest(files), signature=found.signature, artifact_prefix=found.folder
    )
    tables.fill_version(tx, filled)
    approvals.void_about(tx, known.model, known.number, "the version got its files")
    lineage.enter(tx, filled, None, found.owner)
    _record(tx, filled, found.owner)


def _record(tx: Tx, version: Version, owner: str | None) -> None:
    run = runs.get(tx, version.run_id) if version.run_id and runs.find(tx, version.run_id) else None
    pinned = version if run is not None else msgspec.structs.replace(version, run_id=None)
    pin_parts(tx, pinned, owner)
    jobs.ask_for_files(tx, version, run)
    payload = {"model": version.model, "number": version.number, "digest": version.digest, "run_id": version.run_id}
    events.append(tx, "registry.version_imported", lineage.version_subject(version.model, version.number), payload)
