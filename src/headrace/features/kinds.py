"""The kinds of work that the feature store asks workers for; both sides of the queue name them from here."""

from headrace.features.nouns import Ingest, Ingested, Materialize, Materialized
from headrace.kernel.jobs import JobKind

INGEST: JobKind[Ingest, Ingested] = JobKind(name="features.ingest", payload=Ingest, result=Ingested, lease_s=60.0)
"""Read a source's new events into its lake table."""

MATERIALIZE: JobKind[Materialize, Materialized] = JobKind(
    name="features.materialize", payload=Materialize, result=Materialized, lease_s=60.0
)
"""Bring a view's online state up to a version of its source."""
