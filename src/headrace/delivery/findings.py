"""What a verdict rests on and what it finds: the sample, the parts that a gate asks, and the finding of them all.

Every finding has an interval, a margin, a number of rows and the smallest effect that so many rows could have
shown, or says why it has none. A gate that asks several things (of groups, of slices, a bound and a change) has a
part for each; its verdict is that of the part that decides: the worst, and among equals the one with the least
room.
"""

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.errors import InvalidInput
from headrace.project.gates import (
    AtLeast,
    AtMost,
    Calibrated,
    Fair,
    Gate,
    Latency,
    NotWorseThanProduction,
    Size,
    Slices,
)
from headrace.statistics import comparison, metrics
from headrace.statistics.comparison import Verdict
from headrace.statistics.intervals import Floats

FIRST_VERSION = "a first version has no production version to compare with"


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Durations of calls for one row, of the candidate and of production in turns.

    Attributes:
        rounds: the round of each call, shape (calls,).
        versions: "candidate" or "production", shape (calls,).
        seconds: of each call, shape (calls,).
    """

    rounds: npt.NDArray[np.int64]
    versions: npt.NDArray[np.str_]
    seconds: Floats

    def of(self, version: str) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Seconds and rounds of the calls of one version."""
        own = self.versions == version
        return self.seconds[own], self.rounds[own]


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """All that verdicts rest on.

    Attributes:
        keys: the entities' keys, shape (rows,); rows of one entity count as one unit.
        labels: 0 or 1, shape (rows,).
        candidate: scores, shape (rows,).
        production: scores of the same rows; None for a first version.
        groups: the name of each row's group, shape (rows,), by the column's title.
        problems: why a column has no groups, by its title.
        timings: of calls for one row; None when no gate asks for them.
        size_bytes: of the candidate's files.
    """

    keys: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    candidate: Floats
    production: Floats | None = None
    groups: dict[str, npt.NDArray[np.str_]] = {}
    problems: dict[str, str] = {}
    timings: Timings | None = None
    size_bytes: int | None = None

    def members(self, title: str) -> npt.NDArray[np.str_]:
        """The groups by one column.

        Raises:
            InvalidInput: the rows could not be grouped by it.
        """
        if title not in self.groups:
            raise InvalidInput(self.problems.get(title, f"the rows are not grouped by {title}"), where=title)
        return self.groups[title]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One of the things that a gate asks.

    Attributes:
        name: what is asked, like `region: change` or `age = below 18`.
        verdict: on this part.
        value: the estimate.
        low: lower end of its interval.
        high: upper end.
        margin: what it is judged against.
        room: how far inside of the margin the interval ends, negative outside; None without an interval.
        rows: that it rests on.
        detectable: what all parts of its kind must be allowed so that, all being as good, all pass four times in
        five.
        note: why there is no interval, or what it says besides.
    """

    name: str
    verdict: Verdict
    value: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    room: float | None = None
    rows: int = 0
    detectable: float | None = None
    note: str = ""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate finds; see `registry.nouns.Evidence` for the fields of the same name."""

    verdict: Verdict
    summary: str
    metric: str | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    margin: float | None = None
    sample_size: int = 0
    smallest_detectable_effect: float | None = None
    details: dict[str, Any] = {}


def name_of(gate: Gate) -> str:
    """A gate in short, for people."""
    match gate:
        case AtLeast():
            return f"{gate.metric}{_cut(gate.metric, gate.threshold)} at least {gate.value:g}"
        case AtMost():
            return f"{gate.metric} at most {gate.value:g}"
        case NotWorseThanProduction():
            return f"{gate.metric}{_cut(gate.metric, gate.threshold)} not worse than production by {gate.margin:g}"
        case Fair():
            asked = [] if gate.bound is None else [f"at {'least' if gate.at_least else 'most'} {gate.bound:g}"]
            asked += [] if gate.margin is None else [f"not less fair than production by {gate.margin:g}"]
            return f"{gate.measure} by {_titles(gate)} {', '.join(asked)}"
        case Slices():
            asked = [] if gate.margin is None else [f"not worse than production by {gate.margin:g}"]
            side = "most" if gate.metric in metrics.LOWER_IS_BETTER else "least"
            asked += [] if gate.bound is None else [f"at {side} {gate.bound:g}"]
            ask = "no alarm: " if gate.alarm else ""
            return f"{gate.metric} in slices by {_titles(gate)}, {ask}{', '.join(asked)}"
        case Calibrated():
            return f"calibration error at most {gate.at_most:g}"
        case Latency():
            asked = [] if gate.p95_ms is None else [f"at most {gate.p95_ms:g} ms"]
            asked += [] if gate.slower_at_most is None else [f"at most {gate.slower_at_most:.0%} over production"]
            return f"p95 latency of a row {', '.join(asked)}"
        case Size():
            return f"size at most {gate.at_most_bytes:,} bytes"


def metric_of(gate: Gate) -> str:
    """What a gate measures."""
    match gate:
        case AtLeast() | AtMost() | NotWorseThanProduction() | Slices():
            return gate.metric
        case Fair():
            return gate.measure
        case Calibrated():
            return "calibration_error"
        case Latency():
            return "latency_p95"
        case Size():
            return "size_bytes"


def margin_of(gate: Gate) -> float | None:
    """What a gate is judged against, before anything is known of the rows."""
    match gate:
        case AtLeast() | AtMost():
            return gate.value
        case NotWorseThanProduction():
            return gate.margin
        case Fair() | Slices():
            return gate.margin if gate.bound is None else gate.bound
        case Calibrated():
            return gate.at_most
        case Latency():
            return gate.slower_at_most if gate.p95_ms is None else gate.p95_ms
        case Size():
            return float(gate.at_most_bytes)


def of_parts(
    gate: Gate, parts: list[Part], *, confidence: float, verdict: Verdict | None = None, **details: Any
) -> Finding:
    """The finding of a gate that asks several things.

    Args:
        gate: the gate.
        parts: what it asks, one or more.
        confidence: of the parts' intervals.
        verdict: on all of them; None takes the worst.
        details: kept beside the parts.
    """
    verdict = verdict or comparison.worst([part.verdict for part in parts])
    among = [part for part in parts if part.verdict is verdict] or parts
    decides = min(among, key=lambda part: -math.inf if part.room is None else part.room)
    measured = "" if decides.value is None else f" {decides.value:.4g}"
    if decides.low is not None and decides.high is not None:
        measured += f" [{decides.low:.4g}, {decides.high:.4g}]"
    if decides.margin is not None and measured:
        measured += f", against {decides.margin:g}"
    note = f" ({decides.note})" if decides.note else ""
    kept = {**details, "parts": msgspec.to_builtins(parts), "decided_by": decides.name}
    if decides.low is None:
        kept["without_interval"] = decides.note
    return Finding(
        verdict=verdict,
        summary=f"{name_of(gate)}: {decides.name}{measured}{note}: {verdict.value}",
        metric=metric_of(gate),
        value=decides.value,
        low=decides.low,
        high=decides.high,
        confidence=confidence,
        margin=decides.margin,
        smallest_detectable_effect=_detectable(parts, decides),
        details=kept,
    )


def _detectable(parts: list[Part], decides: Part) -> float | None:
    """What all parts that are judged as the one that decides must be allowed."""
    alike = [part.detectable for part in parts if part.margin == decides.margin and part.detectable is not None]
    return max(alike, default=decides.detectable)


def _cut(metric: str, threshold: float) -> str:
    return f" (cut at {threshold:g})" if metric in metrics.DECISIONS and threshold != metrics.THRESHOLD else ""


def _titles(gate: Fair | Slices) -> str:
    return ", ".join(column.title for column in gate.columns)
