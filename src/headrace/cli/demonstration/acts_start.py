"""The first acts: people get tokens, the project is applied, and a first version is trained."""

from pathlib import Path

import pyarrow.parquet as pq

from headrace.cli.demonstration.receiver import Receiver
from headrace.cli.demonstration.shop import person
from headrace.cli.demonstration.stage import Stage
from headrace.cli.demonstration.world import MODEL, World, date
from headrace.cli.project import follow, show_plan
from headrace.delivery.nouns import Pipeline, PipelineStatus
from headrace.errors import LabelsNotMature
from headrace.registry.nouns import Version
from headrace.sdk.platform import Platform
from headrace.server.launch import Launched

AUGUST = date(1997, 8)


def people(
    stage: Stage, local: Platform, platform: Launched, project: Path, commit: str | None, receiver: Receiver
) -> World:
    """Dana writes models, Ravi is the second pair of eyes."""
    with stage.act("Two people"):
        dana = person(local, platform.home, "dana", ["developer", "approver"])
        ravi = person(local, platform.home, "ravi", ["approver"])
        roles = {principal.name: set(principal.roles) for principal in local.access.list()}
        stage.confirm(
            "dana may develop and approve, ravi may approve; their tokens are stored as hashes",
            holds=roles["dana"] == {"developer", "approver"} and roles["ravi"] == {"approver"},
        )
    table = pq.read_table(project / "data" / "cdnow.parquet", columns=["customer_id"])
    customers = sorted(set(table.column("customer_id").to_pylist()))
    return World(
        local=local,
        dana=dana,
        ravi=ravi,
        platform=platform,
        project=project,
        commit=commit,
        receiver=receiver,
        customers=customers,
    )


def apply(stage: Stage, world: World) -> None:
    """The project becomes known, and its features are computed as of the business clock."""
    with stage.act("Apply the project", f"{AUGUST:%Y-%m-%d}"):
        world.local.move_clock(AUGUST)
        packed, plan = world.dana.plan(world.project)
        show_plan(stage.screen, plan)
        world.dana.apply(packed, plan)
        _, again = world.dana.plan(world.project)
        stage.confirm(
            "applied in one transaction; a second plan finds nothing to change",
            holds=all(change.action == "unchanged" for change in again.changes),
        )
        with stage.bar("purchases → lake → online store", None):
            world.local.settle()
        catalog = world.local.features()
        (source,), (view,) = catalog.sources, catalog.views
        stage.confirm(
            f"{source.rows:,} purchases up to {AUGUST:%Y-%m-%d} are in the lake and {view.view} is online",
            holds=source.rows > 0 and view.materialized_through == AUGUST,
        )


def train(stage: Stage, world: World) -> None:
    """An immature training set is refused; a mature one becomes version 1."""
    with stage.act("Train", f"{AUGUST:%Y-%m-%d}"):
        try:
            world.dana.train(MODEL, as_of=date(1997, 6))
        except LabelsNotMature as refusal:
            stage.confirm(f"labels as of 1997-06-01 are refused: {refusal.message}", holds=True)
        else:
            stage.confirm("labels as of 1997-06-01 are refused", holds=False)
        pipeline = world.dana.train(MODEL, as_of=date(1997, 5), release=False)
        world.dana.wait_for(
            lambda: world.dana.pipeline(pipeline.id), lambda now: now.status is PipelineStatus.RUNNING, "a worker"
        )
        world.platform.kill("worker-1")
        stage.say("kill -9 of the worker in the middle of it; the supervisor starts another, and the job goes on")
        ended = follow(stage.screen, world.dana, pipeline)
        confirm_training(stage, world, ended)


def confirm_training(stage: Stage, world: World, pipeline: Pipeline) -> None:
    """Read back what a pipeline left: the version, its data, its runs."""
    stage.confirm(f"the pipeline ended: {pipeline.status} {pipeline.note}", holds=pipeline.number is not None)
    version = world.dana.version(MODEL, pipeline.number or 0)
    auc = version.metrics["roc_auc"]
    low, high = auc.low or 0.0, auc.high or 1.0
    stage.confirm(
        f"{MODEL}@{version.number} is registered: AUC {auc.value:.3f} [{low:.3f}, {high:.3f}] on the hold-out",
        holds=low < auc.value < high,
    )
    stage.confirm(
        f"it names its data ({version.training_set_id}), code {(version.code_commit or '')[:12]}, "
        f"packages {(version.environment_digest or '')[7:19]}, signature and reference profile",
        holds=bool(version.training_set_id and version.environment_digest and version.signature and version.profile)
        and (world.commit is None or (version.code_commit or "").startswith(world.commit)),
    )
    data = world.dana.training_set(version.training_set_id or "")
    pinned = ", ".join(f"{lake.table} version {lake.version}" for lake in data.lake_versions)
    stage.confirm(
        f"its training set: {data.rows:,} customers as of {data.as_of:%Y-%m-%d}, {data.holdout_rows:,} held out, "
        f"pinned to {pinned}, content {data.content_digest[7:19]}",
        holds=data.as_of == pipeline.as_of and bool(pinned) and 0 < data.holdout_rows < data.rows,
    )
    _confirm_runs(stage, world, version)


def _confirm_runs(stage: Stage, world: World, version: Version) -> None:
    """Every trial and the final fit are runs that say what they did."""
    run_id = version.run_id or ""
    runs = world.dana.runs.search(limit=100)
    mine = [run for run in runs if run.id == run_id or run.tags.get("mlflow.parentRunId") == run_id]
    stage.confirm(
        f"{len(mine)} runs of it are tracked, with params and metrics",
        holds=len(mine) > 1 and all(run.params and run.metrics for run in mine),
    )
    final = world.dana.runs.get(run_id)
    files = {entry.path for entry in world.dana.runs.artifacts(run_id)}
    stage.confirm(
        f"the final one holds {', '.join(sorted(files))}, its data set and its commit",
        holds="model" in files
        and bool(final.inputs.datasets)
        and (world.commit is None or final.tags.get("mlflow.source.git.commit", "").startswith(world.commit)),
    )
