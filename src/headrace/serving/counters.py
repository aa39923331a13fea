"""What a gateway counts for each version, and the breaker that acts on it while nobody else can.

Counts are cumulative since the gateway's boot, so a report that is lost or sent twice does no harm. Units are
counted once, since one broken unit that retries is one piece of evidence and not a hundred.
"""

from datetime import datetime
from typing import NamedTuple

from headrace.serving.nouns import Trip, VersionCounts

UNIT_LIMIT = 1_000_000
"""Distinct units remembered per version and step; later ones do not count, so evidence is never overstated."""

FAULTS_TO_TRIP = 5


class Counted(NamedTuple):
    """What a request counts for."""

    model: str
    version: int
    release_id: str | None
    step: int | None


class _Totals:
    __slots__ = (
        "anonymous",
        "failed_anonymous",
        "failed_units",
        "faults",
        "latency_us_sum",
        "requests",
        "revision",
        "units",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.faults = 0
        self.latency_us_sum = 0
        self.units: set[int] | None = set()  # None once their release is over
        self.failed_units: set[int] = set()
        self.anonymous = 0  # units that are not remembered
        self.failed_anonymous = 0
        self.revision = 0

    def count_unit(self, unit: str | None, *, fault: bool) -> None:
        if self.units is None:
            return
        if unit is None:
            self.anonymous += 1
            self.failed_anonymous += fault
            return
        key = hash(unit)
        if len(self.units) < UNIT_LIMIT:
            self.units.add(key)
        if fault and key in self.units:
            self.failed_units.add(key)

    def forget_units(self) -> None:
        if self.units is not None:
            self.anonymous += len(self.units)
            self.failed_anonymous += len(self.failed_units)
            self.units, self.failed_units = None, set()


class Counters:
    """Cumulative counts of one gateway process; used from its event loop only."""

    def __init__(self) -> None:
        self._totals: dict[Counted, _Totals] = {}
        self.revision = 0
        """Rises with every count."""

    def count(self, counted: Counted, *, unit: str | None, latency_us: int, rows: int = 1, faults: int = 0) -> None:
        """Count what one unit asked of a version.

        Args:
            counted: the version, and the release's step that it answered in.
            unit: what sticks to a version; None when the request had none and is a unit of its own.
            latency_us: microseconds from the decoded request to the answer.
            rows: how many rows the unit asked for.
            faults: on how many of them the version failed.
        """
        totals = self._totals.get(counted)
        if totals is None:
            totals = self._totals[counted] = _Totals()
        self.revision += 1
        totals.revision = self.revision
        totals.requests += rows
        totals.faults += faults
        totals.latency_us_sum += latency_us * rows
        if counted.release_id is not None:
            totals.count_unit(unit, fault=faults > 0)

    def forget_units(self, model: str, *, but_of: str | None) -> None:
        """Let go of the units of a model's former releases; their numbers stay."""
        for counted, totals in self._totals.items():
            if counted.model == model and counted.release_id != but_of:
                totals.forget_units()

    def totals(self, since: int = 0) -> tuple[VersionCounts, ...]:
        """Cumulative counts of everything that was counted after `revision` was `since`."""
        return tuple(
            VersionCounts(
                model=counted.model,
                version=counted.version,
                release_id=counted.release_id,
                step=counted.step,
                requests=totals.requests,
                faults=totals.faults,
                units=totals.anonymous + len(totals.units or ()),
                failed_units=totals.failed_anonymous + len(totals.failed_units),
                latency_us_sum=totals.latency_us_sum,
            )
            for counted, totals in self._totals.items()
            if totals.revision > since
        )


class Breaker:
    """Stops routing to a challenger that fails again and again while control is away.

    With control in reach the release's own test decides, which has a stated error rate; this is the crude guard
    for when nobody can run it. It stays open until control sets another route.
    """

    def __init__(self) -> None:
        self._consecutive: dict[Counted, int] = {}
        self._trips: dict[Counted, Trip] = {}

    def observe(self, counted: Counted, *, fault: bool, control_away: bool, now: datetime) -> None:
        """Take note of one answer of a challenger.

        Args:
            counted: the challenger, in its release's step.
            fault: whether it failed.
            control_away: whether control has been silent.
            now: wall time.
        """
        if not fault:
            self._consecutive.pop(counted, None)
            return
        consecutive = self._consecutive[counted] = self._consecutive.get(counted, 0) + 1
        if control_away and consecutive >= FAULTS_TO_TRIP and counted not in self._trips:
            self._trips[counted] = Trip(
                model=counted.model,
                version=counted.version,
                release_id=counted.release_id,
                step=counted.step,
                consecutive_faults=consecutive,
                at=now,
            )

    def is_open(self, counted: Counted) -> bool:
        """Whether the challenger must not be asked."""
        return counted in self._trips

    def trips(self) -> tuple[Trip, ...]:
        """Challengers that are switched off here."""
        return tuple(self._trips.values())

    def close(self, model: str) -> None:
        """Control has set the model's route anew and decides again."""
        for counted in [counted for counted in self._trips if counted.model == model]:
            del self._trips[counted]
        for counted in [counted for counted in self._consecutive if counted.model == model]:
            del self._consecutive[counted]
