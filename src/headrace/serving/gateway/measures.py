"""How requests ended and how long they took, by model, version, arm and status, as Prometheus wants it.

Plain numbers, since a request pays for each of them; they are put into Prometheus's words when it asks.
"""

from bisect import bisect_left
from typing import NamedTuple

BUCKETS_S = (
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Upper bounds; what took longer is in one more."""


class Ended(NamedTuple):
    """What requests have in common that are measured together; empty where it was not known."""

    model: str
    version: str
    arm: str
    status: int


class Duration:
    """Durations of the requests that ended one way."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        """Requests in each bucket, not cumulative."""
        self.sum_s = 0.0


class Measures:
    """Used from the gateway's event loop."""

    def __init__(self) -> None:
        self._durations: dict[tuple[str, int | None, str, int], Duration] = {}
        self.fallbacks: dict[tuple[str, int, str], int] = {}
        """Rows by model, version that should have answered, and what did."""

    def observe(self, model: str, version: int | None, arm: str, status: int, took_s: float) -> None:
        """One request, or the part of it that one version answered, has ended."""
        key = (model, version, arm, status)
        duration = self._durations.get(key)
        if duration is None:
            duration = self._durations[key] = Duration()
        duration.counts[bisect_left(BUCKETS_S, took_s)] += 1
        duration.sum_s += took_s

    def fell_back(self, model: str, version: int, to: str, rows: int) -> None:
        """Something else answered in the place of a version."""
        key = (model, version, to)
        self.fallbacks[key] = self.fallbacks.get(key, 0) + rows

    def durations(self) -> dict[Ended, Duration]:
        """Everything that was measured since the process began."""
        return {
            Ended(model, "" if version is None else str(version), str(arm), status): duration
            for (model, version, arm, status), duration in self._durations.items()
        }
