"""Tracking's HTTP door."""

from typing import Annotated, Any

import msgspec
from litestar import HttpMethod, Request, get, post, put, route
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response import Stream

from headrace.kernel.access import Role
from headrace.kernel.database import Transactions
from headrace.tracking import artifacts, experiments, history, logged_models, logging, runs, search
from headrace.tracking.files import Files
from headrace.tracking.nouns import (
    Artifact,
    Batch,
    CreateExperiment,
    CreateRun,
    Entry,
    Experiment,
    ExperimentQuery,
    FinishRun,
    Inputs,
    KillRuns,
    LoggedModel,
    LoggedModelQuery,
    MetricPage,
    Run,
    RunPage,
    RunQuery,
    RunStatus,
)
from headrace.tracking.paths import at_the_end_of

PageSize = Annotated[int, QueryParameter(ge=1, le=1_000)]
HistorySize = Annotated[int, QueryParameter(ge=1, le=25_000)]


class ExperimentPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of experiments; `next_cursor` is empty on the last one."""

    experiments: tuple[Experiment, ...]
    next_cursor: str = ""


class LoggedModelPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of logged models."""

    logged_models: tuple[LoggedModel, ...]
    next_cursor: str = ""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to what leaves nothing to tell."""

    stored: bool = True


@post("/api/v1/experiments")
async def create_experiment(
    data: JSONBody[CreateExperiment], transactions: NamedDependency[Transactions]
) -> Experiment:
    """Create an experiment."""
    return await transactions.write(lambda tx: experiments.create(tx, data))


@get("/api/v1/experiments")
async def list_experiments(
    transactions: NamedDependency[Transactions],
    name: FromQuery[str | None] = None,
    cursor: FromQuery[str] = "",
    limit: PageSize = 100,
) -> ExperimentPage:
    """Live experiments, newest first, or the one of a name."""
    if name is not None:
        found = await transactions.read(lambda tx: experiments.get_by_name(tx, name))
        return ExperimentPage(experiments=(found,))
    query = ExperimentQuery(limit=limit, cursor=cursor)
    page, following = await transactions.read(lambda tx: experiments.search(tx, query))
    return ExperimentPage(experiments=page, next_cursor=following)


@post("/api/v1/experiments/search", status_code=200)
async def search_experiments(
    data: JSONBody[ExperimentQuery], transactions: NamedDependency[Transactions]
) -> ExperimentPage:
    """Experiments that match a filter, in any order."""
    page, following = await transactions.read(lambda tx: experiments.search(tx, data))
    return ExperimentPage(experiments=page, next_cursor=following)


@post("/api/v1/logged-models/search", status_code=200)
async def search_logged_models(
    data: JSONBody[LoggedModelQuery], transactions: NamedDependency[Transactions]
) -> LoggedModelPage:
    """Logged models that match a filter, in any order."""
    page, following = await transactions.read(lambda tx: logged_models.search(tx, data))
    return LoggedModelPage(logged_models=page, next_cursor=following)


@post("/api/v1/runs")
async def create_run(data: JSONBody[CreateRun], transactions: NamedDependency[Transactions]) -> Run:
    """Begin a run."""
    return await transactions.write(lambda tx: runs.create(tx, data))


@get("/api/v1/runs")
async def list_runs(
    transactions: NamedDependency[Transactions],
    experiment_id: FromQuery[str | None] = None,
    cursor: FromQuery[str] = "",
    limit: PageSize = 100,
) -> RunPage:
    """Live runs of one experiment or of all, newest first."""
    query = RunQuery(experiment_ids=None if experiment_id is None else (experiment_id,), limit=limit, cursor=cursor)
    return await transactions.read(lambda tx: search.find(tx, query))


@post("/api/v1/runs/search", status_code=200)
async def search_runs(data: JSONBody[RunQuery], transactions: NamedDependency[Transactions]) -> RunPage:
    """Runs that match a filter, in any order, with those of their params, metrics and tags that are selected."""
    return await transactions.read(lambda tx: search.find(tx, data))


@get("/api/v1/runs/{run_id:str}")
async def get_run(run_id: FromPath[str], transactions: NamedDependency[Transactions]) -> Run:
    """A run with what it logged: params, tags, latest metrics, inputs, outputs."""
    return await transactions.read(lambda tx: runs.get(tx, run_id))


@post("/api/v1/runs/{run_id:str}/batch", status_code=200)
async def log_batch(
    run_id: FromPath[str], data: JSONBody[Batch], transactions: NamedDependency[Transactions]
) -> Stored:
    """Log points, params and tags, all or nothing; safe to repeat when each point tells its time."""
    await transactions.write(lambda tx: logging.log_batch(tx, run_id, data))
    return Stored()


@post("/api/v1/runs/{run_id:str}/inputs", status_code=200)
async def log_inputs(
    run_id: FromPath[str], data: JSONBody[Inputs], transactions: NamedDependency[Transactions]
) -> Stored:
    """Record what a run read; safe to repeat."""
    await transactions.write(lambda tx: logging.log_inputs(tx, run_id, data))
    return Stored()


@post("/api/v1/runs/{run_id:str}/finish", status_code=200)
async def finish_run(
    run_id: FromPath[str], data: JSONBody[FinishRun], transactions: NamedDependency[Transactions]
) -> Run:
    """End a run."""
    return await transactions.write(lambda tx: runs.finish(tx, run_id, data))


@post("/api/v1/runs/{run_id:str}/resume", status_code=200)
async def resume_run(run_id: FromPath[str], transactions: NamedDependency[Transactions]) -> Run:
    """Go on with a run that has ended, or whose process has died."""
    return await transactions.write(lambda tx: runs.update(tx, run_id, status=RunStatus.RUNNING))


@post("/api/v1/runs/kill", status_code=200)
async def kill_runs(data: JSONBody[KillRuns], transactions: NamedDependency[Transactions]) -> tuple[str, ...]:
    """End the runs of a tag whose process has died; the answer is their ids."""
    return await transactions.write(lambda tx: runs.kill(tx, data))


@get("/api/v1/runs/{run_id:str}/metrics/{key:path}", operation_id="get_metric_history")
async def metric_history(
    run_id: FromPath[str],
    key: FromPath[str],
    transactions: NamedDependency[Transactions],
    cursor: FromQuery[str] = "",
    limit: HistorySize = 25_000,
) -> MetricPage:
    """The points of one metric by step, time and value."""
    name = key.removeprefix("/")
    return await transactions.read(lambda tx: history.page(tx, run_id, name, limit=limit, cursor=cursor))


@get("/api/v1/runs/{run_id:str}/artifacts")
async def list_artifacts(
    run_id: FromPath[str], files: NamedDependency[Files], folder: FromQuery[str] = ""
) -> tuple[Entry, ...]:
    """The files and folders directly in a folder of a run."""
    return await files.listing(artifacts.run_owner(run_id), folder)


@put("/api/v1/runs/{run_id:str}/artifacts/{path:path}", media_type="application/json", request_max_body_size=None)
async def put_artifact(
    run_id: FromPath[str], path: FromPath[str], request: Request[Any, Any, Any], files: NamedDependency[Files]
) -> Artifact:
    """Store the body as a file of a run."""
    return await files.store(request, artifacts.run_owner(run_id), at_the_end_of(request.scope["raw_path"], path))


@route("/api/v1/runs/{run_id:str}/artifacts/{path:path}", http_method=[HttpMethod.GET, HttpMethod.HEAD])
async def get_artifact(
    run_id: FromPath[str], path: FromPath[str], request: Request[Any, Any, Any], files: NamedDependency[Files]
) -> Stream:
    """A file of a run, or a range of its bytes."""
    return await files.send(request, artifacts.run_owner(run_id), at_the_end_of(request.scope["raw_path"], path))


HANDLERS = [
    create_experiment,
    list_experiments,
    search_experiments,
    search_logged_models,
    create_run,
    list_runs,
    search_runs,
    get_run,
    log_batch,
    log_inputs,
    finish_run,
    resume_run,
    kill_runs,
    metric_history,
    list_artifacts,
    put_artifact,
    get_artifact,
]

AUTHORIZATION = {
    "POST /api/v1/experiments": Role.DEVELOPER,
    "GET /api/v1/experiments": Role.VIEWER,
    "POST /api/v1/experiments/search": Role.VIEWER,
    "POST /api/v1/logged-models/search": Role.VIEWER,
    "POST /api/v1/runs": Role.DEVELOPER,
    "GET /api/v1/runs": Role.VIEWER,
    "POST /api/v1/runs/search": Role.VIEWER,
    "GET /api/v1/runs/{run_id}": Role.VIEWER,
    "POST /api/v1/runs/{run_id}/batch": Role.DEVELOPER,
    "POST /api/v1/runs/{run_id}/inputs": Role.DEVELOPER,
    "POST /api/v1/runs/{run_id}/finish": Role.DEVELOPER,
    "POST /api/v1/runs/{run_id}/resume": Role.DEVELOPER,
    "POST /api/v1/runs/kill": Role.DEVELOPER,
    "GET /api/v1/runs/{run_id}/metrics/{key}": Role.VIEWER,
    "GET /api/v1/runs/{run_id}/artifacts": Role.VIEWER,
    "PUT /api/v1/runs/{run_id}/artifacts/{path}": Role.DEVELOPER,
    "GET /api/v1/runs/{run_id}/artifacts/{path}": Role.VIEWER,
}
