"""Registering a version: an immutable model directory gets the model's next number."""

import msgspec

from headrace.errors import InvalidInput
from headrace.kernel import events, pins
from headrace.kernel.database import Tx
from headrace.registry import models, tables
from headrace.registry.nouns import ModelFile, RegisterVersion, Version, directory_digest
from headrace.tracking import keys
from headrace.tracking.paths import confined

FILES_LIMIT = 10_000


def register_version(tx: Tx, request: RegisterVersion, *, author: str | None = None) -> Version:
    """Register a version under the next number of its model.

    The same origin (run and artifact prefix, or source) with the same bytes is the same version, so that a
    repeated call changes nothing. Numbers are dense for each model. The files stay pinned in the blob store.

    Args:
        tx: the transaction.
        request: what is registered.
        author: who answers for it; the transaction's actor unless a job settles for somebody else.

    Raises:
        NotFound: there is no such model.
        InvalidInput: no files, the same path twice or one that is not plain, a tag that is not one, or neither
            `run_id` nor `source`.
    """
    models.get(tx, request.model)
    _check(request)
    digest = directory_digest(request.files)
    known = tables.find_registered(tx, request.model, request.origin(), digest)
    if known is not None:
        return known
    number = tables.take_number(tx, request.model)
    version = Version(
        number=number,
        digest=digest,
        author=author or tx.actor,
        created_by=tx.actor,
        created_at=tx.now,
        updated_at=tx.now,
        **msgspec.structs.asdict(request),
    )
    tables.add_version(tx, version, origin=request.origin())
    subject = f"version/{version.model}/{version.number}"
    needed = {file.digest for file in version.files} | ({version.profile} if version.profile else set())
    for blob in sorted(needed):
        pins.pin(tx, f"blob/{blob}", subject, "a registered version is made of it")
    if version.run_id:
        pins.pin(tx, f"run/{version.run_id}", subject, "a registered version came from it")
    events.append(
        tx,
        "registry.version_registered",
        subject,
        {
            "model": version.model,
            "number": version.number,
            "digest": version.digest,
            "run_id": version.run_id,
            "author": version.author,
            "training_set_id": version.training_set_id,
            "bundle_digest": version.bundle_digest,
        },
    )
    return version


def check_files(files: tuple[ModelFile, ...]) -> None:
    """Refuse a listing that is no directory's: too long, with a path twice or one that is not plain."""
    if len(files) > FILES_LIMIT:
        raise InvalidInput(f"a version has at most {FILES_LIMIT} files", where="files")
    paths = [file.path for file in files]
    if len(set(paths)) != len(paths):
        raise InvalidInput("two files have the same path", where="files")
    for path in paths:
        confined(path)


def _check(request: RegisterVersion) -> None:
    if not request.files:
        raise InvalidInput("a version has at least one file", where="files")
    check_files(request.files)
    keys.check_tags(request.tags)
    if not request.run_id and not request.source:
        raise InvalidInput("say where the version comes from: run_id or source", where="run_id")
