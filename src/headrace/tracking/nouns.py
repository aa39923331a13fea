"""The records of experiment tracking, on the wire and in code; light, since SDK and workers import them too."""

import math
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

Reading = float | Literal["NaN", "Infinity", "-Infinity"]
"""A metric's value on the wire. JSON has no NaN and no infinities, so these three are spelt out."""

Step = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

DEFAULT_EXPERIMENT_ID = "0"
DEFAULT_EXPERIMENT_NAME = "Default"


class RunStatus(StrEnum):
    """Where a run stands; the words are MLflow's."""

    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"

    @property
    def ended(self) -> bool:
        """Whether a run with this status has come to its end."""
        return self in {RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED}


class LoggedModelStatus(StrEnum):
    """Where a logged model stands: its files are on their way, complete, or will not come."""

    PENDING = "PENDING"
    READY = "READY"
    FAILED = "FAILED"


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """A named collection of runs."""

    id: str
    """Decimal digits: MLflow's clients insist on a number."""
    name: str
    tags: dict[str, str] = {}
    deleted: bool = False
    created_by: str
    created_at: datetime
    updated_at: datetime


class CreateExperiment(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to create an experiment."""

    name: str
    tags: dict[str, str] = {}


class MetricPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One value of one metric.

    Attributes:
        at: wall time of the measurement; the time of its arrival when it is not given.
        model_id: the logged model that it was measured on.
        dataset_name: the dataset input that it was measured on, with `dataset_digest`.
    """

    key: str
    value: Reading
    step: Step = 0
    at: datetime | None = None
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None

    @property
    def number(self) -> float:
        """The value as a float, NaN and infinities included."""
        return float(self.value)


class ModelMetric(msgspec.Struct, frozen=True, kw_only=True):
    """One value of one metric of a logged model, with the run that measured it."""

    run_id: str
    point: MetricPoint


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A description of data that a run read; the data stay where they are."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None


class DatasetInput(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset that a run read, and as what: its tags say training, evaluation and so on."""

    dataset: Dataset
    tags: dict[str, str] = {}


class ModelOutput(msgspec.Struct, frozen=True, kw_only=True):
    """A logged model that a run made at a step."""

    model_id: str
    step: Step = 0


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """What a run read: datasets, and logged models by id."""

    datasets: tuple[DatasetInput, ...] = ()
    models: tuple[str, ...] = ()


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of training code, with what it logged.

    Attributes:
        user: who ran it, as the client says; the principal that asked is in the event.
        metrics: the latest point of each metric: the greatest by step, then time, then value.
    """

    id: str
    experiment_id: str
    name: str
    user: str
    status: RunStatus
    started_at: datetime
    ended_at: datetime | None = None
    deleted: bool = False
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: dict[str, MetricPoint] = {}
    inputs: Inputs = Inputs()
    outputs: tuple[ModelOutput, ...] = ()


class CreateRun(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to begin a run.

    Attributes:
        experiment: the name of its experiment, which is created when there is none; goes before `experiment_id`.
        name: made up when it is not given.
        user: who runs it; the principal that asks when it is not given.
        id: 32 hexadecimal digits that the caller made up, so that it may send the request again without beginning
            a second run; made here when it is not given.
    """

    id: str | None = None
    experiment: str | None = None
    experiment_id: str = DEFAULT_EXPERIMENT_ID
    name: str | None = None
    user: str | None = None
    started_at: datetime | None = None
    tags: dict[str, str] = {}


class FinishRun(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended."""

    status: RunStatus = RunStatus.FINISHED
    ended_at: datetime | None = None


class KillRuns(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs have lost who ran them: those that carry a tag and still run."""

    tag: str
    value: str


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Points, params and tags of one run that are stored together or not at all."""

    metrics: tuple[MetricPoint, ...] = ()
    params: dict[str, str | int | float | bool | None] = {}
    tags: dict[str, str] = {}


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a run or of a logged model.

    Attributes:
        owner: `run/<id>` or `logged-model/<id>`.
        path: relative to the owner, with forward slashes.
        digest: `sha256:<hex>`, its address in the blob store.
    """

    owner: str
    path: str
    digest: str
    size_bytes: int
    created_by: str
    created_at: datetime


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a listing of a folder: a file with its size, or a folder."""

    path: str
    is_folder: bool
    size_bytes: int | None = None
    digest: str | None = None


class LoggedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model directory that a run logged, before anybody registers it."""

    id: str
    experiment_id: str
    name: str
    model_type: str = ""
    source_run_id: str | None = None
    status: LoggedModelStatus = LoggedModelStatus.PENDING
    deleted: bool = False
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: tuple[ModelMetric, ...] = ()
    created_by: str
    created_at: datetime
    updated_at: datetime


class CreateLoggedModel(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to announce a logged model; its files follow."""

    experiment_id: str
    name: str | None = None
    model_type: str = ""
    source_run_id: str | None = None
    params: dict[str, str] = {}
    tags: dict[str, str] = {}


Comparator = Literal["=", "!=", "<", "<=", ">", ">="]


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One term of a search; the terms of a search must all hold.

    Attributes:
        kind: what `key` names. Attributes of a run are name, status, user, started_at, ended_at, run_id.
        value: text for params, tags and most attributes; a number for metrics; a datetime for times.
    """

    kind: Literal["attribute", "param", "tag", "metric"]
    key: str
    comparator: Comparator
    value: str | float | datetime


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a search is sorted by: the start time, or the latest value of a metric, absent ones last."""

    metric: str | None = None
    ascending: bool = False


class RunQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A search for runs.

    Attributes:
        experiment_ids: where to look; None for everywhere.
        deleted: False for live runs, True for deleted ones, None for both.
        cursor: where the page before ended, as that page said; empty for the first page.
    """

    experiment_ids: tuple[str, ...] | None
    conditions: tuple[Condition, ...] = ()
    order: Order = Order()
    deleted: bool | None = False
    limit: int = 1000
    cursor: str = ""


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of runs; `next_cursor` is empty on the last one."""

    runs: tuple[Run, ...]
    next_cursor: str = ""


class MetricPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a metric's history by step, time and value; `next_cursor` is empty on the last one."""

    points: tuple[MetricPoint, ...]
    next_cursor: str = ""


def reading(number: float) -> Reading:
    """A float as it goes over the wire."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return number


def param_text(value: Any) -> str:
    """A param's value as text: what `str` says, which for a float reads back to the same float."""
    return value if isinstance(value, str) else str(value)
