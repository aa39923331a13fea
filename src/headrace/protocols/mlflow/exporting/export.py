"""An export: what this platform has, as a folder that MLflow reads, written whole or not at all."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from headrace.errors import AlreadyExists, NotFound
from headrace.kernel.ids import new_hex
from headrace.protocols.mlflow.exporting.file_store import FileStoreWriter
from headrace.protocols.mlflow.exporting.platform import PlatformReader
from headrace.protocols.mlflow.importing import report as counting
from headrace.protocols.mlflow.importing.file_store import FileStoreSource
from headrace.protocols.mlflow.importing.report import BYTES, FILES, KINDS, POINTS, RUNS, Report
from headrace.protocols.mlflow.importing.source import holder_of
from headrace.registry.imported import ModelHere
from headrace.registry.nouns import ModelFile, Version
from headrace.tracking.imported import SOURCE_ID_TAG, Held, ImportFile, LoggedModelHere, RunHere
from headrace.tracking.nouns import Experiment
from headrace.tracking.paths import confined

Tell = Callable[[str, int], None]


class Export:
    """One export.

    Args:
        reader: of the platform.
        target: the folder to make; it is not there yet, or empty.
        experiment: the name of the only experiment to export, with the versions that came from its runs.
        files: whether files are copied.
        tell: hears how many more of a kind are done.
    """

    def __init__(
        self, reader: PlatformReader, target: Path, *, experiment: str | None = None, files: bool = True, tell: Tell
    ) -> None:
        self._reader = reader
        self._target = target.absolute()
        self._only = experiment
        self._files = files
        self._tell = tell
        self._places: dict[str, tuple[Path, dict[str, str]]] = {}
        self.report = Report(counted=tuple(kind for kind in KINDS if files or kind not in {FILES, BYTES}))

    def run(self) -> Report:
        """Write beside the target first, read it back as MLflow would, and only then move it there.

        Raises:
            AlreadyExists: the target is there and not empty.
            NotFound: there is no such experiment.
        """
        if self._target.exists() and (not self._target.is_dir() or any(self._target.iterdir())):
            raise AlreadyExists("the folder is there and not empty", where=str(self._target), fix="Name a new one.")
        experiments = [each for each in self._reader.experiments() if self._only in {None, each.name}]
        if not experiments:
            raise NotFound(f"there is no experiment named {self._only!r}", where="experiment")
        self._target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._target.with_name(f".{self._target.name}.{new_hex()[:8]}")
        unfinished.mkdir()
        try:
            writer = FileStoreWriter(unfinished, self._target)
            for experiment in experiments:
                self._write_experiment(writer, experiment)
            for model in self._reader.models():
                self._write_model(writer, model)
            self._count_written(unfinished)
            self.report.problems += writer.problems
            unfinished.replace(self._target)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        return self.report

    def _write_experiment(self, writer: FileStoreWriter, experiment: Experiment) -> None:
        folder = writer.experiment(experiment)
        kept = {key for key in experiment.tags if key != SOURCE_ID_TAG}
        self.report.here += counting.of_experiment(experiment)
        self.report.here[counting.TAGS] -= len(experiment.tags) - len(kept)
        for run in self._reader.runs(experiment):
            place = writer.run(folder, run)
            points = sum(writer.history(place, key, self._reader.history(run, key)) for key in run.metrics)
            held = self._copy(f"run/{run.id}", place / "artifacts")
            self.report.here += counting.of_run_here(RunHere(run=run, points=points, held=held))
            self._tell(RUNS, 1)
        for model in self._reader.logged_models(experiment):
            place = writer.logged_model(folder, model)
            held = self._copy(f"logged-model/{model.id}", place / "artifacts")
            self.report.here += counting.of_logged_model_here(LoggedModelHere(model=model, held=held))
            self._tell(counting.LOGGED_MODELS, 1)

    def _write_model(self, writer: FileStoreWriter, found: ModelHere) -> None:
        versions = [each for each in found.versions if self._only is None or f"run/{each.run_id}" in self._places]
        if found.model is None or found.model.name in {".", ".."} or (self._only is not None and not versions):
            return
        locations = {}
        for version in versions:
            if version.files and self._files:
                locations[version.number] = writer.address(self._files_of(writer, version))
        chosen = {version.number for version in versions}
        aliases = tuple(each for each in found.aliases if each.number in chosen)
        writer.model(found, versions, locations)
        counted = ModelHere(model=found.model, versions=tuple(versions), aliases=aliases)
        self.report.here += counting.of_model_here(counted)
        self._tell(counting.MODELS, 1)

    def _files_of(self, writer: FileStoreWriter, version: Version) -> Path:
        """Where a version's files are: where its run or its logged model has them, or in a folder of their own."""
        for folder, listed in self._owners_of(version):
            prefix = f"{version.artifact_prefix}/" if version.artifact_prefix else ""
            for start in {prefix, ""}:
                if all(listed.get(f"{start}{file.path}") == file.digest for file in version.files):
                    return folder / start
        own = writer.root / "models" / version.model / f"files-{version.number}"
        self._write_files(own, version.files)
        return own

    def _owners_of(self, version: Version) -> list[tuple[Path, dict[str, str]]]:
        source = version.source or ""
        model_id = next((part for part in source.replace("models:/", "").split("/") if part.startswith("m-")), None)
        owners = [f"run/{version.run_id}", f"logged-model/{model_id}"]
        return [self._places[owner] for owner in owners if owner in self._places]

    def _copy(self, owner: str, folder: Path) -> Held:
        listed = self._reader.files(owner) if self._files else ()
        self._places[owner] = (folder, {file.path: file.digest for file in listed})
        self._write_files(folder, listed)
        return Held(files=len(listed), size_bytes=sum(file.size_bytes for file in listed))

    def _write_files(self, folder: Path, files: tuple[ImportFile, ...] | tuple[ModelFile, ...]) -> None:
        folder.mkdir(exist_ok=True, parents=True)
        for file in files:
            path = folder / confined(file.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._reader.fetch(file.digest, path)
        self._tell(FILES, len(files))

    def _elsewhere(self, uri: str) -> str:
        """Where files stay that clients wrote themselves; empty for those that the folder holds."""
        return "" if uri.startswith(f"{self._target.as_uri()}/") else uri

    def _count_written(self, folder: Path) -> None:
        """Read what was written, as an import would, and count it."""
        written = FileStoreSource(folder)
        there: Counter[str] = Counter()
        for experiment in written.experiments():
            there += counting.of_experiment(experiment)
            holders = []
            for run in written.runs(experiment):
                there += counting.of_run(run.run, self._elsewhere(run.artifact_uri))
                there[POINTS] += sum(len(series.values) for series in written.series(run))
                holders.append(holder_of(run))
            for model in written.logged_models(experiment):
                there += counting.of_logged_model(model.model, model.metrics, self._elsewhere(model.artifact_uri))
                holders.append(holder_of(model))
            for holder in holders if self._files else ():
                files = [] if self._elsewhere(holder.uri) else written.files(holder)
                there[FILES] += len(files)
                there[BYTES] += sum(file.size_bytes for file in files)
        for found in written.models():
            there += counting.of_model(found.model)
        self.report.there = there
        self.report.problems += written.problems
