"""Reading the database of an MLflow server, SQLite or PostgreSQL, whatever its version."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from headrace.errors import InvalidInput
from headrace.protocols.mlflow.importing import database_models, stored_files, values
from headrace.protocols.mlflow.importing.connections import Connection
from headrace.protocols.mlflow.importing.questions import Questions
from headrace.protocols.mlflow.importing.source import (
    FoundFile,
    FoundLoggedModel,
    FoundModel,
    FoundRun,
    Holder,
)
from headrace.protocols.mlflow.importing.stored_files import NO_FOLDER
from headrace.protocols.mlflow.importing.values import DELETED, Point, moment
from headrace.tracking.imported import ImportExperiment, ImportPoints, ImportRun
from headrace.tracking.nouns import Dataset, DatasetInput, Inputs, ModelOutput

RUNS_AT_ONCE = 200
_RUN = (
    "run_uuid",
    "name",
    "user_id",
    "status",
    "start_time",
    "end_time",
    "lifecycle_stage",
    "artifact_uri",
    "deleted_time",
)
_DATASET = ("name", "digest", "dataset_source_type", "dataset_source", "dataset_schema", "dataset_profile")
_EXPERIMENT = ("experiment_id", "name", "lifecycle_stage", "creation_time", "last_update_time")


class _Hanging(NamedTuple):
    """What hangs on some runs, by their ids."""

    params: dict[str, dict[str, str]]
    tags: dict[str, dict[str, str]]
    datasets: dict[str, list[DatasetInput]]
    inputs: dict[str, list[str]]
    outputs: dict[str, list[ModelOutput]]


class DatabaseSource:
    """An MLflow database.

    Args:
        connection: to it.
        base: what relative artifact locations are relative to: where the server was started.
        proxied: where the server kept the artifacts that it proxied.
    """

    def __init__(self, connection: Connection, *, base: Path, proxied: Path | None) -> None:
        self.problems: list[str] = []
        self._ask = Questions(connection)
        self._base = base
        self._proxied = proxied
        self._without_files = 0
        if not self._ask.has("runs", "run_uuid") or not self._ask.has("experiments"):
            raise InvalidInput("there are no tables of MLflow in this database", where=str(base))
        self._runs: dict[str, list[str]] = defaultdict(list)
        query = "SELECT experiment_id, run_uuid FROM runs ORDER BY start_time, run_uuid"
        for experiment_id, run_id in connection.rows(query):
            self._runs[str(experiment_id)].append(run_id)

    def experiments(self) -> Iterator[ImportExperiment]:
        """See `Source`."""
        tags = self._ask.maps("experiment_tags", "experiment_id", "key", "value")
        for row in self._ask.rows("experiments", _EXPERIMENT, order="experiment_id"):
            created = moment(row["creation_time"])
            updated = moment(row["last_update_time"]) or created
            yield ImportExperiment(
                id=str(row["experiment_id"]),
                name=row["name"],
                tags=tags.get(row["experiment_id"], {}),
                created_at=created,
                updated_at=updated,
                deleted=row["lifecycle_stage"] == DELETED,
                deleted_at=updated if row["lifecycle_stage"] == DELETED else None,
            )

    def run_count(self) -> int | None:
        """See `Source`."""
        return sum(map(len, self._runs.values()))

    def runs(self, experiment: ImportExperiment) -> Iterator[FoundRun]:
        """See `Source`."""
        ids = self._runs.get(experiment.id, [])
        for start in range(0, len(ids), RUNS_AT_ONCE):
            some = ids[start : start + RUNS_AT_ONCE]
            hanging = self._hanging(some)
            rows = {row["run_uuid"]: row for row in self._ask.rows("runs", _RUN, among=("run_uuid", some))}
            for run_id in some:
                try:
                    yield _run(rows[run_id], hanging, experiment)
                except InvalidInput as problem:
                    self.problems.append(f"run {run_id}: {problem.message}")

    def series(self, found: FoundRun) -> Iterator[ImportPoints]:
        """See `Source`."""
        query = "SELECT key, step, timestamp, value, is_nan FROM metrics WHERE run_uuid = ? ORDER BY key"
        yield from values.columns(found.run.id, map(_point, self._ask.connection.rows(query, (found.run.id,))))

    def logged_models(self, experiment: ImportExperiment) -> Iterator[FoundLoggedModel]:
        """See `Source`."""
        if self._ask.has("logged_models"):
            yield from database_models.logged_models(self._ask, experiment)

    def models(self) -> Iterator[FoundModel]:
        """See `Source`."""
        yield from database_models.models(self._ask, self.problems)

    def address(self, holder: Holder) -> str:
        """See `Source`."""
        return stored_files.address_of(holder, base=self._base, proxied=self._proxied)

    def files(self, holder: Holder) -> list[FoundFile]:
        """See `Source`."""
        try:
            address = self.address(holder)
            self._without_files += not address
            return stored_files.listing(address) if address else []
        except InvalidInput as problem:
            self.problems.append(f"{holder.owner}: {problem.message}")
            return []

    def fetch(self, holder: Holder, path: str, to: Path) -> None:
        """See `Source`."""
        stored_files.copy(self.address(holder), path, to)

    def left_behind(self) -> dict[str, int]:
        """See `Source`."""
        found = {"traces": self._ask.count("trace_info"), NO_FOLDER: self._without_files}
        for table in ("experiments", "registered_models"):
            if self._ask.has(table, "workspace"):
                found[f"{table.replace('_', ' ')} of other workspaces"] = self._ask.count_of_other_workspaces(table)
        return found

    def close(self) -> None:
        """See `Source`."""
        self._ask.connection.close()

    def _hanging(self, runs: Sequence[str]) -> _Hanging:
        among = ("run_uuid", runs)
        hanging = _Hanging(
            params=self._ask.maps("params", "run_uuid", "key", "value", among=among),
            tags=self._ask.maps("tags", "run_uuid", "key", "value", among=among),
            datasets=defaultdict(list),
            inputs=defaultdict(list),
            outputs=defaultdict(list),
        )
        if not self._ask.has("inputs"):
            return hanging
        columns = ", ".join(f"datasets.{name}" for name in _DATASET)
        query = (
            f"SELECT inputs.destination_id, inputs.input_uuid, {columns} FROM inputs"  # noqa: S608 - our own names
            " JOIN datasets ON datasets.dataset_uuid = inputs.source_id"
            " WHERE inputs.source_type = 'DATASET' AND inputs.destination_type = 'RUN'"
            f" AND inputs.destination_id IN ({self._ask.marks(runs)}) ORDER BY datasets.name, datasets.digest"
        )
        read = list(self._ask.connection.rows(query, runs))
        among = ("input_uuid", [row[1] for row in read])
        tags = self._ask.maps("input_tags", "input_uuid", "name", "value", among=among) if read else {}
        for run_id, input_id, *described in read:
            dataset = Dataset(**dict(zip(Dataset.__struct_fields__, described, strict=True)))
            hanging.datasets[run_id].append(DatasetInput(dataset=dataset, tags=tags.get(input_id, {})))
        links = ("source_id", "source_type", "destination_id", "step")
        for row in self._ask.rows("inputs", links, among=("source_id", runs), order="destination_id"):
            if row["source_type"] == "RUN_INPUT":
                hanging.inputs[row["source_id"]].append(row["destination_id"])
            elif row["source_type"] == "RUN_OUTPUT":
                output = ModelOutput(model_id=row["destination_id"], step=row["step"] or 0)
                hanging.outputs[row["source_id"]].append(output)
        return hanging


def _run(row: dict[str, Any], hanging: _Hanging, experiment: ImportExperiment) -> FoundRun:
    run_id = row["run_uuid"]
    tags = hanging.tags.get(run_id, {})
    ended = moment(row["end_time"])
    deleted = moment(row["deleted_time"])
    went = values.gone_with(experiment, deleted)
    run = ImportRun(
        id=run_id,
        experiment_id=experiment.id,
        name=values.name_of(run_id, row["name"], tags),
        user=row["user_id"] or "",
        status=values.run_status(row["status"]),
        started_at=moment(row["start_time"]) or ended or experiment.created_at or values.EPOCH,
        ended_at=ended,
        deleted=went or row["lifecycle_stage"] == DELETED,
        deleted_at=None if went else deleted,
        params=hanging.params.get(run_id, {}),
        tags=values.without_name(tags),
        inputs=Inputs(
            datasets=tuple(hanging.datasets.get(run_id, ())), models=tuple(hanging.inputs.get(run_id, ()))
        ),
        outputs=tuple(hanging.outputs.get(run_id, ())),
    )
    return FoundRun(run=run, artifact_uri=row["artifact_uri"] or "")


def _point(row: tuple[Any, ...]) -> Point:
    key, step, at, value, is_nan = row
    return (key, step, at, float("nan") if is_nan else value)
