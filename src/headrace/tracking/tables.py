"""Tracking's tables; the statements on them are in the modules named `tables_*`, one for each noun.

A run has a number beside its id, so that the rows that hang on it stay narrow. A metric of a run is a series with
its latest point kept in it; its history is clustered by series, step and time.
"""

from typing import Any

import sqlalchemy as sa

from headrace.kernel.schema import Document, Instant, metadata, workspace_column
from headrace.tracking.readings import SortableFloat

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # so that a prefix is a range


INDEXED = 100
"""How many characters of a param's or a tag's value are in the index: PostgreSQL takes no long ones."""


_HEAD = sa.func.substr(sa.column("value"), 1, INDEXED)


def _of_run() -> sa.Column[int]:
    return sa.Column("run", NUMBER, sa.ForeignKey("tracking_runs.number"), primary_key=True, autoincrement=False)


def _of_model() -> sa.Column[str]:
    return sa.Column("model_id", sa.String(64), sa.ForeignKey("tracking_logged_models.id"), primary_key=True)


experiments = sa.Table(
    "tracking_experiments",
    metadata,
    sa.Column("number", NUMBER, primary_key=True),
    workspace_column(),
    sa.Column("name", sa.String(500), nullable=False),
    sa.Column("artifact_location", sa.Text, nullable=True),  # null: the platform keeps its files
    sa.Column("tags", Document, nullable=False),
    sa.Column("created_by", sa.String(256), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("deleted_at", Instant, nullable=True),
    sa.UniqueConstraint("workspace", "name"),
    sa.Index("ix_tracking_experiments_created", "workspace", "created_at", "number"),
    sa.Index("ix_tracking_experiments_updated", "workspace", "updated_at", "number"),
    sqlite_autoincrement=True,  # an id is never given twice
)

artifact_roots = sa.Table(
    "tracking_artifact_roots",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("location", sa.Text, nullable=False),
)

runs = sa.Table(
    "tracking_runs",
    metadata,
    sa.Column("number", NUMBER, primary_key=True),
    workspace_column(),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("experiment", NUMBER, sa.ForeignKey("tracking_experiments.number"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("user", sa.String(256), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("ended_at", Instant, nullable=True),
    sa.Column("deleted_at", Instant, nullable=True),
    sa.Column("artifact_uri", sa.Text, nullable=True),
    sa.Index("ix_tracking_runs_experiment", "experiment", "started_at", "number"),
    sa.Index(
        "ix_tracking_runs_live",
        "experiment",
        "started_at",
        "number",
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    ),
    sa.Index("ix_tracking_runs_started", "workspace", "started_at", "number"),
    sa.Index(
        "ix_tracking_runs_deleted",
        "workspace",
        "deleted_at",
        sqlite_where=sa.text("deleted_at IS NOT NULL"),
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)

params = sa.Table(
    "tracking_params",
    metadata,
    _of_run(),
    sa.Column("key", sa.String(250), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    workspace_column(),
    sa.Column("experiment", NUMBER, nullable=False),
    sa.Index(
        "ix_tracking_params_value", "experiment", "key", sa.func.substr(sa.column("value"), 1, INDEXED), "run"
    ),
    sqlite_with_rowid=False,
)

tags = sa.Table(
    "tracking_tags",
    metadata,
    _of_run(),
    sa.Column("key", sa.String(250), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    workspace_column(),
    sa.Column("experiment", NUMBER, nullable=False),
    sa.Index("ix_tracking_tags_value", "experiment", "key", _HEAD, "run"),
    sqlite_with_rowid=False,
)

series = sa.Table(
    "tracking_series",
    metadata,
    sa.Column("number", NUMBER, primary_key=True),
    sa.Column("run", NUMBER, sa.ForeignKey("tracking_runs.number"), nullable=False),
    sa.Column("experiment", NUMBER, nullable=False),  # the run's, so that an index can begin with it
    sa.Column("key", sa.String(250), nullable=False),
    workspace_column(),
    sa.Column("last_value", SortableFloat, nullable=False),
    sa.Column("last_step", sa.BigInteger, nullable=False),
    sa.Column("last_at", Instant, nullable=False),
    sa.Column("min_value", SortableFloat, nullable=True),  # of the numbers: null while only NaN was seen
    sa.Column("min_step", sa.BigInteger, nullable=True),
    sa.Column("max_value", SortableFloat, nullable=True),
    sa.Column("max_step", sa.BigInteger, nullable=True),
    sa.UniqueConstraint("run", "key"),
    sa.Index("ix_tracking_series_value", "experiment", "key", "last_value", "run"),
)

points = sa.Table(
    "tracking_points",
    metadata,
    sa.Column(
        "series", NUMBER, primary_key=True, autoincrement=False
    ),  # not a foreign key: a look-up for each point
    sa.Column("step", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", Instant, primary_key=True),
    sa.Column("value", SortableFloat, primary_key=True),
    workspace_column(),
    sqlite_with_rowid=False,
)

datasets = sa.Table(
    "tracking_datasets",
    metadata,
    sa.Column("number", NUMBER, primary_key=True),
    sa.Column("experiment", NUMBER, sa.ForeignKey("tracking_experiments.number"), nullable=False),
    sa.Column("name", sa.String(500), nullable=False),
    sa.Column("digest", sa.String(128), nullable=False),
    workspace_column(),
    sa.Column("source_type", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("schema", sa.Text, nullable=True),
    sa.Column("profile", sa.Text, nullable=True),
    sa.UniqueConstraint("experiment", "name", "digest"),
)

dataset_inputs = sa.Table(
    "tracking_dataset_inputs",
    metadata,
    _of_run(),
    sa.Column("dataset", NUMBER, sa.ForeignKey("tracking_datasets.number"), primary_key=True, autoincrement=False),
    workspace_column(),
    sa.Column("tags", Document, nullable=False),
    sa.Index("ix_tracking_dataset_inputs_dataset", "dataset"),
)

model_links = sa.Table(
    "tracking_model_links",
    metadata,
    _of_run(),
    sa.Column("direction", sa.String(8), primary_key=True),  # "input" or "output"
    _of_model(),
    workspace_column(),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Index("ix_tracking_model_links_model", "model_id"),
)

artifacts = sa.Table(
    "tracking_artifacts",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("owner", sa.String(128), primary_key=True),
    sa.Column("path", _BYTEWISE, primary_key=True),
    sa.Column("digest", sa.String(80), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(256), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Index("ix_tracking_artifacts_digest", "digest"),
)

logged_models = sa.Table(
    "tracking_logged_models",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    workspace_column(),
    sa.Column("experiment", NUMBER, sa.ForeignKey("tracking_experiments.number"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("model_type", sa.Text, nullable=False),
    sa.Column("source_run_id", sa.String(64), nullable=True),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("params", Document, nullable=False),
    sa.Column("tags", Document, nullable=False),
    sa.Column("created_by", sa.String(256), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("deleted_at", Instant, nullable=True),
    sa.Column("artifact_uri", sa.Text, nullable=True),
    sa.Index("ix_tracking_logged_models_created", "experiment", "created_at", "id"),
    sa.Index("ix_tracking_logged_models_name", "experiment", "name", "created_at"),
    sa.Index("ix_tracking_logged_models_run", "source_run_id", "experiment", "created_at"),
)

model_metrics = sa.Table(
    "tracking_model_metrics",
    metadata,
    _of_model(),
    sa.Column("key", sa.String(250), primary_key=True),
    _of_run(),
    sa.Column("step", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", Instant, primary_key=True),
    sa.Column("value", SortableFloat, nullable=False),
    workspace_column(),
    sa.Column("dataset_name", sa.Text, nullable=True),
    sa.Column("dataset_digest", sa.Text, nullable=True),
    sa.Index("ix_tracking_model_metrics_value", "key", "value", "model_id"),
    sa.Index("ix_tracking_model_metrics_run", "run"),
)


def with_deletion(query: sa.Select[Any], column: sa.Column[Any], *, deleted: bool | None) -> sa.Select[Any]:
    """Keep what is deleted (True), what is not (False), or both (None)."""
    if deleted is None:
        return query
    return query.where(column.is_not(None) if deleted else column.is_(None))
