"""Serving's records: what control tells the gateways, what they report back, and what a prediction leaves behind.

Frozen and light: control, gateways and workers share them, and their JSON is the wire.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import msgspec

from headrace.registry.nouns import ModelFile


class _Word(StrEnum):
    """Hashes as the text that it is: an enum's own hash is a Python function, for which each request would pay."""

    __hash__ = str.__hash__


class Arm(_Word):
    """Why a version answered."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"
    PINNED = "pinned"
    """The caller named the version; such requests bypass the rollout and are no evidence for it."""
    SHADOW = "shadow"
    """It answered a copy of a request, for nobody."""
    FALLBACK = "fallback"
    """It took over from the version that should have answered, and failed or was switched off."""
    DEFAULT = "default"
    """No version answered; the caller got the answer that the project declares for that."""


class Purpose(_Word):
    """What a prediction was asked for."""

    LIVE = "live"
    STAGING = "staging"
    """A check before production; monitoring leaves it out."""
    BATCH = "batch"
    """Rows of a file or table; monitoring leaves them out."""
    SHADOW = "shadow"
    """A copy of a request, answered for nobody; monitoring leaves it out."""
    REPLACED = "replaced"
    """No prediction: another version has answered instead of this one, which did not fail on it, or none could."""


class Signal(_Word):
    """What a rollout watches a version for."""

    FAULTS = "faults"
    """The version raised, or answered nonsense."""
    INVALID_OUTPUTS = "invalid_outputs"
    """It answered nonsense: not finite, or not one value a row."""
    SLOW = "slow"
    """It took longer than the route's limit, on the first request of a unit."""
    FALLBACKS = "fallbacks"
    """Something else answered in its place."""


class ServedView(msgspec.Struct, frozen=True, kw_only=True):
    """A feature view as a version was trained on it, complete enough to compute its values without control."""

    name: str
    version: int
    spec: dict[str, Any]
    """The view's declaration as JSON."""


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """A faster form of a version that was found to answer the same."""

    file: ModelFile
    known: dict[str, Any]
    """What loading it has to know."""


class Loading(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided for one version about how it is loaded."""

    code: bool = False
    """Whether it may run code of its author's when it is loaded, as pickles do."""
    types: tuple[str, ...] = ()
    """Types that its skops file may build, besides those that are reviewed."""
    converted: Converted | None = None


class FieldPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of fields that the signature does not have, and of those that a row lacks."""

    unknown: Literal["refuse", "ignore"] = "refuse"
    missing: Literal["refuse", "null"] = "refuse"


class ServedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """All that a gateway needs to load a version and to answer with it."""

    model: str
    number: int
    digest: str
    """Digest of the canonical file listing."""
    files: tuple[ModelFile, ...]
    signature: dict[str, Any] | None = None
    """MLflow's signature; None means the one in the model directory."""
    entity_key: str | None = None
    """Name of the entity's key column; None when callers send the features themselves."""
    views: tuple[ServedView, ...] = ()
    loading: Loading = Loading()
    fields: FieldPolicy = FieldPolicy()
    """As the model's project declares it; strict where nobody does."""


def fields_of(declaration: Mapping[str, Any]) -> FieldPolicy:
    """What a model's project says of unknown and missing fields."""
    return FieldPolicy(
        unknown=declaration.get("unknown_fields", "refuse"), missing=declaration.get("missing_fields", "refuse")
    )


class RouteChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a release wants for one model."""

    model: str
    champion: int | None
    challenger: int | None = None
    weight_percent: float = 0.0
    """Share of units that the challenger answers, 0 to 100. Without a champion it answers all."""
    release_id: str | None = None
    step: int | None = None
    """The rollout step that requests count for."""
    slow_us: int | None = None
    """What takes longer counts as slow, on either arm; None counts nothing as slow."""
    shadow: int | None = None
    """The version that answers copies of the requests, for nobody; one that is resident."""
    shadow_percent: float = 0.0
    """Share of the units whose requests are copied, 0 to 100."""
    resident: tuple[int, ...] = ()
    """Versions to keep loaded besides champion and challenger: a staged one, the way back."""
    previous: int | None = None
    """The version that takes over when the champion fails; kept loaded."""
    default: float | None = None
    """The answer when no version gives one."""


class RouteInForce(msgspec.Struct, frozen=True, kw_only=True):
    """A route as a gateway applies it now, without the files of its versions."""

    model: str
    champion: int | None
    challenger: int | None
    weight_percent: float
    release_id: str | None
    step: int | None
    sequence: int
    previous: int | None = None
    default: float | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """The routing of one model as gateways apply it."""

    model: str
    champion: int | None
    challenger: int | None = None
    weight_percent: float = 0.0
    salt: str
    """Constant within a release, so that units stay where they are while the weight rises."""
    release_id: str | None = None
    step: int | None = None
    slow_us: int | None = None
    """What takes longer counts as slow; here, so that every gateway counts the same."""
    shadow: int | None = None
    """The version that answers copies of the requests, for nobody."""
    shadow_percent: float = 0.0
    versions: tuple[ServedVersion, ...]
    """Champion, challenger and every other resident version, each once."""
    sequence: int
    """Position in the one order of all route changes."""
    previous: int | None = None
    """The version that takes over when the champion fails."""
    default: float | None = None
    """The answer when no version gives one."""

    def version(self, number: int) -> ServedVersion | None:
        """The resident version with this number."""
        return next((version for version in self.versions if version.number == number), None)

    def summary(self) -> RouteInForce:
        """The same without the files of its versions."""
        return RouteInForce(
            model=self.model,
            champion=self.champion,
            challenger=self.challenger,
            weight_percent=self.weight_percent,
            release_id=self.release_id,
            step=self.step,
            sequence=self.sequence,
            previous=self.previous,
            default=self.default,
        )


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who may call a gateway, known by the hash of a token so that control need not be asked."""

    token_hash: str
    principal_id: str
    expires_at: datetime | None = None
    may_read: bool = True
    """False when all roles were taken from the principal: it is known, and may do nothing."""


class BusinessTime(msgspec.Struct, frozen=True, kw_only=True):
    """What the business clock says; a gateway lets it follow wall time unless a replay moves it."""

    now: datetime
    replayed: bool = False


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, tag="snapshot", tag_field="type"):
    """First line of the stream: everything."""

    sequence: int
    routes: tuple[Route, ...]
    time: BusinessTime
    callers: tuple[Caller, ...] | None = None
    """None when no login is required."""


class RouteSet(msgspec.Struct, frozen=True, kw_only=True, tag="route_set", tag_field="type"):
    """A model's route is now this one."""

    sequence: int
    route: Route


class RouteRemoved(msgspec.Struct, frozen=True, kw_only=True, tag="route_removed", tag_field="type"):
    """A model is not served any more."""

    sequence: int
    model: str


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag="heartbeat", tag_field="type"):
    """Nothing new but the time; sent each second, and at once when a replay moves the clock."""

    sequence: int
    time: BusinessTime


class CallersSet(msgspec.Struct, frozen=True, kw_only=True, tag="callers_set", tag_field="type"):
    """Tokens were made or revoked."""

    callers: tuple[Caller, ...] | None


StreamLine = Snapshot | RouteSet | RouteRemoved | Heartbeat | CallersSet


class SignalledUnit(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A unit that gave a signal in a step of a release."""

    signal: Signal
    unit: int
    """Hash of its name, salted with the release."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over pairs of answers of a shadow and of the champion to the same row, the first row of each unit.

    A unit that met several gateways is compared once by each.
    """

    units: int = 0
    flipped: int = 0
    """Those that are decided otherwise: another class, or on the other side of one half."""
    numbers: int = 0
    """Those that both answered with one number; the sums are of these."""
    shadow_sum: float = 0.0
    champion_sum: float = 0.0
    shadow_squares: float = 0.0
    champion_squares: float = 0.0
    products: float = 0.0
    distance_sum: float = 0.0
    """Of absolute differences."""
    distance_squares: float = 0.0

    def plus(self, other: "Compared") -> "Compared":
        """Both together."""
        return Compared(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class VersionCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What one gateway has counted since its boot for one version in one step of one release.

    Numbers of units are of requests that named none, each of which is one of its own. Units with a name are told by
    their hashes, so that one that met several gateways, or several lives of one, is counted once.
    """

    model: str
    version: int
    release_id: str | None = None
    step: int | None = None
    requests: int
    """Rows that the version was asked for; what the caller got wrong (4xx) is not among them."""
    faults: int
    """Rows on which the version raised or answered nonsense (5xx)."""
    invalid: int = 0
    """Those of them on which it answered nonsense."""
    fallbacks: int = 0
    """Rows that it had no room or time to answer itself, or failed on while something else could."""
    units: int
    """Units without a name; counted within a release only, as everything about units."""
    failed_units: int
    """Those that saw at least one fault."""
    invalid_units: int = 0
    slow_units: int = 0
    fallback_units: int = 0
    named: tuple[int, ...] | None = None
    """The smallest hashes of the units with a name; None when they are the same as in the last report."""
    signalled: tuple[SignalledUnit, ...] = ()
    """Units with a name that gave a signal since the last report that was taken."""
    latency_us_sum: int
    latency_counts: dict[int, int] = {}
    """How many rows took how long, by bucket of `serving.latencies`."""
    compared: Compared | None = None
    """A shadow's answers beside the champion's."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """`VersionCounts` summed over gateways and their boots; each unit counts once, whichever gateways it met."""

    requests: int = 0
    faults: int = 0
    invalid: int = 0
    fallbacks: int = 0
    units: int = 0
    """Exact up to `serving.distinct.SAMPLE` units with a name, an estimate beyond."""
    failed_units: int = 0
    invalid_units: int = 0
    slow_units: int = 0
    fallback_units: int = 0
    compared: Compared | None = None
    again: dict[Signal, int] = {}
    """Units among these that had given the same signal in an earlier step of the release."""
    latency_us_sum: int = 0

    def signalled(self, signal: Signal) -> int:
        """Units that gave a signal in this step."""
        return int(getattr(self, SIGNALLED_UNITS[signal]))


SIGNALLED_UNITS = {
    Signal.FAULTS: "failed_units",
    Signal.INVALID_OUTPUTS: "invalid_units",
    Signal.SLOW: "slow_units",
    Signal.FALLBACKS: "fallback_units",
}
"""Under what name the units of a signal are counted."""


class LoadedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version that a gateway holds, or could not load."""

    model: str
    number: int
    error: str | None = None
    """Why loading failed; None when the version is ready to answer."""
    runtime: str = ""
    """What answers, such as `skops`, or `onnx` for a faster form."""


class Trip(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway stopped routing to a challenger by itself, because control was away."""

    model: str
    version: int
    release_id: str | None
    step: int | None
    consecutive_faults: int
    at: datetime
    """Wall time."""


class GatewayReport(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway's state and its cumulative counts; sending one twice changes nothing."""

    gateway: str
    boot: str
    """Identifies the process; counts restart with it."""
    booted_at: datetime
    url: str
    applied_sequence: int
    """Every route up to this sequence is in force here, or could not be loaded."""
    logged_until: datetime | None = None
    """Predictions with an earlier business time are all in closed segments."""
    predictions_dropped: int = 0
    """Predictions that the full log queue did not take."""
    shadows_dropped: int = 0
    """Requests that were not copied because the shadow's queue was full."""
    predictions_lost: int = 0
    """Predictions of former processes of this gateway that were killed before they were written; ever."""
    loaded: tuple[LoadedVersion, ...] = ()
    trips: tuple[Trip, ...] = ()
    units_per_s: dict[str, float] = {}
    """How many units a second asked for each model in the last minute."""
    counts: tuple[VersionCounts, ...] = ()
    """Cumulative; a version whose counts have not changed since the last report may be left out."""


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway as control last heard of it."""

    name: str
    boot: str
    booted_at: datetime
    url: str
    last_seen: datetime
    applied_sequence: int
    logged_until: datetime | None
    predictions_dropped: int
    predictions_lost: int
    shadows_dropped: int = 0
    loaded: tuple[LoadedVersion, ...]
    trips: tuple[Trip, ...]
    units_per_s: dict[str, float] = {}

    def holds(self, model: str, number: int) -> bool:
        """Whether the version is loaded there."""
        return any(
            loaded.model == model and loaded.number == number and loaded.error is None for loaded in self.loaded
        )


class GatewayState(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway says of itself at `/api/v1/gateway`."""

    ready: bool
    control_away: bool
    business_now: datetime
    routes: tuple[RouteInForce, ...]
    switched_off: tuple[str, ...] = ()
    """Versions in production that failed again and again and are not asked now, each as `model/number`."""
    rows_waiting: int = 0
    """Rows that wait for a version."""
    requests: int = 0
    """Requests under way."""
    turned_away: int = 0
    """Requests that this process had no room for."""
    report: GatewayReport


class PredictionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One prediction as the log keeps it."""

    prediction_id: str
    business_at: datetime
    at: datetime
    """Wall time."""
    model: str
    version: int
    arm: Arm
    propensity: float
    """Probability with which this arm was chosen for a random unit."""
    release_id: str | None
    step: int | None
    entity: dict[str, str | int] | None
    names: tuple[str, ...]
    """Names of the features, in the order of `features`."""
    texts: frozenset[str] = frozenset()
    """Those of them that are not numbers."""
    features: tuple[Any, ...]
    output: Any
    """What the caller got for the row; None when the version faulted."""
    latency_us: int
    fault: str | None
    """Class of the error, never its text: that may quote the input."""
    purpose: Purpose
    unit: int | None = None
    """Hash of what sticks to a version, salted with the release; None outside of one, and where it has no name."""


class CompactRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Move a model's closed segments into the lake."""

    model: str
    until: datetime | None = None
    """Business time whose predictions must all be in; None takes what is closed now."""


class Compaction(msgspec.Struct, frozen=True, kw_only=True):
    """What a compaction moved."""

    model: str
    segments: int
    rows: int
    unreadable: int = 0
    """Lines that a killed gateway left half written."""
    set_aside: int = 0
    """Segments that the lake did not take; they stay on the disk under another name."""
