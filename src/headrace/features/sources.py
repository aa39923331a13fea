"""Sources in control: when they are read, and what is remembered of how far they were.

Every version of a source has a lake table of its own, because another definition may mean other events. A
version is read on for as long as it is current or a version of a view reads it.
"""

from datetime import datetime, timedelta

import msgspec

from headrace.features import tables, views
from headrace.features.kinds import INGEST
from headrace.features.nouns import Ingest, Ingested, ObjectKind, SourceState
from headrace.kernel import business_time, events, jobs, lineage, pins
from headrace.kernel.database import Tx
from headrace.kernel.events import Event
from headrace.kernel.jobs import Job
from headrace.kernel.lineage import Link
from headrace.project.source import Source

REFRESH = timedelta(minutes=15)
"""How often sources are read while business time follows wall time."""


def begin(tx: Tx, source: str, version: int, data_digest: str | None) -> None:
    """Take a new version of a source, or other data of a version, and ask for its ingest."""
    known = _state(tx, source, version)
    if known is None:
        table = f"sources/{source}" if version == 1 else f"sources/{source}-v{version}"
        tables.add_source_state(
            tx, SourceState(source=source, version=version, table=table, data_digest=data_digest)
        )
        lineage.connect(tx, [Link(f"source/{source}/{version}", "ingested into", f"lake/{table}")])
    else:
        tables.change_source_state(tx, source, version, data_digest=data_digest)
    if data_digest is not None:
        pins.pin(tx, f"blob/{data_digest}", f"source/{source}/{version}", "the data of a source")
    state = _state(tx, source, version)
    if state is not None:
        request(tx, state, business_time.business_now(tx))


def data_of(tx: Tx, source: str, version: int) -> str | None:
    """The blob that a version of a source reads; None for a URI."""
    state = _state(tx, source, version)
    return None if state is None else state.data_digest


def request(tx: Tx, state: SourceState, through: datetime) -> str:
    """Ask for the ingest of one version of a source up to a business time; returns the job's id."""
    spec = tables.find_object(tx, ObjectKind.SOURCE, state.source, state.version)
    payload = Ingest(
        source=msgspec.convert(spec.spec if spec else None, Source),
        version=state.version,
        table=state.table,
        data_digest=state.data_digest,
        through=through,
    )
    tables.change_source_state(tx, state.source, state.version, requested_through=through)
    return jobs.enqueue(tx, INGEST, payload, lane=f"lake/{state.table}")


def request_all(tx: Tx) -> list[str]:
    """Ask for the ingest of every source in use up to business now; returns the jobs' ids."""
    through = business_time.business_now(tx)
    return [request(tx, state, through) for state in tables.sources_in_use(tx)]


def on_clock_moved(tx: Tx, event: Event) -> None:  # noqa: ARG001 - the clock is read, for it may have moved again
    """Business time has moved, so new events have happened."""
    request_all(tx)


def is_stale(tx: Tx) -> bool:
    """Whether business time follows wall time and the sources were not read for a while; a cheap look."""
    clock = business_time.read(tx)
    earliest = tables.earliest_request(tx)
    return not clock.replayed and earliest is not None and earliest + REFRESH <= clock.now


def settle(tx: Tx, job: Job, result: Ingested) -> None:
    """Remember how far a source was read, and ask for the views that read it."""
    payload = msgspec.json.decode(job.payload, type=Ingest)
    name, version = payload.source.name, payload.version
    tables.change_source_state(
        tx,
        name,
        version,
        lake_version=result.lake_version,
        ingested_through=result.through,
        rows=result.rows,
        late_rows=result.late_rows,
        rows_without_time=result.rows_without_time,
        error="",
    )
    events.append(tx, "features.source_ingested", f"source/{name}/{version}", result)
    views.request_all(tx, (name, version), payload.table, result.lake_version, result.through)


def failed(tx: Tx, job: Job, error: str) -> None:
    """Remember why a source could not be read; the next ingest starts from where the table stands."""
    payload = msgspec.json.decode(job.payload, type=Ingest)
    tables.change_source_state(tx, payload.source.name, payload.version, error=error)


def _state(tx: Tx, source: str, version: int) -> SourceState | None:
    return next((state for state in tables.list_source_states(tx, source) if state.version == version), None)
