"""A training as tracked runs: one for the training, one nested in it for each trial of the search."""

from collections.abc import Mapping
from pathlib import Path

from headrace.kernel.jobs import Job
from headrace.kernel.work import Control
from headrace.project.search import ParameterValue
from headrace.registry.nouns import ModelFile
from headrace.tracking.nouns import (
    Artifact,
    Batch,
    CreateRun,
    Dataset,
    DatasetInput,
    FinishRun,
    Inputs,
    KillRuns,
    MetricPoint,
    Run,
    RunStatus,
    reading,
)
from headrace.training.messages import FitStarted, Message, TrialFinished, TrialStarted
from headrace.training.nouns import JOB_TAG, MODEL_ARTIFACTS, TrainingRequest, TrainingSetManifest

PARENT_TAG = "mlflow.parentRunId"
"""MLflow's name for the run that a nested one belongs to, so that its clients show the nesting."""
DIGEST_LENGTH = 32
"""MLflow's clients take at most 36 characters as the digest of a dataset."""


class TrackedRun:
    """The run of one training; made when the training begins, so that a failure is recorded too.

    What a former attempt of the job has left running is ended first: its worker has died.

    Args:
        control: where runs are recorded.
        job: the attempt that trains; its runs belong to who asked for it.
        request: what is trained.
        environment_digest: of the environment that it runs in.
    """

    def __init__(self, control: Control, job: Job, request: TrainingRequest, environment_digest: str) -> None:
        self._control = control
        self._job = job
        self._experiment = request.declaration.name
        self._trials: dict[int, str] = {}
        tags = {
            **request.tags,
            "headrace.bundle": request.bundle_digest,
            "headrace.environment": environment_digest,
            "headrace.training_set": request.training_set.id,
            "headrace.training_set_content": request.training_set.content_digest,
        }
        if request.code_commit:
            tags["mlflow.source.git.commit"] = request.code_commit
        left = KillRuns(tag=JOB_TAG, value=job.id)
        control.call("POST", "/api/v1/runs/kill", left, returns=tuple[str, ...])
        self.id = self._create(tags, None)
        self._log_input(request.training_set)

    def record(self, message: Message) -> None:
        """Records what the subprocess told, as far as it belongs into a run."""
        match message:
            case TrialStarted(number=number, params=params):
                self._trials[number] = self._create({PARENT_TAG: self.id}, f"trial-{number}")
                self._log(self._trials[number], Batch(params=params))
            case TrialFinished(number=number, metric=metric, value=value):
                point = MetricPoint(key=metric, value=reading(value))
                self._log(self._trials[number], Batch(metrics=(point,)))
                self._finish(self._trials.pop(number), RunStatus.FINISHED)
                trial = MetricPoint(key=f"search_{metric}", value=reading(value), step=number)
                self._log(self.id, Batch(metrics=(trial,)))
            case FitStarted(params=params):
                self._log(self.id, Batch(params=params))
            case _:
                pass

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Records numbers of the final model."""
        points = tuple(MetricPoint(key=name, value=reading(value)) for name, value in sorted(metrics.items()))
        self._log(self.id, Batch(metrics=points))

    def upload(self, path: str, content: bytes) -> ModelFile:
        """Stores an artifact."""
        stored = self._control.upload(f"/api/v1/runs/{self.id}/artifacts/{path}", content, returns=Artifact)
        return ModelFile(path=path, digest=stored.digest, size_bytes=stored.size_bytes)

    def upload_model(self, directory: Path) -> tuple[ModelFile, ...]:
        """Stores a model directory; the paths of the files are relative to it."""
        files = []
        for file in sorted(path for path in directory.rglob("*") if path.is_file()):
            path = file.relative_to(directory).as_posix()
            stored = self.upload(f"{MODEL_ARTIFACTS}/{path}", file.read_bytes())
            files.append(ModelFile(path=path, digest=stored.digest, size_bytes=stored.size_bytes))
        return tuple(files)

    def finish(self, status: RunStatus, params: Mapping[str, ParameterValue] | None = None) -> None:
        """Ends the run, and the trials that are still open with it."""
        if params:
            self._log(self.id, Batch(params=dict(params)))
        for trial in self._trials.values():
            self._finish(trial, status)
        self._trials.clear()
        self._finish(self.id, status)

    def _create(self, tags: dict[str, str], name: str | None) -> str:
        request = CreateRun(
            experiment=self._experiment, name=name, user=self._job.actor, tags={**tags, JOB_TAG: self._job.id}
        )
        return self._control.call("POST", "/api/v1/runs", request, returns=Run).id

    def _log(self, run_id: str, batch: Batch) -> None:
        self._control.call("POST", f"/api/v1/runs/{run_id}/batch", batch, returns=dict)

    def _finish(self, run_id: str, status: RunStatus) -> None:
        self._control.call("POST", f"/api/v1/runs/{run_id}/finish", FinishRun(status=status), returns=Run)

    def _log_input(self, training_set: TrainingSetManifest) -> None:
        dataset = Dataset(
            name=f"{training_set.model}-{training_set.as_of:%Y-%m-%d}",
            digest=training_set.content_digest.removeprefix("sha256:")[:DIGEST_LENGTH],
            source_type="headrace",
            source=f"training-set/{training_set.id}",
        )
        inputs = Inputs(datasets=(DatasetInput(dataset=dataset, tags={"mlflow.data.context": "training"}),))
        self._control.call("POST", f"/api/v1/runs/{self.id}/inputs", inputs, returns=dict)
