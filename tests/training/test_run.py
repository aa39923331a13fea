"""Training end to end: the example's bundle in a real subprocess, tracked through the real routes."""

import io
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from headrace.errors import EnvironmentMismatch, TooLarge, UserCodeError
from headrace.kernel.work import WorkContext
from headrace.project.bundle import pack_bundle
from headrace.project.environment import capture_environment
from headrace.project.loading import LoadedProject
from headrace.tracking.nouns import Run, RunPage, RunStatus
from headrace.training.executor import Limits, SubprocessExecutor
from headrace.training.messages import TrialStarted
from headrace.training.nouns import TrainingOutcome, TrainingRequest, TrainingSetManifest, TrainingSetRequest
from headrace.training.run import run_training
from headrace.training.tracked_run import TrackedRun
from headrace.training.training_sets import build_training_set

Contexts = Callable[..., WorkContext]

AS_OF = datetime(1997, 5, 1, tzinfo=UTC)


@pytest.fixture
def training_set(contexts: Contexts, example: LoadedProject) -> TrainingSetManifest:
    wanted = TrainingSetRequest(declaration=example.models[0].declaration, as_of=AS_OF)
    return build_training_set(contexts(), wanted)


def request_of(
    context: WorkContext, example: LoadedProject, training_set: TrainingSetManifest, *, trials: int = 0
) -> TrainingRequest:
    declaration = example.models[0].declaration
    search = declaration.policy.search
    assert search is not None
    searched = msgspec.structs.replace(search, trials=trials) if trials else None
    policy = msgspec.structs.replace(declaration.policy, search=searched)
    bundle, packed = pack_bundle(example.file, capture_environment())
    context.blobs.put(packed)
    return TrainingRequest(
        declaration=msgspec.structs.replace(declaration, policy=policy),
        bundle_digest=bundle.digest,
        training_set=training_set,
        params={"max_iter": 10},
        code_commit="0" * 40,
    )


def with_code(context: WorkContext, request: TrainingRequest, body: str) -> TrainingRequest:
    """The request with another training function in the bundle."""
    with zipfile.ZipFile(io.BytesIO(context.blobs.read(request.bundle_digest))) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    code = entries["churn.py"].decode()
    start = code.index("    classifier = HistGradientBoostingClassifier(")
    end = code.index("churn.delivered_by(")
    entries["churn.py"] = f"{code[:start]}{body}\n\n\n{code[end:]}".encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return msgspec.structs.replace(request, bundle_digest=context.blobs.put(buffer.getvalue()).digest)


def run_of(client: TestClient[Litestar], run_id: str) -> Run:
    return msgspec.json.decode(client.get(f"/api/v1/runs/{run_id}").content, type=Run)


def all_runs(client: TestClient[Litestar]) -> tuple[Run, ...]:
    return msgspec.json.decode(client.get("/api/v1/runs").content, type=RunPage).runs


def train(context: WorkContext, request: TrainingRequest, limits: Limits | None = None) -> TrainingOutcome:
    return run_training(context, request, SubprocessExecutor(), limits)


def test_a_training_is_tracked_and_the_same_inputs_are_the_same_model(
    contexts: Contexts, example: LoadedProject, training_set: TrainingSetManifest, client: TestClient[Litestar]
) -> None:
    context = contexts()
    request = request_of(context, example, training_set, trials=2)
    outcome = train(context, request)
    run = run_of(client, outcome.run_id)
    assert run.status is RunStatus.FINISHED
    assert run.tags["headrace.bundle"] == request.bundle_digest
    assert run.tags["headrace.training_set"] == training_set.id
    assert run.tags["mlflow.source.git.commit"] == "0" * 40
    assert run.inputs.datasets[0].dataset.source == f"training-set/{training_set.id}"
    assert run.params == {name: str(value) for name, value in outcome.params.items()}
    assert outcome.params["max_iter"] == 10
    assert run.metrics["holdout_roc_auc"].number == outcome.metrics["holdout_roc_auc"] > 0.65
    trials = [trial for trial in all_runs(client) if trial.tags.get("mlflow.parentRunId") == run.id]
    assert sorted(trial.name for trial in trials) == ["trial-0", "trial-1"]
    assert all(trial.status is RunStatus.FINISHED for trial in trials)
    assert outcome.search_value == max(trial.metrics["roc_auc"].number for trial in trials)
    assert [file.path for file in outcome.files] == [
        "MLmodel",
        "background.json",
        "conda.yaml",
        "model.skops",
        "python_env.yaml",
        "requirements.txt",
    ]
    assert context.blobs.exists(outcome.files[3].digest)
    assert client.get(f"/api/v1/runs/{run.id}/artifacts/training.log").status_code == 200
    again = train(contexts(), request)
    assert again.run_id != outcome.run_id
    assert again.digest == outcome.digest
    assert again.params == outcome.params


def test_a_function_that_raises_is_blamed_with_its_line_and_sees_no_secret(
    contexts: Contexts,
    example: LoadedProject,
    training_set: TrainingSetManifest,
    client: TestClient[Litestar],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = contexts()
    monkeypatch.setenv("HEADRACE_SYSTEM_TOKEN", "very-secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    body = (
        "    import os\n"
        "    print('hello from the user', sum('very-secret' in value for value in os.environ.values()))\n"
        "    raise ValueError(f'{len(data)} rows are too many')"
    )
    request = with_code(context, request_of(context, example, training_set), body)
    with pytest.raises(UserCodeError, match=r"ValueError: \d+ rows are too many") as raised:
        train(context, request)
    assert raised.value.where is not None
    assert raised.value.where.startswith("churn.py:")
    assert "raise ValueError(f'{len(data)} rows are too many')" in raised.value.message
    (run,) = all_runs(client)
    assert run.status is RunStatus.FAILED
    log = client.get(f"/api/v1/runs/{run.id}/artifacts/training.log").text
    assert "hello from the user 0\n" in log
    assert "Traceback" in log


def test_a_process_that_dies_is_said_to_have_died(
    contexts: Contexts, example: LoadedProject, training_set: TrainingSetManifest
) -> None:
    context = contexts()
    body = "    import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)"
    request = with_code(context, request_of(context, example, training_set), body)
    with pytest.raises(UserCodeError, match="killed by signal 9"):
        train(context, request)


def test_a_training_that_takes_too_long_is_ended(
    contexts: Contexts, example: LoadedProject, training_set: TrainingSetManifest, client: TestClient[Litestar]
) -> None:
    context = contexts()
    body = "    import time\n    time.sleep(600)"
    request = with_code(context, request_of(context, example, training_set), body)
    with pytest.raises(TooLarge, match="longer than it may"):
        train(context, request, Limits(wall_time_s=0.5))
    assert [run.status for run in all_runs(client)] == [RunStatus.FAILED]


def test_a_bundle_of_another_environment_is_refused(
    contexts: Contexts, example: LoadedProject, training_set: TrainingSetManifest, client: TestClient[Litestar]
) -> None:
    context = contexts()
    request = request_of(context, example, training_set)
    locked = capture_environment()
    other = msgspec.structs.replace(locked, packages=locked.packages | {"numpy": "1.0"})
    _, packed = pack_bundle(example.file, other)
    request = msgspec.structs.replace(request, bundle_digest=context.blobs.put(packed).digest)
    with pytest.raises(EnvironmentMismatch, match=r"numpy 1\.0 is locked"):
        train(context, request)
    assert all_runs(client) == ()


def test_the_next_attempt_ends_the_runs_of_a_worker_that_was_killed(
    contexts: Contexts,
    example: LoadedProject,
    training_set: TrainingSetManifest,
    client: TestClient[Litestar],
) -> None:
    context = contexts()
    request = request_of(context, example, training_set, trials=1)
    left = TrackedRun(context.control, context.job, request, "sha256:0")
    left.record(TrialStarted(number=0, params={"max_iter": 10}))
    assert {run.status for run in all_runs(client)} == {RunStatus.RUNNING}
    outcome = train(contexts(), request)
    by_status = {run.id: run.status for run in all_runs(client)}
    assert by_status[left.id] is RunStatus.KILLED
    assert sorted(by_status.values()) == ["FINISHED", "FINISHED", "KILLED", "KILLED"]
    assert by_status[outcome.run_id] is RunStatus.FINISHED
