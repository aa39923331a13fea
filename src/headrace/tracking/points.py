"""Storing points of metrics, and what is kept of each metric beside them: its last, lowest and highest value."""

from collections.abc import Mapping
from operator import itemgetter

from headrace.kernel.database import Tx
from headrace.tracking import keys, tables_metrics
from headrace.tracking.readings import NAN
from headrace.tracking.tables_metrics import Series
from headrace.tracking.tables_runs import RunRow

Point = tuple[int, int, int]
"""(step, microseconds since 1970, code of the value: see `readings.to_sortable`); the greatest is the latest."""

Points = Mapping[str, list[Point]]
"""Points by the key of their metric."""

_value = itemgetter(2)


def put(tx: Tx, run: RunRow, points: Points) -> None:
    """Store points of a run; one that is there already stays one.

    Raises:
        InvalidInput: a key is not one.
    """
    if not points:
        return
    for key in points:
        keys.check_key(key, what="metric")
    before = tables_metrics.find_series(tx, run.number, list(points))
    after = {key: _with(before.get(key), sorted(found)) for key, found in points.items()}
    tables_metrics.move_series(tx, [after[key] for key, series in before.items() if series != after[key]])
    fresh = {key: series for key, series in after.items() if key not in before}
    if fresh:
        tables_metrics.add_series(tx, run.number, run.experiment, fresh)
        after.update(tables_metrics.find_series(tx, run.number, list(fresh)))
    tables_metrics.add_points(tx, ((after[key].number, found) for key, found in points.items()))


def _with(series: Series | None, points: list[Point]) -> Series:
    """What is kept of a metric once it has these points too, which are sorted.

    Of equal values the one of the earliest step is kept, which is what min and max of a sorted list give.
    """
    if len(points) == 1:
        return _with_one(series, points[0])
    last = points[-1]
    highest = max(points, key=_value)
    if highest[2] == NAN:
        points = [point for point in points if point[2] != NAN]
    low = high = None
    if points:
        lowest, highest = min(points, key=_value), max(points, key=_value)
        low, high = (lowest[2], lowest[0]), (highest[2], highest[0])
    if series is None:
        return Series(0, last, low, high)
    return Series(
        series.number,
        max(series.last, last),
        min((each for each in (series.lowest, low) if each is not None), default=None),
        max((each for each in (series.highest, high) if each is not None), key=_height, default=None),
    )


def _with_one(series: Series | None, point: Point) -> Series:
    """`_with` of a single point, which is what most metrics of a batch have."""
    step, _, value = point
    if series is None:
        found = None if value == NAN else (value, step)
        return Series(0, point, found, found)
    number, last, low, high = series
    if value != NAN:
        if low is None or value < low[0] or (value == low[0] and step < low[1]):
            low = (value, step)
        if high is None or value > high[0] or (value == high[0] and step < high[1]):
            high = (value, step)
    return Series(number, max(last, point), low, high)


def _height(found: tuple[int, int]) -> tuple[int, int]:
    value, step = found
    return value, -step
