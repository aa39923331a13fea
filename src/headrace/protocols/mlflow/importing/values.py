"""MLflow's values as ours, wherever they were read: times, states, names, points."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from headrace.errors import InvalidInput
from headrace.protocols.mlflow.encoding import RUN_NAME_TAG
from headrace.protocols.mlflow.importing.source import POINTS_AT_ONCE
from headrace.registry.nouns import Stage
from headrace.tracking.imported import ImportExperiment, ImportPoints
from headrace.tracking.names import run_name
from headrace.tracking.nouns import LoggedModelStatus, RunStatus, reading
from headrace.tracking.readings import to_sortable

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DELETED = "deleted"
GONE = "Deleted_Internal"
"""The stage of a version that was deleted; MLflow keeps its record."""
RUN_STATUSES = {
    1: RunStatus.RUNNING,
    2: RunStatus.SCHEDULED,
    3: RunStatus.FINISHED,
    4: RunStatus.FAILED,
    5: RunStatus.KILLED,
}
"""The numbers of MLflow's protocol, which its files hold."""

MODEL_STATUSES = {1: LoggedModelStatus.PENDING, 2: LoggedModelStatus.READY, 3: LoggedModelStatus.FAILED}

Point = tuple[str, int, int, float]
"""(key, step, milliseconds since 1970, value)."""


def moment(milliseconds: Any) -> datetime | None:
    """A time in milliseconds since 1970, or none.

    Raises:
        InvalidInput: it is no time.
    """
    if milliseconds is None or milliseconds == "":
        return None
    try:
        return EPOCH + timedelta(milliseconds=int(milliseconds))
    except (ValueError, OverflowError, TypeError) as error:
        raise InvalidInput(f"{str(milliseconds)[:50]!r} is not a time in milliseconds since 1970") from error


def run_status(found: Any) -> RunStatus:
    """The state of a run, as a number or a word; a run without one still runs."""
    if found is None:
        return RunStatus.RUNNING
    try:
        return RUN_STATUSES[found] if isinstance(found, int) else RunStatus(found)
    except (KeyError, ValueError) as error:
        raise InvalidInput(f"{str(found)[:50]!r} is not a run's status") from error


def stage(found: Any) -> Stage:
    """The stage of a version.

    Raises:
        InvalidInput: it is none of MLflow's.
    """
    try:
        return Stage(found or "None")
    except ValueError as error:
        raise InvalidInput(f"{str(found)[:50]!r} is not a stage") from error


def name_of(run_id: str, name: str | None, tags: Mapping[str, str]) -> str:
    """A run's name: its own, that of its tag, or one told from its id as for any run without a name."""
    if found := name or tags.get(RUN_NAME_TAG):
        return found
    try:
        return run_name(run_id)
    except ValueError:  # the id is not of hexadecimal digits
        return run_id


def without_name(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags without the one that says the name, which runs here have as an attribute."""
    return {key: value for key, value in tags.items() if key != RUN_NAME_TAG}


def gone_with(experiment: ImportExperiment, deleted: datetime | None) -> bool:
    """Whether a run that was deleted then went with its experiment, rather than before it."""
    gone = experiment.deleted_at
    return experiment.deleted and (deleted is None or gone is None or deleted >= gone)


def distinct(points: Iterable[Point]) -> Iterator[Point]:
    """Points of one metric, equal ones once: here a point is told by its step, its time and its value."""
    seen = set()
    for point in points:
        told = (*point[1:3], to_sortable(point[3]))
        if told not in seen:
            seen.add(told)
            yield point


def columns(run_id: str, points: Iterable[Point]) -> Iterator[ImportPoints]:
    """Points that are grouped by key as records of columns."""
    for key, group in groupby(points, key=lambda point: point[0]):
        steps: list[int] = []
        times: list[int] = []
        values: list[Any] = []
        for _, step, at, value in group:
            if len(values) == POINTS_AT_ONCE:
                yield ImportPoints(run_id=run_id, key=key, steps=steps, times=times, values=values)
                steps, times, values = [], [], []
            steps.append(step)
            times.append(at * 1000)
            values.append(reading(value))
        yield ImportPoints(run_id=run_id, key=key, steps=steps, times=times, values=values)
