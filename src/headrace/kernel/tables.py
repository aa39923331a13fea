"""The kernel's own tables: events, cursors, pins, lineage, jobs, schedules and the business clock."""

import sqlalchemy as sa

from headrace.kernel.schema import Document, Instant, metadata, workspace_column

events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("type", sa.String(128), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("subject", sa.String(512), nullable=False),
    sa.Column("actor", sa.String(256), nullable=False),
    workspace_column(),
    sa.Column("at", Instant, nullable=False),
    sa.Column("payload", sa.Text, nullable=True),  # the exact bytes that were hashed; NULL once erased
    sa.Column("payload_digest", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Index("ix_events_type_seq", "type", "seq"),
    sa.Index("ix_events_subject_seq", "subject", "seq"),
)

cursors = sa.Table(
    "cursors",
    metadata,
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    workspace_column(),
)

pins = sa.Table(
    "pins",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("resource", sa.String(512), primary_key=True),
    sa.Column("holder", sa.String(512), primary_key=True),
    sa.Column("reason", sa.String(512), nullable=False),
    sa.Column("pinned_at", Instant, nullable=False),
    sa.Index("ix_pins_holder", "workspace", "holder"),
    sa.Index("ix_pins_resource", "resource"),  # blobs are shared by all workspaces
)

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_BYTEWISE = sa.String(1024).with_variant(
    sa.String(1024, collation="C"), "postgresql"
)  # so that a prefix is a range

lineage_subjects = sa.Table(
    "lineage_subjects",
    metadata,
    sa.Column("number", _NUMBER, primary_key=True),  # what edges hold, so that a new name is one row
    workspace_column(),
    sa.Column("kind", sa.String(64), nullable=False),  # what stands before the first slash of the subject
    sa.Column("subject", _BYTEWISE, nullable=False),
    sa.Column("about", Document, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("ended_at", Instant, nullable=True),  # when it was deleted
    sa.UniqueConstraint("workspace", "subject"),
    sqlite_autoincrement=True,
)

lineage_edges = sa.Table(
    "lineage_edges",
    metadata,
    sa.Column("upstream", _NUMBER, primary_key=True, autoincrement=False),
    sa.Column("downstream", _NUMBER, primary_key=True, autoincrement=False),
    workspace_column(),
    sa.Column("relation", sa.String(64), nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Index("ix_lineage_edges_downstream", "downstream", "upstream"),
    sqlite_with_rowid=False,
)

lineage_versions = sa.Table(  # which versions come from a subject, however far down: a page of them is a range
    "lineage_versions",
    metadata,
    sa.Column("origin", _NUMBER, primary_key=True, autoincrement=False),
    sa.Column("version", _NUMBER, primary_key=True, autoincrement=False),
    workspace_column(),
    sqlite_with_rowid=False,
)

lineage_packages = sa.Table(
    "lineage_packages",
    metadata,
    sa.Column("environment", _NUMBER, primary_key=True, autoincrement=False),  # number of the subject
    sa.Column("name", sa.String(256), primary_key=True),
    workspace_column(),
    sa.Column("version", sa.String(256), nullable=True),  # NULL where only a range is known
    sa.Column("requirement", sa.Text, nullable=False),
    sa.Index("ix_lineage_packages_name", "workspace", "name"),
    sqlite_with_rowid=False,
)

business_clock = sa.Table(
    "business_clock",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("moved_at", Instant, nullable=False),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    workspace_column(),
    sa.Column("kind", sa.String(128), nullable=False),
    sa.Column("key", sa.String(512), nullable=True),
    sa.Column("lane", sa.String(256), nullable=True),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("actor", sa.String(256), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("max_attempts", sa.Integer, nullable=False),
    sa.Column("lease_s", sa.Float, nullable=False),
    sa.Column("enqueued_at", Instant, nullable=False),
    sa.Column("not_before", Instant, nullable=True),
    sa.Column("not_before_business", Instant, nullable=True),
    sa.Column("scheduled_for", Instant, nullable=True),
    sa.Column("leased_by", sa.String(256), nullable=True),
    sa.Column("lease", sa.String(64), nullable=True),
    sa.Column("leased_until", Instant, nullable=True),
    sa.Column("progress", Document, nullable=True),
    sa.Column("error", sa.Text, nullable=True),
    sa.Column("finished_at", Instant, nullable=True),
    sa.UniqueConstraint("workspace", "key"),
    sa.Index("ix_jobs_state_seq", "state", "seq"),
    sa.Index("ix_jobs_lane_state_seq", "lane", "state", "seq"),
)

schedules = sa.Table(
    "schedules",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("name", sa.String(256), primary_key=True),
    sa.Column("kind", sa.String(128), nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("cron", sa.String(128), nullable=False),
    sa.Column("next_at", Instant, nullable=False),
    sa.Column("actor", sa.String(256), nullable=False),
    sa.Index("ix_schedules_next_at", "next_at"),
)

principals = sa.Table(
    "principals",
    metadata,
    workspace_column(primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("roles", Document, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("disabled_at", Instant, nullable=True),
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    workspace_column(),
    sa.Column("principal_id", sa.String(64), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),  # SHA-256; the token itself is never stored
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=True),
    sa.Column("revoked_at", Instant, nullable=True),
    sa.Index("ix_tokens_principal_id", "workspace", "principal_id"),
)
