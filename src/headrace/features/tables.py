"""The feature store's tables and every statement on them."""

from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from headrace.features.nouns import FeatureObject, ObjectKind, SourceState, ViewState
from headrace.kernel.database import Tx
from headrace.kernel.schema import Document, Instant, metadata, workspace_column

objects = sa.Table(
    "feature_objects",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("project", sa.String(256), nullable=False),
    sa.Column("spec", Document, nullable=False),
    sa.Column("digest", sa.String(80), nullable=False),
    sa.Column("declared_at", sa.String(1024), nullable=False),
    sa.Column("current", sa.Boolean, nullable=False),
    sa.Column("created_by", sa.String(256), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("archived_at", Instant, nullable=True),
    sa.Index("ix_feature_objects_current", "workspace", "current", "kind", "name"),
)

source_states = sa.Table(
    "feature_source_states",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("source", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("table", sa.String(256), nullable=False),
    sa.Column("data_digest", sa.String(80), nullable=True),
    sa.Column("requested_through", Instant, nullable=True),
    sa.Column("lake_version", sa.BigInteger, nullable=True),
    sa.Column("ingested_through", Instant, nullable=True),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("late_rows", sa.BigInteger, nullable=False),
    sa.Column("rows_without_time", sa.BigInteger, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
)

view_states = sa.Table(
    "feature_view_states",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("view", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("source", sa.String(64), nullable=False),
    sa.Column("source_version", sa.Integer, nullable=False),
    sa.Column("lake_version", sa.BigInteger, nullable=True),
    sa.Column("materialized_through", Instant, nullable=True),
    sa.Column("error", sa.Text, nullable=False),
    sa.Index("ix_feature_view_states_source", "workspace", "source", "source_version"),
)


def add_object(tx: Tx, record: FeatureObject) -> None:
    """Store a new version and make it the current one of its name."""
    change_objects(tx, record.kind, record.name, current=False)
    values = msgspec.to_builtins(record, builtin_types=(datetime,))
    tx.execute(objects.insert().values(workspace=tx.workspace, **values))


def change_objects(tx: Tx, kind: ObjectKind, name: str, *, version: int | None = None, **values: Any) -> None:
    """Change one version of an object, or all of them."""
    mine = sa.and_(objects.c.workspace == tx.workspace, objects.c.kind == kind.value, objects.c.name == name)
    if version is not None:
        mine = sa.and_(mine, objects.c.version == version)
    tx.execute(objects.update().where(mine).values(values))


def find_object(tx: Tx, kind: ObjectKind, name: str, version: int | None = None) -> FeatureObject | None:
    """One version of an object, the current one by default."""
    wanted = objects.c.current if version is None else objects.c.version == version
    statement = sa.select(objects).where(
        objects.c.workspace == tx.workspace, objects.c.kind == kind.value, objects.c.name == name, wanted
    )
    row = tx.execute(statement).first()
    return None if row is None else _object(row)


def list_versions(tx: Tx, kind: ObjectKind, name: str) -> tuple[FeatureObject, ...]:
    """Every version of an object, newest first."""
    statement = (
        sa.select(objects)
        .where(objects.c.workspace == tx.workspace, objects.c.kind == kind.value, objects.c.name == name)
        .order_by(objects.c.version.desc())
    )
    return tuple(_object(row) for row in tx.execute(statement))


def list_current(tx: Tx, *, project: str | None = None) -> tuple[FeatureObject, ...]:
    """The current version of every object, or of those of one project, by kind and name."""
    statement = (
        sa.select(objects)
        .where(objects.c.workspace == tx.workspace, objects.c.current)
        .order_by(objects.c.kind, objects.c.name)
    )
    if project is not None:
        statement = statement.where(objects.c.project == project)
    return tuple(_object(row) for row in tx.execute(statement))


def add_source_state(tx: Tx, state: SourceState) -> None:
    """Store where a new version of a source stands."""
    tx.execute(source_states.insert().values(workspace=tx.workspace, **msgspec.structs.asdict(state)))


def change_source_state(tx: Tx, source: str, version: int, **values: Any) -> None:
    """Change where one version of a source stands."""
    tx.execute(
        source_states.update()
        .where(
            source_states.c.workspace == tx.workspace,
            source_states.c.source == source,
            source_states.c.version == version,
        )
        .values(values)
    )


def list_source_states(tx: Tx, source: str | None = None) -> tuple[SourceState, ...]:
    """Where the versions of one source, or of all, stand; newest version first."""
    statement = (
        sa.select(source_states)
        .where(source_states.c.workspace == tx.workspace)
        .order_by(source_states.c.source, source_states.c.version.desc())
    )
    if source is not None:
        statement = statement.where(source_states.c.source == source)
    return tuple(_source_state(row) for row in tx.execute(statement))


def sources_in_use(tx: Tx) -> tuple[SourceState, ...]:
    """Versions of sources that are current and active, or that a version of a view reads."""
    statement = (
        sa.select(source_states).where(_in_use(tx)).order_by(source_states.c.source, source_states.c.version)
    )
    return tuple(_source_state(row) for row in tx.execute(statement))


def earliest_request(tx: Tx) -> datetime | None:
    """The business time that the least advanced source in use was last asked to reach; None without sources."""
    earliest = sa.select(sa.func.min(source_states.c.requested_through)).where(_in_use(tx))
    return tx.execute(earliest).scalar_one_or_none()


def _in_use(tx: Tx) -> sa.ColumnElement[bool]:
    active = sa.exists().where(
        objects.c.workspace == source_states.c.workspace,
        objects.c.kind == ObjectKind.SOURCE.value,
        objects.c.name == source_states.c.source,
        objects.c.version == source_states.c.version,
        objects.c.current,
        objects.c.archived_at.is_(None),
    )
    read = sa.exists().where(
        view_states.c.workspace == source_states.c.workspace,
        view_states.c.source == source_states.c.source,
        view_states.c.source_version == source_states.c.version,
    )
    return sa.and_(source_states.c.workspace == tx.workspace, sa.or_(active, read))


def add_view_state(tx: Tx, state: ViewState) -> None:
    """Store where a new version of a view stands."""
    tx.execute(view_states.insert().values(workspace=tx.workspace, **msgspec.structs.asdict(state)))


def change_view_state(tx: Tx, view: str, version: int, **values: Any) -> None:
    """Change where one version of a view stands."""
    tx.execute(
        view_states.update()
        .where(
            view_states.c.workspace == tx.workspace,
            view_states.c.view == view,
            view_states.c.version == version,
        )
        .values(values)
    )


def list_view_states(
    tx: Tx, *, view: str | None = None, source: tuple[str, int] | None = None
) -> tuple[ViewState, ...]:
    """Where versions of views stand: of one view, of those that read one version of a source, or of all."""
    statement = (
        sa.select(view_states)
        .where(view_states.c.workspace == tx.workspace)
        .order_by(view_states.c.view, view_states.c.version.desc())
    )
    if view is not None:
        statement = statement.where(view_states.c.view == view)
    if source is not None:
        statement = statement.where(view_states.c.source == source[0], view_states.c.source_version == source[1])
    return tuple(_view_state(row) for row in tx.execute(statement))


def _object(row: sa.Row[Any]) -> FeatureObject:
    return FeatureObject(
        kind=ObjectKind(row.kind),
        **{name: getattr(row, name) for name in FeatureObject.__struct_fields__ if name != "kind"},
    )


def _source_state(row: sa.Row[Any]) -> SourceState:
    return SourceState(**{name: getattr(row, name) for name in SourceState.__struct_fields__})


def _view_state(row: sa.Row[Any]) -> ViewState:
    return ViewState(**{name: getattr(row, name) for name in ViewState.__struct_fields__})
