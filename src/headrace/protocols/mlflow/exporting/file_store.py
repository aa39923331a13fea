"""Writing an `mlruns` folder as MLflow's FileStore does, so that every MLflow of 2.9 and later reads it.

A value is a file that is named by its key, so a key is a path. Two keys of which one is a folder of the other do
not fit into one folder: the second is a problem, and the rest goes on.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from headrace.errors import InvalidInput
from headrace.protocols.mlflow.encoding import RUN_NAME_TAG, milliseconds
from headrace.protocols.mlflow.importing.values import DELETED, MODEL_STATUSES, RUN_STATUSES
from headrace.registry.imported import ModelHere
from headrace.registry.nouns import Version
from headrace.tracking.imported import SOURCE_ID_TAG
from headrace.tracking.nouns import Dataset, Experiment, LoggedModel, MetricPoint, Run
from headrace.tracking.paths import confined

ACTIVE = "active"
META = "meta.yaml"
LOCAL = 4
"""The kind of source that MLflow writes for every run."""

_RUN_NUMBERS = {status: number for number, status in RUN_STATUSES.items()}
_MODEL_NUMBERS = {status: number for number, status in MODEL_STATUSES.items()}


class FileStoreWriter:
    """Writes an `mlruns` folder.

    Args:
        root: where it is written; it is there and empty.
        home: where it will be in the end, which is what it says of its files.
    """

    def __init__(self, root: Path, home: Path) -> None:
        self.root = root
        self.home = home
        self.problems: list[str] = []

    def experiment(self, found: Experiment) -> Path:
        """Write an experiment; returns its folder."""
        folder = self.root / ".trash" / found.id if found.deleted else self.root / found.id
        meta = {
            "artifact_location": found.artifact_location or self.address(folder),
            "creation_time": milliseconds(found.created_at),
            "experiment_id": found.id,
            "last_update_time": milliseconds(found.updated_at),
            "lifecycle_stage": DELETED if found.deleted else ACTIVE,
            "name": found.name,
        }
        _write_meta(folder, meta)
        self._texts(folder / "tags", {key: value for key, value in found.tags.items() if key != SOURCE_ID_TAG})
        return folder

    def run(self, experiment: Path, found: Run) -> Path:
        """Write a run without its histories and files; returns its folder."""
        folder = experiment / found.id
        meta: dict[str, Any] = {
            "artifact_uri": found.artifact_uri or self.address(folder / "artifacts"),
            "end_time": None if found.ended_at is None else milliseconds(found.ended_at),
            "entry_point_name": "",
            "experiment_id": found.experiment_id,
            "lifecycle_stage": DELETED if found.deleted else ACTIVE,
            "run_id": found.id,
            "run_name": found.name,
            "run_uuid": found.id,
            "source_name": "",
            "source_type": LOCAL,
            "source_version": "",
            "start_time": milliseconds(found.started_at),
            "status": _RUN_NUMBERS[found.status],
            "tags": [],
            "user_id": found.user,
        }
        _write_meta(folder, meta)
        for name in ("metrics", "params", "tags", "artifacts"):
            (folder / name).mkdir()
        self._texts(folder / "params", found.params)
        self._texts(folder / "tags", {**found.tags, RUN_NAME_TAG: found.name})
        for each in found.inputs.datasets:
            dataset = _dataset(experiment, each.dataset)
            self._link(folder / "inputs", dataset, "DATASET", "RUN", tags=dict(each.tags))
        for model_id in found.inputs.models:
            self._link(folder / "inputs", model_id, "MODEL", "RUN", tags={})
        for output in found.outputs:
            self._link(folder / "outputs", output.model_id, "RUN_OUTPUT", "MODEL_OUTPUT", tags={}, step=output.step)
        return folder

    def history(self, run: Path, key: str, points: Iterable[MetricPoint]) -> int:
        """Write the points of a metric, to the millisecond; returns how many lines those are."""
        lines: dict[str, None] = {}
        for point in points:
            assert point.at is not None
            lines[f"{milliseconds(point.at)} {point.number} {point.step}\n"] = None
        self._text(run / "metrics", key, "".join(lines))
        return len(lines)

    def logged_model(self, experiment: Path, found: LoggedModel) -> Path:
        """Write a logged model without its files; returns its folder."""
        folder = experiment / "models" / found.id
        meta = {
            "artifact_location": found.artifact_uri or self.address(folder / "artifacts"),
            "creation_timestamp": milliseconds(found.created_at),
            "experiment_id": found.experiment_id,
            "last_updated_timestamp": milliseconds(found.updated_at),
            "model_id": found.id,
            "model_type": found.model_type or None,
            "name": found.name,
            "source_run_id": found.source_run_id,
            "status": _MODEL_NUMBERS[found.status],
            "status_message": None,
        }
        _write_meta(folder, meta)
        for name in ("params", "tags", "metrics", "artifacts"):
            (folder / name).mkdir()
        self._texts(folder / "params", found.params)
        self._texts(folder / "tags", found.tags)
        by_key: dict[str, list[str]] = {}
        for each in found.metrics:
            by_key.setdefault(each.point.key, []).append(self._measured(found.id, each.run_id, each.point))
        self._texts(folder / "metrics", {key: "".join(lines) for key, lines in by_key.items()})
        return folder

    def model(self, found: ModelHere, versions: Iterable[Version], locations: Mapping[int, str]) -> None:
        """Write a registered model with some of its versions, and the aliases that point at them."""
        assert found.model is not None
        folder = self.root / "models" / found.model.name
        chosen = {version.number: version for version in versions}
        aliases = {each.alias: str(each.number) for each in found.aliases if each.number in chosen}
        meta = {
            "aliases": aliases,
            "creation_timestamp": milliseconds(found.model.created_at),
            "description": found.model.description or None,
            "last_updated_timestamp": milliseconds(found.model.updated_at),
            "name": found.model.name,
        }
        _write_meta(folder, meta)
        self._texts(folder / "tags", found.model.tags)
        self._texts(folder / "aliases", aliases)
        for number, version in chosen.items():
            self._version(folder / f"version-{number}", version, locations.get(number))

    def address(self, path: Path) -> str:
        """What a place in the folder will be called once the folder is at home."""
        return (self.home / path.relative_to(self.root)).as_uri()

    def _version(self, folder: Path, version: Version, location: str | None) -> None:
        meta = {
            "creation_timestamp": milliseconds(version.created_at),
            "current_stage": version.stage.value,
            "description": version.description or None,
            "last_updated_timestamp": milliseconds(version.updated_at),
            "name": version.model,
            "run_id": version.run_id,
            "run_link": None,
            "source": location or version.source or "",
            "status": "READY",
            "status_message": None,
            "storage_location": location,
            "user_id": version.created_by,
            "version": version.number,
        }
        _write_meta(folder, meta)
        self._texts(folder / "tags", version.tags)

    def _measured(self, model_id: str, run_id: str, point: MetricPoint) -> str:
        """A line of a logged model's metric; MLflow parts it at the spaces, so a name with a space does not fit."""
        assert point.at is not None
        line = f"{milliseconds(point.at)} {point.number} {point.step} {run_id}"
        dataset = [part for part in (point.dataset_name, point.dataset_digest) if part]
        if any(len(part.split()) != 1 for part in dataset):
            self.problems.append(f"logged-model/{model_id}: the dataset {dataset[0]!r} of its metric {point.key!r}")
        elif len(dataset) == 2:
            line = f"{line} {' '.join(dataset)}"
        return f"{line}\n"

    def _link(
        self, folder: Path, source_id: str, source: str, destination: str, *, tags: dict[str, str], **more: Any
    ) -> None:
        link = {
            "destination_id": source_id,
            "destination_type": destination,
            "source_id": source_id,
            "source_type": source,
            "tags": tags,
            **more,
        }
        _write_meta(folder / _short(source_id, destination) if source != "RUN_OUTPUT" else folder / source_id, link)

    def _texts(self, folder: Path, found: Mapping[str, str]) -> None:
        for key, value in found.items():
            self._text(folder, key, value)

    def _text(self, folder: Path, key: str, value: str) -> None:
        path = folder / key
        try:
            confined(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(value.encode())
        except (OSError, InvalidInput) as error:
            self.problems.append(f"{folder.relative_to(self.root)}, {key!r}: {error}")


def _dataset(experiment: Path, dataset: Dataset) -> str:
    """Write a dataset of an experiment once; returns its id."""
    identity = _short(dataset.name, dataset.digest)
    folder = experiment / "datasets" / identity
    if not folder.exists():
        _write_meta(folder, {name: getattr(dataset, name) for name in Dataset.__struct_fields__})
    return identity


def _short(*parts: str) -> str:
    """An id of 32 hexadecimal digits that is told from what it names."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _write_meta(folder: Path, meta: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)  # a model's own files may have been put there before
    with (folder / META).open("x", encoding="utf-8") as file:
        yaml.safe_dump(dict(meta), file, allow_unicode=True, default_flow_style=False)
