"""Training's tables and every statement on them."""

import msgspec
import sqlalchemy as sa

from headrace.kernel.database import Tx, insert
from headrace.kernel.schema import Document, Instant, metadata, workspace_column
from headrace.training.nouns import RegisteredBundle, RegisterTrainingSet, TrainingSetManifest

bundles = sa.Table(
    "training_bundles",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("digest", sa.String(80), primary_key=True),
    sa.Column("project", sa.String(128), nullable=False),
    sa.Column("document", Document, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

training_sets = sa.Table(
    "training_sets",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("model", sa.String(128), nullable=False),
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("as_of", Instant, nullable=False),
    sa.Column("content_digest", sa.String(80), nullable=False),
    sa.Column("document", Document, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Index("ix_training_sets_model", "workspace", "model", "created_at"),
    sa.Index("ix_training_sets_content", "workspace", "content_digest"),
)


def insert_bundle(tx: Tx, bundle: RegisteredBundle) -> None:
    """Stores a bundle."""
    tx.execute(
        insert(tx, bundles).values(
            workspace=tx.workspace,
            digest=bundle.digest,
            project=bundle.project,
            document=bundle,
            created_at=bundle.created_at,
        )
    )


def find_bundle(tx: Tx, digest: str) -> RegisteredBundle | None:
    """The bundle of this digest."""
    query = sa.select(bundles.c.document).where(bundles.c.workspace == tx.workspace, bundles.c.digest == digest)
    document = tx.execute(query).scalar_one_or_none()
    return None if document is None else msgspec.convert(document, RegisteredBundle)


def insert_training_set(tx: Tx, manifest: TrainingSetManifest) -> None:
    """Stores a training set."""
    tx.execute(
        insert(tx, training_sets).values(
            workspace=tx.workspace,
            id=manifest.id,
            model=manifest.model,
            purpose=manifest.purpose,
            as_of=manifest.as_of,
            content_digest=manifest.content_digest,
            document=manifest,
            created_at=manifest.created_at,
        )
    )


def find_training_set(tx: Tx, training_set_id: str) -> TrainingSetManifest | None:
    """The training set of this id."""
    query = sa.select(training_sets.c.document).where(
        training_sets.c.workspace == tx.workspace, training_sets.c.id == training_set_id
    )
    document = tx.execute(query).scalar_one_or_none()
    return None if document is None else msgspec.convert(document, TrainingSetManifest)


def training_sets_like(tx: Tx, wanted: RegisterTrainingSet) -> list[TrainingSetManifest]:
    """The training sets of the same model, purpose, moment and content."""
    query = sa.select(training_sets.c.document).where(
        training_sets.c.workspace == tx.workspace,
        training_sets.c.content_digest == wanted.content_digest,
        training_sets.c.model == wanted.model,
        training_sets.c.purpose == wanted.purpose,
        training_sets.c.as_of == wanted.as_of,
    )
    return [msgspec.convert(document, TrainingSetManifest) for document in tx.execute(query).scalars()]


def newest_training_sets(tx: Tx, model: str | None, limit: int) -> list[TrainingSetManifest]:
    """The newest training sets first, of one model or of all."""
    query = sa.select(training_sets.c.document).where(training_sets.c.workspace == tx.workspace)
    if model is not None:
        query = query.where(training_sets.c.model == model)
    query = query.order_by(training_sets.c.created_at.desc(), training_sets.c.id.desc()).limit(limit)
    return [msgspec.convert(document, TrainingSetManifest) for document in tx.execute(query).scalars()]
