"""Artifacts: which files a run or a logged model has. Their bytes are blobs; here are their names."""

from headrace.errors import InvalidInput, NotFound, Unavailable
from headrace.kernel import events, pins
from headrace.kernel.blobs import Blob, BlobStore
from headrace.kernel.database import Tx
from headrace.tracking import logged_models, runs, tables_artifacts
from headrace.tracking.nouns import Artifact, Entry
from headrace.tracking.paths import confined, confined_folder


def run_owner(run_id: str) -> str:
    """The owner of a run's artifacts."""
    return f"run/{run_id}"


def model_owner(model_id: str) -> str:
    """The owner of a logged model's files."""
    return f"logged-model/{model_id}"


def place(tx: Tx, owner: str) -> str:
    """Where clients write an owner's files themselves; empty: they are kept here.

    Raises:
        NotFound: there is no such run or logged model.
    """
    kind, _, name = owner.partition("/")
    if kind == "run":
        return runs.require(tx, name).artifact_uri
    return logged_models.get(tx, name, deleted_too=True).artifact_uri


def record(tx: Tx, owner: str, path: str, blob: Blob, blobs: BlobStore) -> Artifact:
    """Give a stored blob a name, over the file that had it; the same content again is no change.

    Raises:
        Unavailable: the blob was collected between its upload and now.
        NotFound: there is no such run or logged model.
        InvalidInput: it is deleted, the path leaves it, or the path goes through a file.
    """
    require_writable(tx, owner, path)
    known = {found.path: found for found in tables_artifacts.find(tx, owner, _way_to(path))}
    if path in known and known[path].digest == blob.digest:
        return known[path]
    if not blobs.exists(blob.digest):
        raise Unavailable("the content is no longer there", where=f"{owner}/{path}", fix="Send the file again.")
    if set(known) - {path}:
        raise InvalidInput("a file stands where the path needs a folder", where=f"path {path[:100]!r}")
    if tables_artifacts.under(tx, owner, path, limit=1):
        raise InvalidInput("a folder has this path", where=f"path {path[:100]!r}")
    artifact = Artifact(
        owner=owner,
        path=path,
        digest=blob.digest,
        size_bytes=blob.size_bytes,
        created_by=tx.actor,
        created_at=tx.now,
    )
    tables_artifacts.put(tx, artifact)
    events.append(
        tx,
        "tracking.artifact_stored",
        owner,
        {
            "path": path,
            "digest": blob.digest,
            "size_bytes": blob.size_bytes,
            "replaced": known[path].digest if path in known else None,
        },
    )
    return artifact


def told(tx: Tx, owner: str, path: str, blob: Blob) -> Artifact:
    """Tell that a file was written for a client at the place of its owner; nothing of it is kept here."""
    stored = {"path": path, "digest": blob.digest, "size_bytes": blob.size_bytes, "place": place(tx, owner)}
    events.append(tx, "tracking.artifact_stored", owner, stored)
    return Artifact(
        owner=owner,
        path=path,
        digest=blob.digest,
        size_bytes=blob.size_bytes,
        created_by=tx.actor,
        created_at=tx.now,
    )


def require_writable(tx: Tx, owner: str, path: str) -> str:
    """Refuse a path or an owner that cannot take a file; asked before a body is read, too. Returns its `place`."""
    confined(path)
    kind, _, name = owner.partition("/")
    if kind == "run":
        return runs.require_live(tx, name).artifact_uri
    return logged_models.require_live(tx, name).artifact_uri


def get(tx: Tx, owner: str, path: str) -> Artifact:
    """One file.

    Raises:
        NotFound: the owner has no such file.
        InvalidInput: the path leaves its owner.
    """
    found = tables_artifacts.find(tx, owner, [confined(path)])
    if not found:
        raise NotFound(f"No such artifact: '{path}'", where=owner)
    return found[0]


def named(tx: Tx, owner: str, paths: list[str]) -> dict[str, Artifact]:
    """Those of the paths that are files of an owner, by path; none of an owner whose files are elsewhere."""
    return {found.path: found for found in tables_artifacts.find(tx, owner, paths)}


def listing(tx: Tx, owner: str, folder: str = "") -> tuple[Entry, ...]:
    """The files and folders directly in a folder, by path; empty when there is no such folder.

    Raises:
        NotFound: there is no such run or logged model.
        InvalidInput: the path leaves its owner.
    """
    place(tx, owner)
    start = confined_folder(folder)
    depth = len(start) + 1 if start else 0
    entries: dict[str, Entry] = {}
    for artifact in tables_artifacts.under(tx, owner, start):
        name, slash, _ = artifact.path[depth:].partition("/")
        path = artifact.path[:depth] + name
        entries[path] = (
            Entry(path=path, is_folder=True)
            if slash
            else Entry(path=path, is_folder=False, size_bytes=artifact.size_bytes, digest=artifact.digest)
        )
    return tuple(entries[path] for path in sorted(entries))


def under(tx: Tx, owner: str, folder: str = "") -> tuple[Artifact, ...]:
    """Every file below a folder, however deep, by path."""
    return tuple(tables_artifacts.under(tx, owner, confined_folder(folder)))


def delete(tx: Tx, owner: str, path: str) -> None:
    """Remove a file, or a folder with all in it, from its owner; nothing happens when there is none.

    Raises:
        Pinned: a registered version came from this owner.
    """
    require_writable(tx, owner, path)
    found = [*tables_artifacts.find(tx, owner, [path]), *tables_artifacts.under(tx, owner, path)]
    if not found:
        return
    pins.require_unpinned(tx, owner)
    tables_artifacts.drop(tx, owner, [artifact.path for artifact in found])
    events.append(
        tx,
        "tracking.artifacts_deleted",
        owner,
        {"path": path, "digests": sorted({artifact.digest for artifact in found})},
    )


def _way_to(path: str) -> list[str]:
    """The path and every folder above it."""
    segments = path.split("/")
    return ["/".join(segments[: depth + 1]) for depth in range(len(segments))]
