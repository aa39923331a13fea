"""Reading an `mlruns` folder, as MLflow's FileStore leaves it: a folder for each thing, a file for each value."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from headrace.errors import HeadraceError, InvalidInput
from headrace.protocols.mlflow.importing import stored_files, values
from headrace.protocols.mlflow.importing.source import (
    FoundFile,
    FoundLoggedModel,
    FoundModel,
    FoundRun,
    Holder,
)
from headrace.protocols.mlflow.importing.stored_files import NO_FOLDER
from headrace.protocols.mlflow.importing.values import DELETED, MODEL_STATUSES, Point, moment
from headrace.registry.imported import ImportModel, ImportVersion
from headrace.tracking.imported import ImportExperiment, ImportLoggedModel, ImportPoints, ImportRun
from headrace.tracking.nouns import (
    Dataset,
    DatasetInput,
    Inputs,
    LoggedModelStatus,
    MetricPoint,
    ModelMetric,
    ModelOutput,
    reading,
)

T = TypeVar("T")

META = "meta.yaml"
TRASH = ".trash"
REGISTRY = "models"
ARTIFACTS = "artifacts"
NOT_RUNS = frozenset({"tags", "datasets", "traces", "models"})
"""The folders of an experiment that are not runs."""

_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNREADABLE = (HeadraceError, OSError, ValueError, KeyError, TypeError, yaml.YAMLError, msgspec.ValidationError)


class FileStoreSource:
    """An `mlruns` folder.

    Args:
        root: the folder; it need not lie where it was written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.problems: list[str] = []
        self._folders: dict[str, Path] = {}
        self._without_files = 0
        if not any(self._experiment_folders()) and not (self.root / REGISTRY).is_dir():
            raise InvalidInput(
                "there are no experiments in this folder",
                where=str(root),
                fix="Give the folder that MLflow calls mlruns.",
            )

    def experiments(self) -> Iterator[ImportExperiment]:
        """See `Source`."""
        for folder in self._experiment_folders():
            if (found := self._tried(folder, self._experiment)) is not None:
                self._folders[found.id] = folder
                yield found

    def run_count(self) -> int | None:
        """See `Source`."""
        return sum(1 for folder in self._experiment_folders() for _ in _run_folders(folder))

    def runs(self, experiment: ImportExperiment) -> Iterator[FoundRun]:
        """See `Source`."""
        folders = [*_run_folders(self._folders[experiment.id])]
        read = partial(_run, experiment=experiment)
        found = [run for each in folders if (run := self._tried(each, read)) is not None]
        yield from sorted(found, key=lambda each: (each.run.started_at, each.run.id))

    def series(self, found: FoundRun) -> Iterator[ImportPoints]:
        """See `Source`."""
        folder = self._folders[found.run.experiment_id] / found.run.id / "metrics"
        for key, path in _entries(folder):
            points = self._tried(path, partial(_points, key=key))
            if points:
                yield from values.columns(found.run.id, points)

    def logged_models(self, experiment: ImportExperiment) -> Iterator[FoundLoggedModel]:
        """See `Source`."""
        for folder in _subfolders(self._folders[experiment.id] / "models"):
            if (found := self._tried(folder, partial(_logged_model, experiment=experiment))) is not None:
                yield found

    def models(self) -> Iterator[FoundModel]:
        """See `Source`."""
        for folder in _subfolders(self.root / REGISTRY):
            if (found := self._tried(folder, self._model)) is not None:
                yield found

    def address(self, holder: Holder) -> str:
        """See `Source`: where they were written, or beside their record if the folder was moved."""
        written = stored_files.address_of(holder, base=self.root.parent)
        kind, _, name = holder.owner.partition("/")
        if written or kind == "version":
            return written
        below = Path("models", name) if kind == "logged-model" else Path(name)
        beside = next((at / below / ARTIFACTS for at in self._folders.values() if (at / below).is_dir()), None)
        if beside is None:
            return ""
        return stored_files.address_of(Holder(owner=holder.owner, uri=str(beside)), base=self.root)

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
        folders = (folder / "traces" for folder in self._experiment_folders())
        return {
            "traces": sum(1 for folder in folders for _ in _subfolders(folder)),
            NO_FOLDER: self._without_files,
        }

    def close(self) -> None:
        """See `Source`."""

    def _experiment_folders(self) -> Iterator[Path]:
        for place in (self.root, self.root / TRASH):
            for folder in _subfolders(place):
                if folder.name not in {TRASH, REGISTRY} and (folder / META).is_file():
                    yield folder

    def _tried(self, path: Path, read: Callable[[Path], T]) -> T | None:
        try:
            return read(path)
        except _UNREADABLE as error:
            self.problems.append(f"{path.relative_to(self.root)}: it cannot be read: {str(error)[:200]}")
            return None

    def _experiment(self, folder: Path) -> ImportExperiment:
        meta = _meta(folder)
        updated = moment(meta.get("last_update_time")) or moment(meta.get("creation_time"))
        gone = meta.get("lifecycle_stage") == DELETED or folder.parent.name == TRASH
        return ImportExperiment(
            id=str(meta["experiment_id"]),
            name=str(meta["name"]),
            tags=dict(_texts(folder / "tags")),
            created_at=moment(meta.get("creation_time")),
            updated_at=updated,
            deleted=gone,
            deleted_at=updated if gone else None,
        )

    def _model(self, folder: Path) -> FoundModel:
        meta = _meta(folder)
        created = moment(meta.get("creation_timestamp")) or values.EPOCH
        versions = []
        locations = {}
        for place in _subfolders(folder):
            if not place.name.startswith("version-"):
                continue
            if (found := self._tried(place, _version)) is not None:
                version, location = found
                versions.append(version)
                locations[version.number] = location
        model = ImportModel(
            name=str(meta["name"]),
            description=meta.get("description") or "",
            tags=dict(_texts(folder / "tags")),
            created_at=created,
            updated_at=moment(meta.get("last_updated_timestamp")) or created,
            versions=tuple(sorted(versions, key=lambda each: each.number)),
            aliases={alias: int(number) for alias, number in _texts(folder / "aliases")},
        )
        return FoundModel(model=model, locations=locations)


def _run(folder: Path, experiment: ImportExperiment) -> FoundRun:
    meta = _meta(folder)
    run_id = str(meta.get("run_id") or meta["run_uuid"])
    tags = dict(_texts(folder / "tags"))
    ended = moment(meta.get("end_time"))
    deleted = moment(meta.get("deleted_time"))
    went = values.gone_with(experiment, deleted)
    inputs, links = [], []
    for place in _subfolders(folder / "inputs"):
        link = _meta(place)
        if link["source_type"] == "DATASET":
            described = _meta(folder.parent / "datasets" / link["source_id"])
            dataset = msgspec.convert({name: described.get(name) for name in Dataset.__struct_fields__}, Dataset)
            inputs.append(DatasetInput(dataset=dataset, tags=_plain(link.get("tags"))))
        else:
            links.append(str(link["source_id"]))
    outputs = [_meta(place) for place in _subfolders(folder / "outputs")]
    run = ImportRun(
        id=run_id,
        experiment_id=experiment.id,
        name=values.name_of(run_id, meta.get("run_name"), tags),
        user=str(meta.get("user_id") or ""),
        status=values.run_status(meta.get("status")),
        started_at=moment(meta.get("start_time")) or ended or experiment.created_at or values.EPOCH,
        ended_at=ended,
        deleted=went or meta.get("lifecycle_stage") == DELETED,
        deleted_at=None if went else deleted,
        params=dict(_texts(folder / "params")),
        tags=values.without_name(tags),
        inputs=Inputs(datasets=tuple(inputs), models=tuple(links)),
        outputs=tuple(
            ModelOutput(model_id=str(each["source_id"]), step=int(each.get("step") or 0)) for each in outputs
        ),
    )
    return FoundRun(run=run, artifact_uri=str(meta.get("artifact_uri") or folder / ARTIFACTS))


def _points(path: Path, key: str) -> list[Point]:
    """Lines of time, value and step, which a dataset may follow; the oldest have no step."""
    points = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            at, value, *rest = line.split(" ")
            points.append((key, int(rest[0]) if rest else 0, int(at), float(value)))
    return list(values.distinct(points))


def _logged_model(folder: Path, experiment: ImportExperiment) -> FoundLoggedModel:
    meta = _meta(folder)
    created = moment(meta["creation_timestamp"]) or values.EPOCH
    updated = moment(meta.get("last_updated_timestamp")) or created
    model = ImportLoggedModel(
        id=str(meta["model_id"]),
        experiment_id=experiment.id,
        name=str(meta["name"]),
        model_type=meta.get("model_type") or "",
        source_run_id=meta.get("source_run_id") or None,
        status=MODEL_STATUSES.get(meta.get("status", 0), LoggedModelStatus.PENDING),
        params=dict(_texts(folder / "params")),
        tags=dict(_texts(folder / "tags")),
        created_at=created,
        updated_at=updated,
        deleted_at=updated if meta.get("lifecycle_stage") == DELETED else None,
    )
    metrics = tuple(metric for key, path in _entries(folder / "metrics") for metric in _model_metrics(path, key))
    return FoundLoggedModel(
        model=model, metrics=metrics, artifact_uri=str(meta.get("artifact_location") or folder / ARTIFACTS)
    )


def _model_metrics(path: Path, key: str) -> list[ModelMetric]:
    """Lines of time, value, step and run, which the name and the digest of a dataset may follow."""
    found: dict[tuple[str, ...], ModelMetric] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            at, value, step, run_id, *rest = line.split(" ")
            point = MetricPoint(
                key=key,
                value=reading(float(value)),
                step=int(step),
                at=moment(at),
                dataset_name=" ".join(rest[:-1]) or None,
                dataset_digest=rest[-1] if rest else None,
            )
            found.setdefault((at, step, run_id), ModelMetric(run_id=run_id, point=point))
    return list(found.values())


def _version(folder: Path) -> tuple[ImportVersion, str] | None:
    meta = _meta(folder)
    if meta.get("current_stage") == values.GONE:
        return None
    created = moment(meta.get("creation_timestamp")) or values.EPOCH
    source = str(meta.get("source") or "")
    version = ImportVersion(
        number=int(meta["version"]),
        source=source,
        run_id=meta.get("run_id") or None,
        stage=values.stage(meta.get("current_stage")),
        description=meta.get("description") or "",
        tags=dict(_texts(folder / "tags")),
        user=meta.get("user_id") or "",
        created_at=created,
        updated_at=moment(meta.get("last_updated_timestamp")) or created,
    )
    return version, str(meta.get("storage_location") or source)


def _meta(folder: Path) -> dict[str, Any]:
    with (folder / META).open(encoding="utf-8") as file:
        found = yaml.load(file, Loader=_Loader)  # noqa: S506 - it is the safe one
    if not isinstance(found, dict):
        raise InvalidInput(f"{META} is not a record", where=str(folder))
    return found


def _plain(tags: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in (tags or {}).items()}


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _run_folders(experiment: Path) -> Iterator[Path]:
    return (path for path in _subfolders(experiment) if path.name not in NOT_RUNS)


def _entries(folder: Path) -> list[tuple[str, Path]]:
    """The files below a folder, by key: a key with slashes is a path. Links are no files of MLflow's."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted((path.relative_to(folder).as_posix(), path) for path in found)


def _texts(folder: Path) -> list[tuple[str, str]]:
    return [(key, path.read_bytes().decode("utf-8")) for key, path in _entries(folder)]
