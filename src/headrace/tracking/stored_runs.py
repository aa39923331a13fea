"""Runs as they are stored: a page of thousands goes to the wire without a record for each of its values."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from headrace.kernel.schema import from_microseconds
from headrace.tracking.nouns import (
    Dataset,
    DatasetInput,
    Inputs,
    MetricExtreme,
    MetricSummary,
    ModelOutput,
    Run,
    RunStatus,
    reading,
)
from headrace.tracking.readings import from_sortable

RUN_COLUMNS = (
    "number",
    "id",
    "experiment",
    "name",
    "user",
    "status",
    "started_at",
    "ended_at",
    "deleted_at",
    "artifact_uri",
)
METRIC_COLUMNS = ("last_step", "last_at", "last_value", "min_value", "min_step", "max_value", "max_step")
DATASET_COLUMNS = ("name", "digest", "source_type", "source", "schema", "profile")


class StoredRun(NamedTuple):
    """A run with what was logged, as it is stored: times in microseconds since 1970, values as sortable codes.

    What hangs on it are rows that begin with its number.

    Attributes:
        params: (number, key, value), by key; likewise tags.
        metrics: (number, key, *METRIC_COLUMNS), by key.
        datasets: (number, tags as JSON, *DATASET_COLUMNS).
        links: (number, direction, model id, step).
    """

    number: int
    id: str
    experiment: int
    name: str
    user: str
    status: str
    started_at: int
    ended_at: int | None
    deleted_at: int | None
    artifact_uri: str | None
    params: Sequence[Any]
    tags: Sequence[Any]
    metrics: Sequence[Any]
    datasets: Sequence[Any]
    links: Sequence[Any]

    def record(self) -> Run:
        """The run as the rest of the platform knows it."""
        return Run(
            id=self.id,
            experiment_id=str(self.experiment),
            name=self.name,
            user=self.user,
            status=RunStatus(self.status),
            started_at=from_microseconds(self.started_at),
            ended_at=None if self.ended_at is None else from_microseconds(self.ended_at),
            deleted=self.deleted_at is not None,
            artifact_uri=self.artifact_uri or "",
            params={key: value for _, key, value in self.params},
            tags={key: value for _, key, value in self.tags},
            metrics={key: _summary(*state) for _, key, *state in self.metrics},
            inputs=Inputs(
                datasets=tuple(_dataset_input(*found) for _, *found in self.datasets),
                models=tuple(model_id for _, direction, model_id, _ in self.links if direction == "input"),
            ),
            outputs=tuple(
                ModelOutput(model_id=model_id, step=step)
                for _, direction, model_id, step in self.links
                if direction == "output"
            ),
        )


class PairedRun(NamedTuple):
    """A run as clients page through thousands of them: params and tags are text for the wire already.

    Attributes:
        params: a JSON list of objects with `key` and `value`, by key, as the database made it; empty without any.
            Likewise tags.
        metrics: (number, key, step, time, value) of the latest points, by key.
        datasets: as in `StoredRun`, likewise links.
    """

    number: int
    id: str
    experiment: int
    name: str
    user: str
    status: str
    started_at: int
    ended_at: int | None
    deleted_at: int | None
    artifact_uri: str | None
    params: str
    tags: str
    metrics: Sequence[Any]
    datasets: Sequence[Any]
    links: Sequence[Any]

    def record(self) -> Run:
        """The run without its params, tags and metrics."""
        return StoredRun._make((*self[:10], (), (), (), self.datasets, self.links)).record()


def _summary(step: int, at: int, value: int, low: Any, low_step: Any, high: Any, high_step: Any) -> MetricSummary:
    return MetricSummary(
        value=reading(from_sortable(value)),
        step=step,
        at=from_microseconds(at),
        min=None if low is None else MetricExtreme(value=reading(from_sortable(low)), step=low_step),
        max=None if high is None else MetricExtreme(value=reading(from_sortable(high)), step=high_step),
    )


def _dataset_input(tags: str, *values: Any) -> DatasetInput:
    dataset = Dataset(**dict(zip(DATASET_COLUMNS, values, strict=True)))
    return DatasetInput(dataset=dataset, tags=msgspec.json.decode(tags))
