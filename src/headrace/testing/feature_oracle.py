"""The features of a view by brute force, one row and one event at a time, to hold every other way of computing to.

It shares no code with the platform's own, the stated tolerance apart: it reads the declaration and the
events and applies the sentences of the documentation as they stand.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from headrace.features.windows import SUM_TOLERANCE
from headrace.project.feature import Feature
from headrace.project.feature_view import FeatureView
from headrace.project.label import Label

Event = Mapping[str, Any]
"""One event: the source's columns and `event_ts`, an aware datetime."""


def features(view: FeatureView, events: Iterable[Event], key: Any, at: datetime) -> list[float | None]:
    """The view's features of one entity at a moment, None for null."""
    mine = [
        event for event in events if key is not None and event[view.entity.key] == key and event["event_ts"] <= at
    ]
    if not mine or at - max(event["event_ts"] for event in mine) > view.ttl_duration:
        return [None] * len(view.features)
    return [_feature(feature, mine, at) for feature in view.features.values()]


def label(declared: Label, events: Iterable[Event], key: Any, at: datetime) -> float | None:
    """1.0 when the entity has no event in (T, T + window], 0.0 when it has, None for no entity."""
    if key is None:
        return None
    end = at + declared.value.window_duration
    return 0.0 if any(e[declared.entity.key] == key and at < e["event_ts"] <= end for e in events) else 1.0


def assert_same(
    found: Sequence[float | None],
    expected: Sequence[float | None],
    view: FeatureView,
    events: Iterable[Event],
    key: Any,
    at: datetime,
) -> None:
    """Hold computed features to expected ones: exactly, sums and means within the stated tolerance."""
    mine = [event for event in events if event[view.entity.key] == key and event["event_ts"] <= at]
    for (name, feature), left, right in zip(view.features.items(), found, expected, strict=True):
        where = f"{name} of {key} at {at}: {left} instead of {right}"
        if left is None or right is None:
            assert left is right, where
            continue
        tolerance = 0.0
        if feature.kind in {"sum", "mean"}:
            tolerance = SUM_TOLERANCE * math.fsum(abs(value) for value in _values(feature, mine, at))
        assert abs(left - right) <= tolerance, where


def _feature(feature: Feature, mine: Sequence[Event], at: datetime) -> float | None:
    if feature.kind == "age_of_last":
        return (at - max(event["event_ts"] for event in mine)) / timedelta(days=1)
    if feature.kind == "age_of_first":
        return (at - min(event["event_ts"] for event in mine)) / timedelta(days=1)
    if feature.kind == "count":
        return float(len(_window(feature, mine, at)))
    values = _values(feature, mine, at)
    if feature.kind == "sum":
        return math.fsum(values)
    if not values:
        return None
    if feature.kind == "mean":
        return math.fsum(values) / len(values)
    return min(values) if feature.kind == "minimum" else max(values)


def _window(feature: Feature, mine: Sequence[Event], at: datetime) -> list[Event]:
    width = feature.window_duration
    return [event for event in mine if width is None or at - width < event["event_ts"] <= at]


def _values(feature: Feature, mine: Sequence[Event], at: datetime) -> list[float]:
    if feature.column is None:
        return []
    found = [event[feature.column] for event in _window(feature, mine, at)]
    return [float(value) for value in found if value is not None and math.isfinite(value)]
