"""Training on a worker: the bundle in a subprocess, everything it does as a tracked run, the model as artifacts."""

import os
from pathlib import Path

import msgspec

from headrace.errors import HeadraceError, InternalError, TooLarge, UserCodeError, every_error
from headrace.kernel.blobs import fetch
from headrace.kernel.work import WorkContext
from headrace.project.bundle import unpack_bundle
from headrace.project.environment import capture_environment
from headrace.registry.nouns import directory_digest
from headrace.tracking.nouns import RunStatus
from headrace.training.environment import require_same
from headrace.training.executor import Ending, Execution, Executor, Limits, Task, bare_environment
from headrace.training.messages import Assignment, Failed, Finished, FitStarted, Message, TrialFinished
from headrace.training.nouns import TrainingOutcome, TrainingRequest
from headrace.training.tracked_run import TrackedRun

PROCESS_MODULE = "headrace.training.process"
POLL_S = 0.2
LOG_BYTES = 1_000_000
"""How much of the end of the log is kept."""
THREADS = 1
"""Threads of numerical libraries; fixed, because sums of floats depend on their number. OpenMP's threads spin while
they wait for each other: on two busy cores, two threads were seen to take a hundred times as long as one."""


def run_training(
    context: WorkContext, request: TrainingRequest, executor: Executor, limits: Limits | None = None
) -> TrainingOutcome:
    """Trains a model and stores it as artifacts of a run.

    Args:
        context: of the job.
        request: what to train.
        executor: where users' code runs.
        limits: of the subprocess; default `Limits()`.

    Raises:
        EnvironmentMismatch: the bundle was locked to other packages.
        UserCodeError: the user's function raised, or its process died.
        PolicyRefused: the model holds types that nobody has reviewed.
    """
    folder = context.directory / "training"
    assignment = _prepare(context, request, folder)
    environment = capture_environment()
    run = TrackedRun(context.control, context.job, request, environment.digest)
    try:
        execution = executor.start(_task(folder, assignment, limits or Limits()))
        try:
            finished, ending = _follow(context, run, request, execution)
        finally:
            execution.kill()
            run.upload("training.log", execution.log(LOG_BYTES))
        files = run.upload_model(Path(assignment.model_directory))
        run.log_metrics(finished.metrics)
        run.finish(RunStatus.FINISHED)
    except BaseException:
        run.finish(RunStatus.FAILED)
        raise
    return TrainingOutcome(
        run_id=run.id,
        files=files,
        digest=directory_digest(files),
        signature=finished.signature,
        params=finished.params,
        metrics=finished.metrics,
        trials=finished.trials,
        search_value=finished.search_value,
        environment_digest=environment.digest,
        peak_memory_bytes=ending.peak_memory_bytes,
    )


def _prepare(context: WorkContext, request: TrainingRequest, folder: Path) -> Assignment:
    code = folder / "code"
    code.mkdir(parents=True)
    contents = unpack_bundle(context.blobs.read(request.bundle_digest), code)
    require_same(contents.environment, capture_environment())
    rows = folder / "training-set.parquet"
    fetch(context.blobs, request.training_set.data_digest, rows)
    assignment = Assignment(
        declaration=request.declaration,
        project_file=str((code / contents.project_file).absolute()),
        training_set=str(rows.absolute()),
        entity_key=request.training_set.entity_key,
        features=request.training_set.features,
        label=request.training_set.label,
        params=request.params,
        model_directory=str((folder / "model").absolute()),
        parent=os.getpid(),
    )
    (folder / "assignment.json").write_bytes(msgspec.json.encode(assignment))
    return assignment


def _task(folder: Path, assignment: Assignment, limits: Limits) -> Task:
    scratch = folder / "scratch"
    scratch.mkdir()
    fixed = {
        "PYTHONHASHSEED": "0",
        "OMP_WAIT_POLICY": "PASSIVE",
        **{f"{library}_NUM_THREADS": str(THREADS) for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")},
    }
    return Task(
        module=PROCESS_MODULE,
        arguments=(str((folder / "assignment.json").absolute()),),
        directory=Path(assignment.project_file).parent,
        output=folder,
        environment={**bare_environment(scratch), **fixed},
        limits=limits,
    )


def _follow(
    context: WorkContext, run: TrackedRun, request: TrainingRequest, execution: Execution
) -> tuple[Finished, Ending]:
    """Records messages until the subprocess ends, and says how it ended."""
    search = request.declaration.policy.search
    steps = (search.trials if search else 0) + 1
    done = 0
    last: Message | None = None
    ending: Ending | None = None
    while ending is None:
        ending = execution.wait(POLL_S)
        for line in execution.messages():
            last = _message(line)
            run.record(last)
            done += isinstance(last, TrialFinished)
            note = "the final fit" if isinstance(last, FitStarted) else f"trial {done} of {steps - 1}"
            context.progress(done / steps, note)
        context.progress(done / steps)
    if isinstance(last, Finished):
        return last, ending
    if isinstance(last, Failed):
        raise _as_told(last)
    raise _as_ended(ending)


def _message(line: bytes) -> Message:
    try:
        message: Message = msgspec.json.decode(line, type=Message)
    except msgspec.MsgspecError as error:
        raise InternalError("the training process wrote something that is no message") from error
    return message


def _as_told(failed: Failed) -> HeadraceError:
    kind = every_error().get(failed.code, InternalError)
    return kind(failed.message, where=failed.where, fix=failed.fix)


def _as_ended(ending: Ending) -> HeadraceError:
    if ending.reason == "memory":
        return TooLarge(
            f"the training needed more memory than it may have ({ending.peak_memory_bytes / 1e6:.0f} MB seen)",
            fix="Train on fewer rows, or give the worker a higher limit.",
        )
    if ending.reason == "time":
        return TooLarge("the training took longer than it may", fix="Try fewer trials, or raise the limit.")
    how = f"was killed by signal {-ending.exit_code}" if ending.exit_code < 0 else f"ended with {ending.exit_code}"
    return UserCodeError(
        f"the training process {how} before it had a model",
        fix="See the run's artifact training.log; a kill without a word is most often missing memory.",
    )
