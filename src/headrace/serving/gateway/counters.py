"""What a gateway counts for each version, and the breaker that acts on it while nobody else can.

Counts are cumulative since the gateway's boot, so a report that is lost or sent twice does no harm. Units are
counted once, since one broken unit that retries is one piece of evidence and not a hundred.
"""

from collections import Counter, deque
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from headrace.serving import latencies
from headrace.serving.assignment import Counted
from headrace.serving.distinct import Smallest, unit_hash
from headrace.serving.nouns import SIGNALLED_UNITS, Compared, Signal, SignalledUnit, Trip, VersionCounts

UNIT_LIMIT = 1_000_000
"""Distinct units remembered in a step, of both arms together; later ones do not count on either."""
SIGNAL_LIMIT = 2_000
"""Units of both arms together that are told by name for a signal in a step; a verdict needs a few hundred."""

RATE_EVERY_S, RATE_OVER_S = 5.0, 60.0

FAULTS_TO_TRIP = 5


class Seen(NamedTuple):
    """What a request showed of a version, by rows.

    Attributes:
        latency_us: microseconds from the decoded request to the answer.
        rows: how many rows the version was asked for; none where something else was asked in its place.
        faults: on how many of them the version failed.
        invalid: on how many of these it answered nonsense.
        fallbacks: how many of the rows it did not answer itself.
        slow: whether it took longer than the route's limit.
    """

    latency_us: int
    rows: int = 1
    faults: int = 0
    invalid: int = 0
    fallbacks: int = 0
    slow: bool = False

    def signals(self, *, first: bool) -> list[Signal]:
        """What counts for its unit; latency only on its first request, or who asks often would be slow once."""
        found = []
        if self.faults:
            found.append(Signal.FAULTS)
        if self.invalid:
            found.append(Signal.INVALID_OUTPUTS)
        if self.fallbacks:
            found.append(Signal.FALLBACKS)
        if self.slow and first:
            found.append(Signal.SLOW)
        return found


class _Totals:
    __slots__ = (
        "anonymous",
        "compared",
        "fallbacks",
        "faults",
        "invalid",
        "latency_counts",
        "latency_us_sum",
        "named",
        "named_revision",
        "requests",
        "revision",
        "signalled",
        "signalled_anonymous",
        "told",
        "units",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.faults = 0
        self.invalid = 0
        self.fallbacks = 0
        self.latency_us_sum = 0
        self.latency_counts: Counter[int] = Counter()
        self.units: set[int] | None = set()  # hashes of names; None once their release is over
        self.signalled: set[tuple[Signal, int]] = set()
        self.told: list[tuple[int, SignalledUnit]] = []  # each with the revision at which it was found
        self.named = Smallest()
        self.named_revision = 0
        self.anonymous = 0  # units without a name
        self.signalled_anonymous: Counter[Signal] = Counter()
        self.compared: Compared | None = None
        self.revision = 0

    def add(self, seen: Seen) -> None:
        self.requests += seen.rows
        self.faults += seen.faults
        self.invalid += seen.invalid
        self.fallbacks += seen.fallbacks
        self.latency_us_sum += seen.latency_us * seen.rows
        if seen.rows:
            self.latency_counts[latencies.bucket(seen.latency_us)] += seen.rows

    def forget_units(self) -> None:
        if self.units is None:
            self.told.clear()  # a release ago: control has been told
        self.units, self.signalled = None, set()


class Counters:
    """Cumulative counts of one gateway process; used from its event loop only."""

    def __init__(self) -> None:
        self._totals: dict[Counted, _Totals] = {}
        self._units: Counter[tuple[object, ...]] = Counter()
        self._signals: Counter[tuple[object, ...]] = Counter()
        self.visits: Counter[str] = Counter()
        """How often units asked each model; what the caller got wrong is left out."""
        self.revision = 0
        """Rises with every count."""

    def count(self, counted: Counted, *, unit: str | None, seen: Seen) -> bool:
        """Count what one unit asked of a version.

        Args:
            counted: the version, and the release's step that it answered in.
            unit: what sticks to a version; None when the request had none and is a unit of its own.
            seen: what its request showed.

        Returns:
            Whether it is the first that counts of its unit in this step; never outside of a release.
        """
        totals = self._totals.get(counted)
        if totals is None:
            totals = self._totals[counted] = _Totals()
        self.revision += 1
        totals.revision = self.revision
        totals.add(seen)
        self.visits[counted.model] += 1
        if counted.release_id is None or totals.units is None:
            return False
        if unit is None:
            totals.anonymous += 1
            for signal in seen.signals(first=True):
                totals.signalled_anonymous[signal] += 1
            return True
        return self._count_named(counted, totals, unit_hash(counted.release_id, unit), seen)

    def compare(self, counted: Counted, compared: Compared) -> None:
        """Take note of how a shadow's answers to a request that was counted differ from the champion's."""
        totals = self._totals[counted]
        totals.compared = compared if totals.compared is None else totals.compared.plus(compared)

    def _count_named(self, counted: Counted, totals: _Totals, unit: int, seen: Seen) -> bool:
        """The limits are for both arms together: one that went on alone would look worse than the other."""
        units = totals.units or set()
        first = unit not in units
        step = (counted.model, counted.release_id, counted.step)
        if first:
            if self._units[step] >= UNIT_LIMIT:
                return False
            self._units[step] += 1
            units.add(unit)
            totals.units = units
            if totals.named.add(unit):
                totals.named_revision = self.revision
        for signal in seen.signals(first=first):
            limited = (*step, signal)
            if (signal, unit) not in totals.signalled and self._signals[limited] < SIGNAL_LIMIT:
                self._signals[limited] += 1
                totals.signalled.add((signal, unit))
                totals.told.append((self.revision, SignalledUnit(signal=signal, unit=unit)))
        return first

    def forget_units(self, model: str, *, but_of: str | None) -> None:
        """Let go of the units of a model's former releases; their numbers stay."""
        for counted, totals in self._totals.items():
            if counted.model == model and counted.release_id != but_of:
                totals.forget_units()

    def totals(self, since: int = 0) -> tuple[VersionCounts, ...]:
        """Cumulative counts of everything that was counted after `revision` was `since`."""
        return tuple(
            _told(counted, totals, since) for counted, totals in self._totals.items() if totals.revision > since
        )


def _told(counted: Counted, totals: _Totals, since: int) -> VersionCounts:
    return VersionCounts(
        model=counted.model,
        version=counted.version,
        release_id=counted.release_id,
        step=counted.step,
        requests=totals.requests,
        faults=totals.faults,
        invalid=totals.invalid,
        fallbacks=totals.fallbacks,
        units=totals.anonymous,
        **{name: totals.signalled_anonymous[signal] for signal, name in SIGNALLED_UNITS.items()},
        named=totals.named.hashes() if totals.named_revision > since else None,
        signalled=tuple(unit for revision, unit in totals.told if revision > since),
        latency_us_sum=totals.latency_us_sum,
        latency_counts=dict(totals.latency_counts),
        compared=totals.compared,
    )


class Rates:
    """How many units a second ask for each model, over about the last minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, dict[str, int]]] = deque()

    def look(self, visits: Mapping[str, int], now_s: float) -> dict[str, float]:
        """Take note of the counters, and tell the rates since a minute ago, or since they began.

        Args:
            visits: how often units asked each model, cumulative.
            now_s: monotonic seconds.
        """
        if not self._seen or now_s - self._seen[-1][0] >= RATE_EVERY_S:
            self._seen.append((now_s, dict(visits)))
        while len(self._seen) > 1 and now_s - self._seen[1][0] >= RATE_OVER_S:
            self._seen.popleft()
        began_s, before = self._seen[0]
        if now_s - began_s < RATE_EVERY_S:
            return {}
        return {model: (count - before.get(model, 0)) / (now_s - began_s) for model, count in visits.items()}


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
