"""The registry's tables and every statement on them."""

from datetime import datetime
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from headrace.kernel.database import Tx, insert
from headrace.kernel.schema import Document, Instant, metadata, workspace_column
from headrace.registry.nouns import Alias, Evidence, Model, Stage, StageChange, Version

T = TypeVar("T")

_MODEL_NAME = sa.String(256).with_variant(sa.String(256, collation="C"), "postgresql")  # sorted by its bytes

models = sa.Table(
    "registry_models",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("name", _MODEL_NAME, primary_key=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("declaration", Document, nullable=True),
    sa.Column("tags", Document, nullable=False),
    sa.Column("latest_number", sa.Integer, nullable=False),
    sa.Column("archived", sa.Boolean, nullable=False),
    sa.Column("created_by", sa.String(256), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Index("ix_registry_models_updated", "workspace", "updated_at", "name"),
)

versions = sa.Table(
    "registry_versions",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("model", _MODEL_NAME, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.String(80), nullable=False),
    sa.Column("origin", sa.String(1024), nullable=False),
    sa.Column("stage", sa.String(16), nullable=False),
    sa.Column("stage_seq", sa.BigInteger, nullable=False),  # event that set the stage: orders two in one stage
    sa.Column("run_id", sa.String(64), nullable=True),
    sa.Column("source", sa.Text, nullable=True),
    sa.Column("tags", Document, nullable=False),
    sa.Column("training_set_id", sa.String(64), nullable=True),
    sa.Column("bundle_digest", sa.String(80), nullable=True),
    sa.Column("environment_digest", sa.String(80), nullable=True),
    sa.Column("code_commit", sa.String(80), nullable=True),
    sa.Column("author", sa.String(256), nullable=False),
    sa.Column("owner", sa.String(256), nullable=False),
    sa.Column("created_by", sa.String(256), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("document", Document, nullable=False),  # the fields of Version that nobody searches by
    sa.UniqueConstraint("workspace", "model", "origin", "digest"),
    sa.Index("ix_registry_versions_run_id", "workspace", "run_id"),
    sa.Index("ix_registry_versions_stage", "workspace", "model", "stage", "stage_seq", "number"),
    sa.Index("ix_registry_versions_updated", "workspace", "updated_at"),
)

_VERSION_COLUMNS = frozenset(column.name for column in versions.columns)

aliases = sa.Table(
    "registry_aliases",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("model", _MODEL_NAME, primary_key=True),
    sa.Column("alias", sa.String(256), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
)

stage_history = sa.Table(
    "registry_stage_history",
    metadata,
    sa.Column("event_seq", sa.BigInteger, primary_key=True, autoincrement=False),
    workspace_column(),
    sa.Column("model", sa.String(256), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("before", sa.String(16), nullable=False),
    sa.Column("after", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("grounds", sa.String(128), nullable=False),
    sa.Column("actor", sa.String(256), nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Index("ix_registry_stage_history_model", "workspace", "model", "event_seq", "at"),
    sa.Index("ix_registry_stage_history_number", "workspace", "model", "number", "event_seq"),
)

policies = sa.Table(
    "registry_policies",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("model", _MODEL_NAME, primary_key=True),  # a model's name, or * for all
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("pattern", sa.String(256), primary_key=True),
    sa.Column("document", Document, nullable=False),
)

_WAITS = "status IN ('requested', 'granted')"

approvals = sa.Table(
    "registry_approvals",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("model", sa.String(256), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("digest", sa.String(80), nullable=False),
    sa.Column("target", sa.String(600), nullable=False),
    sa.Column("release_id", sa.String(64), nullable=True),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("requested_at", Instant, nullable=False),
    sa.Column("due_at", Instant, nullable=True),  # wall time at which it ends by itself, in the status that it has
    sa.Column("remind_at", Instant, nullable=True),  # wall time at which who may decide is told that time runs out
    sa.Column("document", Document, nullable=False),  # the fields of Approval that nobody searches by
    sa.Index("ix_registry_approvals_status", "status", "due_at"),
    sa.Index("ix_registry_approvals_remind", "status", "remind_at"),
    sa.Index("ix_registry_approvals_model", "workspace", "model", "number"),
    sa.Index("ix_registry_approvals_release", "workspace", "release_id"),
    sa.Index(
        "uq_registry_approvals_release",
        "workspace",
        "release_id",
        unique=True,
        sqlite_where=sa.text(f"{_WAITS} AND release_id IS NOT NULL"),
        postgresql_where=sa.text(f"{_WAITS} AND release_id IS NOT NULL"),
    ),
    sa.Index(
        "uq_registry_approvals_target",
        "workspace",
        "model",
        "number",
        "digest",
        "target",
        unique=True,
        sqlite_where=sa.text(f"{_WAITS} AND release_id IS NULL"),
        postgresql_where=sa.text(f"{_WAITS} AND release_id IS NULL"),
    ),
)

approval_decisions = sa.Table(
    "registry_approval_decisions",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("approval_id", sa.String(64), nullable=False),
    sa.Column("principal", sa.String(256), nullable=False),
    sa.Column("revoked_at", Instant, nullable=True),
    sa.Column("document", Document, nullable=False),
    sa.Index(
        "uq_registry_approval_decisions_standing",
        "workspace",
        "approval_id",
        "principal",
        unique=True,
        sqlite_where=sa.text("revoked_at IS NULL"),
        postgresql_where=sa.text("revoked_at IS NULL"),
    ),
    sa.Index("ix_registry_approval_decisions_approval", "workspace", "approval_id", "id"),
    sa.Index("ix_registry_approval_decisions_principal", "workspace", "principal", "id"),
)

approval_links = sa.Table(
    "registry_approval_links",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("approval_id", sa.String(64), nullable=False),
    sa.Column("principal", sa.String(256), nullable=False),
    sa.Column("issued_by", sa.String(256), nullable=False),
    sa.Column("issued_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Column("event_seq", sa.BigInteger, nullable=False),
    sa.Column("used_at", Instant, nullable=True),
)

evidence = sa.Table(
    "registry_evidence",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("model", sa.String(256), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("release_id", sa.String(64), nullable=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("verdict", sa.String(16), nullable=False),
    sa.Column("recorded_at", Instant, nullable=False),
    sa.Column("event_seq", sa.BigInteger, nullable=False),  # which of two is newer, whatever the clock said
    sa.Column("document", Document, nullable=False),
    sa.Index("ix_registry_evidence_version", "workspace", "model", "number", "event_seq"),
)


def _columns(record: msgspec.Struct) -> dict[str, Any]:
    """A record as values for its columns: enums as text, moments as they are."""
    return dict(msgspec.to_builtins(record, builtin_types=(datetime,)))


def _plain(row: sa.RowMapping) -> dict[str, Any]:
    """A row under plain strings: SQLAlchemy's names are a subclass, which msgspec refuses."""
    return {str(name): value for name, value in row.items()}


def _record(row: sa.RowMapping, kind: type[T]) -> T:
    return msgspec.convert(_plain(row), kind)


# -- models -------------------------------------------------------------------------------------------------


def add_model(tx: Tx, model: Model) -> bool:
    """Insert a model; False when the name exists."""
    statement = (
        insert(tx, models)
        .values(workspace=tx.workspace, **_columns(model))
        .on_conflict_do_nothing(index_elements=["workspace", "name"])
    )
    return tx.execute(statement).rowcount == 1


def model_of(row: sa.RowMapping) -> Model:
    """The model of a row."""
    return _record(row, Model)


def find_model(tx: Tx, name: str) -> Model | None:
    """The model of this name."""
    query = sa.select(models).where(models.c.workspace == tx.workspace, models.c.name == name)
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else model_of(row)


def newest_names(tx: Tx, limit: int) -> list[str]:
    """Names of models, those that changed last first."""
    query = (
        sa.select(models.c.name)
        .where(models.c.workspace == tx.workspace)
        .order_by(models.c.updated_at.desc())
        .limit(limit)
    )
    return list(tx.execute(query).scalars())


def list_models(tx: Tx, *, contains: str = "", limit: int, after: str = "") -> tuple[Model, ...]:
    """Models by name, those whose name contains the text, from after the given name on."""
    query = (
        sa.select(models)
        .where(models.c.workspace == tx.workspace, models.c.name > after)
        .order_by(models.c.name)
        .limit(limit)
    )
    if contains:
        query = query.where(models.c.name.contains(contains, autoescape=True))
    return tuple(model_of(row) for row in tx.execute(query).mappings())


def change_model(tx: Tx, name: str, **values: Any) -> None:
    """Set columns of a model."""
    tx.execute(sa.update(models).where(models.c.workspace == tx.workspace, models.c.name == name).values(**values))


def take_number(tx: Tx, name: str) -> int:
    """The model's next version number; the row lock makes numbers dense, a rollback gives it back."""
    statement = (
        sa.update(models)
        .where(models.c.workspace == tx.workspace, models.c.name == name)
        .values(latest_number=models.c.latest_number + 1, updated_at=tx.now)
        .returning(models.c.latest_number)
    )
    return int(tx.execute(statement).scalar_one())


# -- versions -----------------------------------------------------------------------------------------------


def add_version(tx: Tx, version: Version, *, origin: str) -> None:
    """Insert a version under its number."""
    fields = _columns(version)
    columns = {name: value for name, value in fields.items() if name in _VERSION_COLUMNS}
    document = {name: value for name, value in fields.items() if name not in _VERSION_COLUMNS}
    tx.execute(
        sa.insert(versions).values(workspace=tx.workspace, origin=origin, stage_seq=0, document=document, **columns)
    )


def version_of(row: sa.RowMapping) -> Version:
    """The version of a row."""
    return msgspec.convert({**row["document"], **_plain(row)}, Version)


def find_version(tx: Tx, model: str, number: int) -> Version | None:
    """One version."""
    query = sa.select(versions).where(
        versions.c.workspace == tx.workspace, versions.c.model == model, versions.c.number == number
    )
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else version_of(row)


def digests(tx: Tx, model: str) -> list[tuple[int, str]]:
    """The number and the digest of each version of a model, by number."""
    query = sa.select(versions.c.number, versions.c.digest).where(
        versions.c.workspace == tx.workspace, versions.c.model == model
    )
    return [(row.number, row.digest) for row in tx.execute(query.order_by(versions.c.number))]


def find_registered(tx: Tx, model: str, origin: str, digest: str) -> Version | None:
    """The version that was registered from this origin with these bytes."""
    query = sa.select(versions).where(
        versions.c.workspace == tx.workspace,
        versions.c.model == model,
        versions.c.origin == origin,
        versions.c.digest == digest,
    )
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else version_of(row)


def list_versions(tx: Tx, model: str, *, limit: int) -> tuple[Version, ...]:
    """The newest versions of a model, newest first."""
    query = (
        sa.select(versions)
        .where(versions.c.workspace == tx.workspace, versions.c.model == model)
        .order_by(versions.c.number.desc())
        .limit(limit)
    )
    return tuple(version_of(row) for row in tx.execute(query).mappings())


def versions_in_stage(tx: Tx, model: str, stage: Stage) -> tuple[Version, ...]:
    """The versions in one stage, the one that entered it last first."""
    query = (
        sa.select(versions)
        .where(
            versions.c.workspace == tx.workspace,
            versions.c.model == model,
            versions.c.stage == stage.value,
        )
        .order_by(versions.c.stage_seq.desc())
    )
    return tuple(version_of(row) for row in tx.execute(query).mappings())


def set_stage(tx: Tx, model: str, number: int, stage: Stage, event_seq: int) -> None:
    """Move a version to a stage."""
    tx.execute(
        sa.update(versions)
        .where(versions.c.workspace == tx.workspace, versions.c.model == model, versions.c.number == number)
        .values(stage=stage.value, stage_seq=event_seq, updated_at=tx.now)
    )


def change_version(tx: Tx, version: Version) -> None:
    """Write back description, tags and owner, the only fields that change."""
    fields = _columns(version)
    document = {name: value for name, value in fields.items() if name not in _VERSION_COLUMNS}
    tx.execute(
        sa.update(versions)
        .where(
            versions.c.workspace == tx.workspace,
            versions.c.model == version.model,
            versions.c.number == version.number,
        )
        .values(document=document, tags=version.tags, owner=version.owner, updated_at=tx.now)
    )


def fill_version(tx: Tx, version: Version) -> None:
    """Write the files of a version that had none, with what follows from them."""
    mine = sa.and_(
        versions.c.workspace == tx.workspace,
        versions.c.model == version.model,
        versions.c.number == version.number,
    )
    tx.execute(sa.update(versions).where(mine).values(digest=version.digest))
    change_version(tx, version)
    change_times(tx, version.model, version.number, updated_at=version.updated_at)


def change_times(tx: Tx, model: str, number: int, *, updated_at: datetime) -> None:
    """Set when a version was last changed, for one whose last change was elsewhere."""
    mine = sa.and_(versions.c.workspace == tx.workspace, versions.c.model == model, versions.c.number == number)
    tx.execute(sa.update(versions).where(mine).values(updated_at=updated_at))


def reach_number(tx: Tx, name: str, number: int) -> None:
    """Have the next version's number be above this one."""
    mine = sa.and_(models.c.workspace == tx.workspace, models.c.name == name, models.c.latest_number < number)
    tx.execute(sa.update(models).where(mine).values(latest_number=number))


# -- aliases and stage history ------------------------------------------------------------------------------


def put_alias(tx: Tx, alias: Alias) -> None:
    """Point an alias at a version."""
    statement = insert(tx, aliases).values(workspace=tx.workspace, **_columns(alias))
    tx.execute(
        statement.on_conflict_do_update(
            index_elements=["workspace", "model", "alias"], set_={"number": alias.number}
        )
    )


def list_aliases(tx: Tx, model: str) -> tuple[Alias, ...]:
    """The aliases of a model by name."""
    query = (
        sa.select(aliases)
        .where(aliases.c.workspace == tx.workspace, aliases.c.model == model)
        .order_by(aliases.c.alias)
    )
    return tuple(_record(row, Alias) for row in tx.execute(query).mappings())


def drop_alias(tx: Tx, model: str, alias: str) -> None:
    """Remove an alias."""
    tx.execute(
        sa.delete(aliases).where(
            aliases.c.workspace == tx.workspace, aliases.c.model == model, aliases.c.alias == alias
        )
    )


def version_numbers(tx: Tx, model: str) -> list[int]:
    """The numbers of a model's versions, ascending."""
    query = sa.select(versions.c.number).where(versions.c.workspace == tx.workspace, versions.c.model == model)
    return list(tx.execute(query.order_by(versions.c.number)).scalars())


def delete_versions(tx: Tx, model: str, number: int | None = None) -> None:
    """Delete one version, or all of a model, with its aliases and the evidence on it; history stays."""
    for table in (aliases, evidence, versions):
        mine = sa.and_(table.c.workspace == tx.workspace, table.c.model == model)
        tx.execute(sa.delete(table).where(mine if number is None else sa.and_(mine, table.c.number == number)))


def delete_model(tx: Tx, name: str) -> None:
    """Delete a model that has no versions."""
    tx.execute(sa.delete(models).where(models.c.workspace == tx.workspace, models.c.name == name))


def rename_model(tx: Tx, before: str, after: str) -> None:
    """Write another name wherever a model's stands."""
    named = sa.and_(models.c.workspace == tx.workspace, models.c.name == before)
    tx.execute(sa.update(models).where(named).values(name=after, updated_at=tx.now))
    for table in (aliases, evidence, versions, stage_history, approvals, policies):
        mine = sa.and_(table.c.workspace == tx.workspace, table.c.model == before)
        tx.execute(sa.update(table).where(mine).values(model=after))


def stages_of(tx: Tx, model: str, number: int | None = None, *, past: bool = False) -> set[Stage]:
    """The stages that a version, or any version of a model, is in; with `past` also those that it has been in."""
    queries = [sa.select(versions.c.stage).where(versions.c.workspace == tx.workspace, versions.c.model == model)]
    if past:
        mine = sa.and_(stage_history.c.workspace == tx.workspace, stage_history.c.model == model)
        queries.append(sa.select(stage_history.c.after).where(mine))
    reached: set[Stage] = set()
    for query, table in zip(queries, (versions, stage_history), strict=False):
        narrowed = query if number is None else query.where(table.c.number == number)
        reached |= {Stage(stage) for stage in tx.execute(narrowed.distinct()).scalars()}
    return reached


def add_stage_change(tx: Tx, change: StageChange) -> None:
    """Append to the stage history, which is never edited."""
    tx.execute(sa.insert(stage_history).values(workspace=tx.workspace, **_columns(change)))


# -- evidence -----------------------------------------------------------------------------------------------


def add_evidence(tx: Tx, found: Evidence, event_seq: int) -> None:
    """Append a piece of evidence, which is never edited, under the event that recorded it."""
    tx.execute(
        sa.insert(evidence).values(
            workspace=tx.workspace,
            id=found.id,
            model=found.model,
            number=found.number,
            release_id=found.release_id,
            kind=found.kind,
            verdict=found.verdict.value,
            recorded_at=found.recorded_at,
            event_seq=event_seq,
            document=found,
        )
    )


def find_evidence(tx: Tx, evidence_id: str) -> Evidence | None:
    """One piece of evidence."""
    query = sa.select(evidence.c.document, evidence.c.model).where(
        evidence.c.workspace == tx.workspace, evidence.c.id == evidence_id
    )
    row = tx.execute(query).one_or_none()
    return None if row is None else _evidence(row)


def _evidence(row: sa.Row[Any]) -> Evidence:
    return msgspec.convert({**row.document, "model": row.model}, Evidence)  # the name may have changed


def list_evidence(
    tx: Tx, model: str, number: int, *, release_id: str | None = None, limit: int = 10_000
) -> tuple[Evidence, ...]:
    """The newest evidence on a version, in the order of the record."""
    query = (
        sa.select(evidence.c.document, evidence.c.model)
        .where(evidence.c.workspace == tx.workspace, evidence.c.model == model, evidence.c.number == number)
        .order_by(evidence.c.event_seq.desc())
        .limit(limit)
    )
    if release_id is not None:
        query = query.where(evidence.c.release_id == release_id)
    newest_first = [_evidence(row) for row in tx.execute(query)]
    return tuple(reversed(newest_first))
