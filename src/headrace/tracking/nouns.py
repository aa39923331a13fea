"""The records of experiment tracking, on the wire and in code; light, since SDK and workers import them too."""

import math
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from headrace.kernel.clocks import Moment

Reading = float | Literal["NaN", "Infinity", "-Infinity"]
"""A metric's value on the wire. JSON has no NaN and no infinities, so these three are spelt out."""

Step = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

DAY_S = 86_400.0
Seconds = Annotated[float, msgspec.Meta(ge=0, le=36_525 * DAY_S)]
"""A span of up to a century."""

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
    artifact_location: str = ""
    """Where clients write its files themselves; empty: they send them to the platform."""
    tags: dict[str, str] = {}
    deleted: bool = False
    created_by: str
    created_at: datetime
    updated_at: datetime


class CreateExperiment(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to create an experiment.

    Attributes:
        artifact_location: a folder or a place in an object store that clients write its files to themselves;
            where the operator has all experiments keep their files when it is not given.
    """

    name: str
    artifact_location: str = ""
    tags: dict[str, str] = {}


class ExperimentQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A search for experiments.

    Attributes:
        filter: what an experiment must be, such as `name LIKE 'churn%' AND tags.team = 'growth'`.
        order_by: what they are sorted by, such as `name`; newest first when it is not given.
        deleted: False for live ones, True for deleted ones, None for both.
        cursor: where the page before ended, as that page said; empty for the first page.
    """

    filter: str = ""
    order_by: tuple[str, ...] = ()
    deleted: bool | None = False
    limit: int = 1000
    cursor: str = ""


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
    at: Moment | None = None
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None

    @property
    def number(self) -> float:
        """The value as a float, NaN and infinities included."""
        return float(self.value)


class MetricExtreme(msgspec.Struct, frozen=True, kw_only=True):
    """The lowest or the highest value of a metric, and the first step that reached it."""

    value: Reading
    step: Step


class MetricSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a metric of a run beside its points.

    Attributes:
        value: of the latest point: the greatest by step, then time, then value.
        step: of the latest point.
        at: time of the latest point.
        min: the lowest of its numbers; None while only NaN was seen.
        max: the highest, likewise.
    """

    value: Reading
    step: Step
    at: datetime
    min: MetricExtreme | None = None
    max: MetricExtreme | None = None

    @property
    def number(self) -> float:
        """The latest value as a float, NaN and infinities included."""
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
        artifact_uri: where clients write its files themselves; empty: they send them to the platform.
        metrics: each metric's latest, lowest and highest value.
    """

    id: str
    experiment_id: str
    name: str
    user: str
    status: RunStatus
    started_at: datetime
    ended_at: datetime | None = None
    deleted: bool = False
    artifact_uri: str = ""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: dict[str, MetricSummary] = {}
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
    started_at: Moment | None = None
    tags: dict[str, str] = {}


class FinishRun(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended."""

    status: RunStatus = RunStatus.FINISHED
    ended_at: Moment | None = None


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
    """A model directory that a run logged, before anybody registers it.

    Attributes:
        artifact_uri: where clients write its files themselves; empty: they send them to the platform.
    """

    id: str
    experiment_id: str
    name: str
    model_type: str = ""
    source_run_id: str | None = None
    status: LoggedModelStatus = LoggedModelStatus.PENDING
    deleted: bool = False
    artifact_uri: str = ""
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


class DatasetName(msgspec.Struct, frozen=True, kw_only=True):
    """Names a dataset that metrics were measured on; without a digest, each one of the name."""

    name: str
    digest: str | None = None


class LoggedModelOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What logged models are sorted by.

    Attributes:
        key: an attribute, or `metrics.<name>` for the value that was measured last.
        dataset: the one that the metric was measured on; any when it is not given.
    """

    key: str
    ascending: bool = True
    dataset: DatasetName | None = None


class LoggedModelQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A search for logged models.

    Attributes:
        experiment_ids: where to look.
        filter: what a model must be, such as `metrics.auc > 0.8 AND params.depth = '3'`. A metric compares when one
            of its values does.
        order_by: what models are sorted by; what is equal goes newest first.
        datasets: metrics count only as they were measured on one of these.
        cursor: where the page before ended, as that page said; empty for the first page.
    """

    experiment_ids: tuple[str, ...]
    filter: str = ""
    order_by: tuple[LoggedModelOrder, ...] = ()
    datasets: tuple[DatasetName, ...] = ()
    limit: int = 100
    cursor: str = ""


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which params, metrics and tags of runs come back: those of some keys, or None for all of them."""

    params: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None


class RunQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A search for runs.

    Attributes:
        experiment_ids: where to look; None for everywhere.
        filter: what a run must be, such as `metrics.auc > 0.8 AND NOT (params.model = 'tree' OR tags.old = 'yes')`.
        order_by: what runs are sorted by, such as `max(metrics.auc) DESC`; what is equal goes newest first.
        select: which params, metrics and tags come back.
        deleted: False for live runs, True for deleted ones, None for both.
        cursor: where the page before ended, as that page said; empty for the first page.
    """

    experiment_ids: tuple[str, ...] | None = None
    filter: str = ""
    order_by: tuple[str, ...] = ()
    select: Selection = Selection()
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


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What would go, were it not needed: `run/<id>` or `logged-model/<id>`, and by whom."""

    subject: str
    holders: tuple[str, ...]


class Purge(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed, or would be.

    Attributes:
        points: of the metrics of the runs.
        files: of the runs and the logged models.
        bytes: of these files; blobs that others share are not freed.
        held: the first of those that somebody needs.
        more: whether there is more to remove than one request does.
    """

    runs: int = 0
    logged_models: int = 0
    experiments: int = 0
    points: int = 0
    files: int = 0
    bytes: int = 0
    held: tuple[Held, ...] = ()
    more: bool = False

    def plus(self, other: "Purge") -> "Purge":
        """Both together."""
        return Purge(
            runs=self.runs + other.runs,
            logged_models=self.logged_models + other.logged_models,
            experiments=self.experiments + other.experiments,
            points=self.points + other.points,
            files=self.files + other.files,
            bytes=self.bytes + other.bytes,
        )


class PurgeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to go for good.

    Attributes:
        older_than_s: how long ago it must have been deleted, in seconds.
        dry_run: only say what would go.
        limit: how many runs and logged models one request removes.
    """

    older_than_s: Seconds = 30 * DAY_S
    dry_run: bool = True
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100


class CollectRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which blobs are to go.

    Attributes:
        spare_younger_than_s: blobs that were put within this time stay: somebody may be about to name them.
        dry_run: only say what would go.
    """

    spare_younger_than_s: Seconds = DAY_S
    dry_run: bool = True


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """What was collected, or would be.

    Attributes:
        examined: blobs in the store.
        young: of them, spared because they were put lately.
        blobs: collected.
        bytes: freed.
    """

    examined: int = 0
    young: int = 0
    blobs: int = 0
    bytes: int = 0


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
