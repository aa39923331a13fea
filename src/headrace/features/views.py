"""Feature views in control: when they are brought into the online store, and how far they are.

Every version of a view is kept online, archived or not: a model in production may have been trained on it.
"""

from datetime import datetime

import msgspec

from headrace.features import tables
from headrace.features.kinds import MATERIALIZE
from headrace.features.nouns import Materialize, Materialized, ObjectKind, ViewState
from headrace.kernel import events, jobs, lineage
from headrace.kernel.database import Tx
from headrace.kernel.jobs import Job
from headrace.kernel.lineage import Link
from headrace.project.feature_view import FeatureView


def begin(tx: Tx, view: FeatureView, version: int, source_version: int) -> None:
    """Take a new version of a view, and ask for its data if its source has been read already."""
    state = ViewState(view=view.name, version=version, source=view.source.name, source_version=source_version)
    tables.add_view_state(tx, state)
    read = Link(f"source/{view.source.name}/{source_version}", "computed into", f"view/{view.name}/{version}")
    lineage.connect(tx, [read])
    source = next(
        state for state in tables.list_source_states(tx, view.source.name) if state.version == source_version
    )
    if source.lake_version is not None and source.ingested_through is not None:
        _request(tx, state, source.table, source.lake_version, source.ingested_through)


def request_all(tx: Tx, source: tuple[str, int], table: str, lake_version: int, through: datetime) -> None:
    """Ask for every view that reads a version of a source, which has come to a version of its table."""
    for state in tables.list_view_states(tx, source=source):
        _request(tx, state, table, lake_version, through)


def settle(tx: Tx, job: Job, result: Materialized) -> None:
    """Remember how far a view was brought."""
    payload = msgspec.json.decode(job.payload, type=Materialize)
    name, version = payload.view.name, payload.version
    tables.change_view_state(
        tx, name, version,
        lake_version=result.lake_version, materialized_through=result.through, error="",
    )  # fmt: skip
    events.append(tx, "features.view_materialized", f"view/{name}/{version}", result)


def failed(tx: Tx, job: Job, error: str) -> None:
    """Remember why a view could not be brought; the next job starts from where the store stands."""
    payload = msgspec.json.decode(job.payload, type=Materialize)
    tables.change_view_state(tx, payload.view.name, payload.version, error=error)


def _request(tx: Tx, state: ViewState, table: str, lake_version: int, through: datetime) -> str:
    found = tables.find_object(tx, ObjectKind.VIEW, state.view, state.version)
    payload = Materialize(
        view=msgspec.convert(found.spec if found else None, FeatureView),
        version=state.version,
        table=table,
        lake_version=lake_version,
        through=through,
    )
    return jobs.enqueue(tx, MATERIALIZE, payload, lane=f"online/{state.view}/{state.version}")
