"""The feature store's records: registered objects, where their data stand, and the jobs that move them."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from headrace.project.entity import Entity
from headrace.project.feature_view import FeatureView
from headrace.project.label import Label
from headrace.project.source import Source


class ObjectKind(StrEnum):
    """What can be registered; in the order in which one refers to another."""

    ENTITY = "entity"
    SOURCE = "source"
    VIEW = "view"
    LABEL = "label"


class Change(StrEnum):
    """What applying a project does to one object."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    ARCHIVED = "archived"


class LookupStatus(StrEnum):
    """What an online lookup found about one entity in one view.

    MISSING: no event is known. EXPIRED: its newest event is older than the view's ttl. Both give nulls.
    """

    FOUND = "found"
    EXPIRED = "expired"
    MISSING = "missing"


class SourceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A source as it is applied: the declaration, and the blob of its file unless its path is a URI."""

    source: Source
    data_digest: str | None = None


class FeatureSpecs(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of one project that this room keeps.

    Attributes:
        project: who declares it; what a project no longer declares is archived, what others declared is not.
    """

    project: str
    entities: tuple[Entity, ...] = ()
    sources: tuple[SourceSpec, ...] = ()
    views: tuple[FeatureView, ...] = ()
    labels: tuple[Label, ...] = ()


class PlannedObject(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a plan.

    Attributes:
        version: the version that applying leads to.
        details: what differs, in words; empty for what is new or unchanged.
    """

    kind: ObjectKind
    name: str
    change: Change
    version: int
    declared_at: str
    details: tuple[str, ...] = ()


class FeatureObject(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a registered object.

    Attributes:
        spec: the definition as JSON builtins, without line numbers.
        digest: sha256 of the definition; a new one makes a new version.
        current: whether it is the newest version of its name.
        archived_at: when its project stopped declaring it; None while active.
    """

    kind: ObjectKind
    name: str
    version: int
    project: str
    spec: dict[str, Any]
    digest: str
    declared_at: str
    current: bool
    created_by: str
    created_at: datetime
    archived_at: datetime | None = None


class SourceState(msgspec.Struct, frozen=True, kw_only=True):
    """How far one version of a source has been read into the lake.

    Attributes:
        table: its lake table.
        data_digest: blob of its file; None for a URI.
        lake_version: newest version of the table; None before the first ingest.
        ingested_through: business time up to which its events are in the lake.
        rows: rows in the lake.
        late_rows: rows of the file that arrived after their time had been ingested and so are not in the
            lake. rows_without_time: rows of the file without an event time; they are never ingested. error:
            why the last ingest failed; empty after a success.
    """

    source: str
    version: int
    table: str
    data_digest: str | None = None
    lake_version: int | None = None
    ingested_through: datetime | None = None
    rows: int = 0
    late_rows: int = 0
    rows_without_time: int = 0
    error: str = ""


class ViewState(msgspec.Struct, frozen=True, kw_only=True):
    """How far one version of a feature view has been brought into the online store.

    Attributes:
        source_version: the version of its source that it reads.
        lake_version: the source table's version that it holds; None before the first time.
        materialized_through: business time up to which its events are online.
        error: why the last materialization failed; empty after a success.
    """

    view: str
    version: int
    source: str
    source_version: int
    lake_version: int | None = None
    materialized_through: datetime | None = None
    error: str = ""


class ObjectDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A registered object with its versions and where its data stand, newest version first."""

    versions: tuple[FeatureObject, ...]
    sources: tuple[SourceState, ...] = ()
    views: tuple[ViewState, ...] = ()


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    """All current objects, and where the data of sources and views stand."""

    objects: tuple[FeatureObject, ...]
    sources: tuple[SourceState, ...]
    views: tuple[ViewState, ...]


class Ingest(msgspec.Struct, frozen=True, kw_only=True):
    """Input of the job features.ingest: bring a source's table up to a business time."""

    source: Source
    version: int
    table: str
    data_digest: str | None
    through: datetime


class Ingested(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the job features.ingest.

    Attributes:
        rows: rows of the whole table.
        added_rows: rows that this job appended.
        late_rows: see `SourceState`; of the whole file, as is `rows_without_time`.
    """

    lake_version: int
    through: datetime
    rows: int
    added_rows: int
    late_rows: int
    rows_without_time: int


class Materialize(msgspec.Struct, frozen=True, kw_only=True):
    """Input of the job features.materialize: bring a view's online state up to a version of its source."""

    view: FeatureView
    version: int
    table: str
    lake_version: int
    through: datetime


class Materialized(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the job features.materialize.

    Attributes:
        entities: how many entities had new events.
        events: how many events that were.
    """

    lake_version: int
    through: datetime
    entities: int
    events: int
