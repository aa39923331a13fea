"""The definition of a view's features: one entity, its events, one moment.

This is what the online store answers with. The join that builds training sets says the same in SQL, and the
tests hold the two to each other.

A moment T sees the events with time <= T. A window w covers (T - w, T]. Values that are null or not finite
are not there: they count in `count` and in nothing else. An entity without events is unknown, one whose
newest event is older than the view's ttl has expired (at exactly ttl it has not), and both have nulls only.
An entity that is known has count 0, sum 0 and no mean, minimum or maximum over a window without events.
`age_of_first` looks at the entity's very first event, however old.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from headrace.features.nouns import LookupStatus
from headrace.project.declaration import definition_digest
from headrace.project.feature import Feature
from headrace.project.feature_view import FeatureView

DAY_US = 86_400_000_000
SUM_TOLERANCE = 1e-12
"""Sums and means offline and online agree within this times the sum of the values' magnitudes; both are
compensated
sums, but of different kinds, so the last bits may differ. Everything else agrees exactly."""

NULL = math.nan


class Events(NamedTuple):
    """What is known of one entity.

    Attributes:
        times: event times, ascending, microseconds since 1970.
        columns: values of the view's columns, one sequence for each, as long as `times`; NaN for null.
        first_us: time of the very first event.
        dropped_us: time of the newest event that is no longer in `times`; None when all are there.
    """

    times: Sequence[int]
    columns: tuple[Sequence[float], ...]
    first_us: int
    dropped_us: int | None = None


class Term(NamedTuple):
    """One feature, ready to compute: its kind, the place of its column and the place of its window."""

    name: str
    feature: Feature
    column: int
    window: int


class ViewPlan(NamedTuple):
    """A view, ready to compute.

    Attributes:
        online_key: names the view's online state; another definition has another key.
        columns: the source's columns that features read.
        windows_us: the distinct windows in microseconds.
        terms: the features in the view's order.
        longest_us: the longest window; older events need not be kept.
        ttl_us: the view's ttl in microseconds.
    """

    view: FeatureView
    online_key: str
    columns: tuple[str, ...]
    windows_us: tuple[int, ...]
    terms: tuple[Term, ...]
    longest_us: int
    ttl_us: int


def plan_view(view: FeatureView) -> ViewPlan:
    """Prepare a view once for many computations."""
    features = view.features.values()
    columns = tuple(dict.fromkeys(feature.column for feature in features if feature.column is not None))
    durations = [duration for feature in features if (duration := feature.window_duration) is not None]
    windows = tuple(dict.fromkeys(to_us(duration) for duration in durations))
    terms = []
    for name, feature in view.features.items():
        window = feature.window_duration
        terms.append(
            Term(
                name,
                feature,
                -1 if feature.column is None else columns.index(feature.column),
                -1 if window is None else windows.index(to_us(window)),
            )
        )
    digest = definition_digest(view).removeprefix("sha256:")
    return ViewPlan(
        view=view,
        online_key=f"{view.name}@{digest[:16]}",
        columns=columns,
        windows_us=windows,
        terms=tuple(terms),
        longest_us=max(windows, default=0),
        ttl_us=to_us(view.ttl_duration),
    )


def to_us(duration: timedelta) -> int:
    """A duration in microseconds, exactly."""
    return duration // timedelta(microseconds=1)


def features_at(plan: ViewPlan, events: Events | None, at_us: int) -> tuple[LookupStatus, list[float]]:
    """The features of one entity at a moment.

    Args:
        plan: the prepared view.
        events: what is known of the entity; None for one that was never seen.
        at_us: the moment T, microseconds since 1970. When events were dropped, no earlier than the moment
            up to
            which the store was brought.

    Returns:
        What was found, and one float for each feature in the view's order, NaN for null.
    """
    if events is None or events.first_us > at_us:
        return LookupStatus.MISSING, [NULL] * len(plan.terms)
    times = events.times
    stop = bisect_right(times, at_us)
    last_us = times[stop - 1] if stop else events.dropped_us
    if last_us is None or at_us - last_us > plan.ttl_us:
        return LookupStatus.EXPIRED, [NULL] * len(plan.terms)
    starts = [bisect_right(times, at_us - window_us, 0, stop) for window_us in plan.windows_us]
    values = []
    for term in plan.terms:
        kind = term.feature.kind
        if kind == "age_of_last":
            values.append((at_us - last_us) / DAY_US)
        elif kind == "age_of_first":
            values.append((at_us - events.first_us) / DAY_US)
        elif kind == "count":
            values.append(float(stop - starts[term.window]))
        else:
            column = events.columns[term.column][starts[term.window] : stop]
            values.append(_aggregate(kind, [value for value in column if value == value]))  # without the nulls
    return LookupStatus.FOUND, values


def _aggregate(kind: str, values: list[float]) -> float:
    if kind == "sum":
        return _sum(values)
    if not values:
        return NULL
    if kind == "mean":
        return _sum(values) / len(values)
    return min(values) if kind == "minimum" else max(values)


def _sum(values: list[float]) -> float:
    try:
        return math.fsum(values)
    except OverflowError:
        return sum(values)
