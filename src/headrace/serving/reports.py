"""What gateways report: their state, and counts that add up whatever is lost, repeated or restarted on the way."""

from collections.abc import Sequence
from datetime import timedelta

from headrace.kernel.database import Tx
from headrace.serving import tables
from headrace.serving.nouns import Counts, Gateway, GatewayReport

ALIVE_S = 5.0
"""A gateway that has been silent for longer is taken for gone; it reports each second."""


def record(tx: Tx, report: GatewayReport) -> None:
    """Take a gateway's report. Counts are cumulative per boot, so repeating or reordering reports is harmless.

    A report of a former process of the same gateway still counts, but does not change the gateway's state.
    """
    tables.put_gateway(tx, report)
    for counts in report.counts:
        tables.put_counts(tx, report.gateway, report.boot, counts)


def counts(tx: Tx, release_id: str | None, step: int | None, version: int) -> Counts:
    """What all gateways have counted for a version in one step of a release.

    Outside a release (`release_id` None) no units are counted, and versions of all models with this number add
    up; ask `counts_outside_releases` there.
    """
    return tables.sum_counts(tx, release_id=release_id, step=step, version=version)


def counts_outside_releases(tx: Tx, model: str, version: int) -> Counts:
    """What all gateways have counted for a version while no release was under way, and for pinned requests."""
    return tables.sum_counts(tx, release_id=None, step=None, version=version, model=model)


def counts_of_version(tx: Tx, model: str, version: int) -> Counts:
    """What all gateways have ever counted for a version, in releases and outside of them."""
    return tables.sum_version(tx, model, version)


def gateways(tx: Tx, *, alive_only: bool = False) -> Sequence[Gateway]:
    """Every gateway that ever reported, by name; or those that reported in the last seconds."""
    since = tx.now - timedelta(seconds=ALIVE_S) if alive_only else None
    return tables.list_gateways(tx, seen_since=since)


def held_everywhere(tx: Tx, model: str, number: int) -> bool:
    """Whether there is a live gateway and each of them holds the version, ready to answer."""
    alive = gateways(tx, alive_only=True)
    return bool(alive) and all(gateway.holds(model, number) for gateway in alive)
