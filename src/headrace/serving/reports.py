"""What gateways report: their state, and counts that add up whatever is lost, repeated or restarted on the way."""

from collections.abc import Sequence
from datetime import timedelta
from functools import reduce

import msgspec

from headrace.kernel.database import Tx
from headrace.serving import tables
from headrace.serving.distinct import distinct
from headrace.serving.latencies import quantile_us
from headrace.serving.nouns import SIGNALLED_UNITS, Compared, Counts, Gateway, GatewayReport

MEASURED_ROWS = 200
"""Fewer latencies tell no 95th percentile."""

ALIVE_S = 5.0
"""A gateway that has been silent for longer is taken for gone; it reports each second."""

UNITS_KEPT = timedelta(days=1)
"""After the last count of a release: gateways that were cut off report late."""
RELEASES_AT_ONCE = 10


def record(tx: Tx, report: GatewayReport) -> None:
    """Take a gateway's report. Counts are cumulative per boot, so repeating or reordering reports is harmless.

    A report of a former process of the same gateway still counts, but does not change the gateway's state.
    """
    tables.put_gateway(tx, report)
    for counts in report.counts:
        tables.put_counts(tx, report.gateway, report.boot, counts)
        tables.add_signalled(tx, counts)


def units_are_stale(tx: Tx) -> bool:
    """Whether units are remembered of a release that is over."""
    return bool(tables.releases_with_units(tx, silent_since=tx.now - UNITS_KEPT))


def forget_units(tx: Tx) -> None:
    """Forget which units gave signals in releases that are over: they were kept so as to count each once.

    Only verdicts of an open release ask for them. What it counted otherwise stays.
    """
    for release_id in tables.releases_with_units(tx, silent_since=tx.now - UNITS_KEPT)[:RELEASES_AT_ONCE]:
        tables.forget_units(tx, release_id)


def counts(tx: Tx, release_id: str, step: int, version: int) -> Counts:
    """What all gateways have counted for a version in one step of a release."""
    return counts_of_release(tx, release_id).get((step, version), Counts())


def counts_of_release(tx: Tx, release_id: str) -> dict[tuple[int, int], Counts]:
    """What all gateways have counted in a release, by step and version."""
    rows: dict[tuple[int, int], list[tables.CounterRow]] = {}
    for row in tables.counter_rows(tx, release_id):
        rows.setdefault((row.step, row.version), []).append(row)
    signalled: dict[tuple[int, int], list[tables.SignalledCount]] = {}
    for each in tables.count_signalled(tx, release_id):
        signalled.setdefault((each.step, each.version), []).append(each)
    return {place: _added(found, signalled.get(place, ())) for place, found in rows.items()}


def _added(rows: Sequence[tables.CounterRow], signalled: Sequence[tables.SignalledCount]) -> Counts:
    numbers = {name: sum(getattr(row.counts, name) for row in rows) for name in tables.COUNTED}
    numbers["units"] += distinct(row.named for row in rows)
    for each in signalled:
        numbers[SIGNALLED_UNITS[each.signal]] += each.units
    told = [row.compared for row in rows if row.compared is not None]
    compared = reduce(Compared.plus, told) if told else None
    again = {each.signal: each.again for each in signalled if each.again}
    return msgspec.structs.replace(msgspec.convert(numbers, Counts), again=again, compared=compared)


def latency_quantile_us(tx: Tx, model: str, version: int, quantile: float, *, release_id: str) -> int | None:
    """A quantile of a version's latency: in this release if enough was measured there, else of all there is.

    Returns:
        Microseconds; None when there are fewer than `MEASURED_ROWS` rows.
    """
    for within in (release_id, None):
        found = tables.latency_counts(tx, model, version, release_id=within)
        if sum(found.values()) >= MEASURED_ROWS:
            return quantile_us(found, quantile)
    return None


def counts_outside_releases(tx: Tx, model: str, version: int) -> Counts:
    """What all gateways have counted for a version while no release was under way, and for pinned requests."""
    return tables.sum_outside(tx, model, version)


def counts_of_version(tx: Tx, model: str, version: int) -> Counts:
    """What all gateways have ever counted for a version, in releases and outside of them."""
    return tables.sum_version(tx, model, version)


def units_per_s(tx: Tx, model: str) -> float:
    """How many units a second ask all gateways for a model, as measured in the last minute."""
    return sum(gateway.units_per_s.get(model, 0.0) for gateway in gateways(tx, alive_only=True))


def gateways(tx: Tx, *, alive_only: bool = False) -> Sequence[Gateway]:
    """Every gateway that ever reported, by name; or those that reported in the last seconds."""
    since = tx.now - timedelta(seconds=ALIVE_S) if alive_only else None
    return tables.list_gateways(tx, seen_since=since)


def held_everywhere(tx: Tx, model: str, number: int) -> bool:
    """Whether there is a live gateway and each of them holds the version, ready to answer."""
    alive = gateways(tx, alive_only=True)
    return bool(alive) and all(gateway.holds(model, number) for gateway in alive)
