"""The records of history that comes from elsewhere: what it brings, and what is here of it; light, as all nouns."""

from collections.abc import Sequence

import msgspec

from headrace.kernel.clocks import Moment
from headrace.tracking.nouns import (
    Experiment,
    Inputs,
    LoggedModel,
    LoggedModelStatus,
    ModelMetric,
    ModelOutput,
    Reading,
    Run,
    RunStatus,
    Step,
)

SOURCE_ID_TAG = "headrace.imported.experiment_id"
"""The tag of an experiment whose id was taken here: the id that it had."""


class ImportExperiment(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment of another server.

    Attributes:
        id: its id there, which it keeps when it is a number and free here.
        name: an experiment of this name here is the same one.
        deleted_at: when it was deleted, if it was; the moment of the import when that is not known.
    """

    id: str
    name: str
    tags: dict[str, str] = {}
    created_at: Moment | None = None
    updated_at: Moment | None = None
    deleted: bool = False
    deleted_at: Moment | None = None


class ImportRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run of another server, without the points of its metrics.

    Attributes:
        experiment_id: of the experiment here.
        deleted_at: when it was deleted, if it was; None for a run that went with its experiment, or when that is
            not known.
        artifact_uri: where its files are and stay; empty: they are sent to the platform.
    """

    id: str
    experiment_id: str
    name: str
    user: str = ""
    status: RunStatus
    started_at: Moment
    ended_at: Moment | None = None
    deleted: bool = False
    deleted_at: Moment | None = None
    artifact_uri: str = ""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    inputs: Inputs = Inputs()
    outputs: tuple[ModelOutput, ...] = ()


class ImportPoints(msgspec.Struct, frozen=True, kw_only=True):
    """Points of one metric of a run, as three columns of the same length.

    Attributes:
        times: microseconds since 1970.
    """

    run_id: str
    key: str
    steps: Sequence[Step]
    times: Sequence[int]
    values: Sequence[Reading]


class ImportLoggedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A logged model of another server; its metrics follow once the runs are here that measured them.

    Attributes:
        artifact_uri: where its files are and stay; empty: they are sent to the platform.
    """

    id: str
    experiment_id: str
    name: str
    model_type: str = ""
    source_run_id: str | None = None
    status: LoggedModelStatus
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    created_at: Moment
    updated_at: Moment
    deleted_at: Moment | None = None
    artifact_uri: str = ""


class ImportModelMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """What runs measured on a logged model."""

    model_id: str
    metrics: tuple[ModelMetric, ...]


class ImportFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file whose bytes are in the blob store already."""

    path: str
    digest: str
    size_bytes: int


class ImportFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Files of one owner, `run/<id>` or `logged-model/<id>`."""

    owner: str
    files: tuple[ImportFile, ...]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the history that cannot be kept here, and why; what came with it is kept."""

    where: str
    problem: str


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a part of the history: all of it was kept but for what was refused."""

    refused: tuple[Refusal, ...] = ()


class ImportedExperiment(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment of another server, and the one that it is here."""

    source_id: str
    experiment: Experiment
    refused: tuple[Refusal, ...] = ()


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs and logged models to look for."""

    runs: tuple[str, ...] = ()
    logged_models: tuple[str, ...] = ()


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """How many files something here has, and how large they are together."""

    files: int = 0
    size_bytes: int = 0


class RunHere(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is here, with the number of its points and its files."""

    run: Run
    points: int
    held: Held


class LoggedModelHere(msgspec.Struct, frozen=True, kw_only=True):
    """A logged model that is here, with its files."""

    model: LoggedModel
    held: Held


class Here(msgspec.Struct, frozen=True, kw_only=True):
    """What is here of what was looked for, by id."""

    runs: dict[str, RunHere] = {}
    logged_models: dict[str, LoggedModelHere] = {}
