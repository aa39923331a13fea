"""Registering training sets, and pinning what they were made from."""

import msgspec

from headrace.errors import NotFound
from headrace.kernel import events, lineage, pins
from headrace.kernel.database import Tx
from headrace.kernel.ids import new_id
from headrace.kernel.lineage import Link
from headrace.registry import naming
from headrace.training import tables
from headrace.training.nouns import RegisterTrainingSet, TrainingSetManifest


def register_training_set(tx: Tx, request: RegisterTrainingSet) -> TrainingSetManifest:
    """Registers a training set and pins its file and its lake versions.

    The same content from the same lake versions is the same training set, so that a job that is tried again
    registers it once.
    """
    for known in tables.training_sets_like(tx, request):
        if known.lake_versions == request.lake_versions and known.data_digest == request.data_digest:
            return known
    manifest = TrainingSetManifest(
        id=new_id("ts"), created_by=tx.actor, created_at=tx.now, **msgspec.structs.asdict(request)
    )
    tables.insert_training_set(tx, manifest)
    holder = f"training-set/{manifest.id}"
    pins.pin(tx, f"blob/{manifest.data_digest}", holder, f"the rows of a training set of {manifest.model}")
    for version in manifest.lake_versions:
        pins.pin(tx, version.resource, holder, f"a training set of {manifest.model} was made from it")
    _connect(tx, manifest, holder)
    payload = {
        "model": manifest.model,
        "purpose": manifest.purpose,
        "as_of": manifest.as_of,
        "rows": manifest.rows,
        "content_digest": manifest.content_digest,
        "lake_versions": [version.resource for version in manifest.lake_versions],
    }
    events.append(tx, "training.training_set_registered", holder, payload)
    return manifest


def _connect(tx: Tx, manifest: TrainingSetManifest, subject: str) -> None:
    """Put a training set into the graph of lineage, under the tables that it was made from."""
    links = [Link(f"label/{manifest.label}", "told the outcomes of", subject)]
    for version in manifest.lake_versions:
        links += [
            Link(f"lake/{version.table}", "at version", version.resource),
            Link(version.resource, "sampled into", subject),
        ]
    lineage.connect(tx, links)
    about = {
        "model": manifest.model,
        "purpose": manifest.purpose,
        "as_of": manifest.as_of,
        "rows": manifest.rows,
        "content_digest": manifest.content_digest,
        "tables": [f"{version.table}@{version.version}" for version in manifest.lake_versions],
    }
    lineage.enter(tx, subject, about)


def get_training_set(tx: Tx, training_set_id: str) -> TrainingSetManifest:
    """A registered training set.

    Raises:
        NotFound: there is none of this id.
    """
    found = tables.find_training_set(tx, training_set_id)
    if found is None:
        raise NotFound("there is no such training set", where=f"training-set/{training_set_id}")
    return found


def list_training_sets(tx: Tx, *, model: str | None = None, limit: int = 100) -> tuple[TrainingSetManifest, ...]:
    """The newest training sets first.

    Raises:
        NotFound: there is no such model, and nothing of it.
    """
    return tuple(naming.found_of(tx, model, tables.newest_training_sets(tx, model, limit)))
