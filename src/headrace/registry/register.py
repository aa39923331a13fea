"""Registering a version: an immutable model directory gets the model's next number."""

import msgspec

from headrace.errors import InvalidInput
from headrace.kernel import events, pins
from headrace.kernel.database import Tx
from headrace.registry import completion, jobs, lineage, models, tables
from headrace.registry.nouns import ModelFile, RegisterVersion, Version, directory_digest
from headrace.tracking import keys, runs
from headrace.tracking.paths import confined

FILES_LIMIT = 10_000
OWNER_LIMIT = 256


def register_version(tx: Tx, request: RegisterVersion, *, author: str | None = None) -> Version:
    """Register a version under the next number of its model.

    The same origin (run and artifact prefix, or source) with the same bytes is the same version, so that a
    repeated call changes nothing. Numbers are dense for each model. The files stay pinned in the blob store.
    What is not given is taken from the run; what lies in files is read by a worker afterwards.

    Args:
        tx: the transaction.
        request: what is registered.
        author: who answers for it; the transaction's actor unless a job settles for somebody else.

    Raises:
        NotFound: there is no such model, or nothing of the name in `made_from`.
        InvalidInput: no files, the same path twice or one that is not plain, a tag that is not one, or neither
            `run_id` nor `source`.
    """
    models.get(tx, request.model)
    _check(request)
    if request.made_from is not None:
        lineage.check_made_from(tx, request.made_from)
    digest = directory_digest(request.files)
    known = tables.find_registered(tx, request.model, request.origin(), digest)
    if known is not None:
        return known
    run = runs.get(tx, request.run_id) if request.run_id and runs.find(tx, request.run_id) else None
    given = request if run is None else completion.from_run(tx, request, run)
    if given.training_set_id and not given.data:
        given = msgspec.structs.replace(given, data=completion.from_training_set(tx, given.training_set_id))
    fields = msgspec.structs.asdict(given)
    made_from = fields.pop("made_from")
    fields["owner"] = given.owner or author or tx.actor
    version = Version(
        number=tables.take_number(tx, request.model),
        digest=digest,
        author=author or tx.actor,
        created_by=tx.actor,
        created_at=tx.now,
        updated_at=tx.now,
        **fields,
    )
    tables.add_version(tx, version, origin=request.origin())
    pin_parts(tx, version, made_from)
    lineage.begin(tx, version, run, made_from)
    jobs.ask_for_files(tx, version, run)
    subject = lineage.version_subject(version.model, version.number)
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
            "owner": version.owner,
            "training_set_id": version.training_set_id,
            "bundle_digest": version.bundle_digest,
            "environment_digest": version.environment_digest,
            "code_commit": version.code_commit,
            "code_diff": version.code_diff,
        },
    )
    return version


def pin_parts(tx: Tx, version: Version, made_from: str | None) -> None:
    """Keep what a version is made of, and what it came from."""
    subject = lineage.version_subject(version.model, version.number)
    blobs = {file.digest for file in version.files} | {version.profile, version.code_diff}
    for blob in sorted(blob for blob in blobs if blob):
        pins.pin(tx, f"blob/{blob}", subject, "a registered version is made of it")
    if version.run_id:
        pins.pin(tx, f"run/{version.run_id}", subject, "a registered version came from it")
    if made_from is not None and made_from.startswith("logged-model/"):
        pins.pin(tx, made_from, subject, "a registered version came from it")


def check_owner(owner: str) -> None:
    """Refuse an owner that is blank or no name."""
    keys.check_text(owner, where="owner", limit=OWNER_LIMIT)
    if not owner.strip():
        raise InvalidInput("an owner has a name", where="owner", fix="Name a person or a team.")


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
    lineage.check_data(request.data)
    if request.owner:
        check_owner(request.owner)
    if not request.run_id and not request.source:
        raise InvalidInput("say where the version comes from: run_id or source", where="run_id")
