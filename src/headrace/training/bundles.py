"""Registering bundles: which code there is, from which project, locked to which packages."""

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import environments, events, lineage, pins
from headrace.kernel.database import Tx
from headrace.kernel.environments import environment_of
from headrace.kernel.lineage import Link
from headrace.training import tables
from headrace.training.nouns import RegisterBundle, RegisteredBundle


def register(tx: Tx, request: RegisterBundle) -> RegisteredBundle:
    """Registers a bundle and pins its zip; the same bundle again changes nothing.

    Raises:
        InvalidInput: the environment is not the one that the bundle was packed with.
    """
    bundle = request.bundle
    known = tables.find_bundle(tx, bundle.digest)
    if known is not None:
        return known
    if bundle.environment_digest != request.environment.digest:
        raise InvalidInput(
            "the environment is not the one that the bundle was packed with",
            where="environment",
            fix="Send what headrace.project.manifest.pack gives, unchanged.",
        )
    registered = RegisteredBundle(
        digest=bundle.digest,
        project=request.project,
        project_file=bundle.project_file,
        size_bytes=bundle.size_bytes,
        files=bundle.files,
        environment=request.environment,
        environment_digest=bundle.environment_digest,
        code_commit=request.code_commit,
        created_by=tx.actor,
        created_at=tx.now,
    )
    tables.insert_bundle(tx, registered)
    pins.pin(tx, f"blob/{bundle.digest}", f"bundle/{bundle.digest}", "the code of a project")
    _connect(tx, registered)
    payload = {"project": request.project, "environment": bundle.environment_digest, "files": len(bundle.files)}
    events.append(tx, "training.bundle_registered", f"bundle/{bundle.digest}", payload)
    return registered


def _connect(tx: Tx, bundle: RegisteredBundle) -> None:
    """Put a bundle into the graph of lineage, under its commit and the packages that it was locked to."""
    subject = f"bundle/{bundle.digest}"
    lock = bundle.environment
    environment = environments.keep(tx, environment_of(lock.python, lock.packages))
    links = [Link(environment, "locked for", subject)]
    if bundle.code_commit:
        links.append(Link(f"commit/{bundle.code_commit}", "packed into", subject))
    lineage.connect(tx, links)
    lineage.enter(tx, subject, {"project": bundle.project, "files": len(bundle.files)})


def get(tx: Tx, digest: str) -> RegisteredBundle:
    """A registered bundle.

    Raises:
        NotFound: no bundle has this digest.
    """
    found = tables.find_bundle(tx, digest)
    if found is None:
        raise NotFound("there is no bundle of this digest", where=digest, fix="Send it with headrace apply.")
    return found
