from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tests.delivery.conftest import declaration, declare

from headrace.delivery import pipelines, releases, retraining, tables
from headrace.delivery.kinds import TRAIN
from headrace.delivery.machine import Phase
from headrace.delivery.nouns import (
    OpenRelease,
    Pipeline,
    PipelineStatus,
    ReportStage,
    Train,
    TrainRequest,
    TrainResult,
)
from headrace.delivery.settling import HANDLINGS
from headrace.errors import Conflict, LabelsNotMature, NotFound
from headrace.kernel import business_time, events, jobs
from headrace.kernel.database import Tx
from headrace.kernel.jobs import Job
from headrace.kernel.sqlite import SqliteDatabase
from headrace.registry import evidence, models, versions
from headrace.registry.nouns import Evidence, ModelFile, RegisterVersion, Verdict
from headrace.tracking import runs
from headrace.tracking.nouns import CreateRun, RunStatus
from headrace.training.nouns import JOB_TAG

(HANDLING,) = [handling for handling in HANDLINGS if handling.kind is TRAIN]


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def shop(churn: SqliteDatabase) -> SqliteDatabase:
    """The declared model at 1997-08-01."""
    churn.write(lambda tx: business_time.move(tx, day("1997-08-01")), actor="ana")
    return churn


def train(database: SqliteDatabase, **asked: object) -> Pipeline:
    request = msgspec.convert({"model": "churn", **asked}, Train)
    return database.write(lambda tx: pipelines.train(tx, request), actor="dana")


def claim(database: SqliteDatabase) -> Job | None:
    return database.write(lambda tx: jobs.claim(tx, "w1", [TRAIN.name]), actor="system")


def claimed(database: SqliteDatabase) -> Job:
    job = claim(database)
    assert job is not None
    return job


def check(verdict: Verdict) -> Evidence:
    return Evidence(model="churn", number=0, kind="check", name="schema", verdict=verdict, summary="as declared")


def result(run_id: str = "run9") -> TrainResult:
    return TrainResult(
        training_set_id="ts_1",
        run_id=run_id,
        checks=(check(Verdict.PASS),),
        register=RegisterVersion(
            model="churn",
            run_id=run_id,
            artifact_prefix="model",
            training_set_id="ts_1",
            files=(ModelFile(path="MLmodel", digest="sha256:" + "d" * 64, size_bytes=1),),
        ),
    )


def settle(database: SqliteDatabase, job: Job, outcome: TrainResult) -> None:
    encoded = msgspec.to_builtins(outcome)
    database.write(lambda tx: jobs.settle(tx, HANDLING, job.id, job.lease or "", encoded), actor="system")


def read(database: SqliteDatabase, pipeline: Pipeline) -> Pipeline:
    return database.read(lambda tx: pipelines.get(tx, pipeline.id))


def test_labels_that_are_not_mature_are_refused_and_nothing_begins(shop: SqliteDatabase) -> None:
    head = shop.read(events.head)
    with pytest.raises(LabelsNotMature):
        train(shop, as_of=day("1997-06-01"))
    assert shop.read(events.head) == head
    assert claim(shop) is None


def test_a_pipeline_carries_all_that_a_worker_needs(shop: SqliteDatabase) -> None:
    pipeline = train(shop, params={"depth": 3})
    assert (pipeline.as_of, pipeline.cohort, pipeline.trigger) == (day("1997-05-01"), None, "manual")
    request = msgspec.json.decode(claimed(shop).payload, type=TrainRequest)
    assert request.pipeline_id == pipeline.id
    assert request.declaration == declaration()
    assert request.params == {"depth": 3}
    assert [(use.view, use.columns) for use in request.feature_views] == [("activity", ("count_90d",))]


def test_settling_registers_with_its_evidence_and_opens_the_release(shop: SqliteDatabase) -> None:
    pipeline = train(shop)
    settle(shop, claimed(shop), result())
    ended = read(shop, pipeline)
    assert (ended.status, ended.number, ended.run_id) == (PipelineStatus.SUCCEEDED, 3, "run9")
    version = shop.read(lambda tx: versions.get(tx, "churn", 3))
    assert (version.author, version.training_set_id) == ("dana", "ts_1")
    (found,) = shop.read(lambda tx: evidence.of_version(tx, "churn", 3))
    assert (found.kind, found.number) == ("check", 3)
    release = shop.read(lambda tx: releases.get(tx, ended.release_id or ""))
    assert (release.phase, release.pipeline_id, release.opened_by) == (Phase.GATING, pipeline.id, "dana")


def test_without_a_release_the_version_waits_and_keeps_its_cohort(shop: SqliteDatabase) -> None:
    shop.write(lambda tx: business_time.move(tx, day("1998-03-01")), actor="ana")
    pipeline = train(shop, as_of=day("1997-09-01"), release=False)
    settle(shop, claimed(shop), result())
    assert read(shop, pipeline).release_id is None
    release = shop.write(lambda tx: releases.open_release(tx, OpenRelease(model="churn", number=3)), actor="dana")
    assert (release.cohort, release.pipeline_id) == (day("1997-12-01"), pipeline.id)


def test_a_version_of_a_model_that_is_being_released_is_registered_and_waits(shop: SqliteDatabase) -> None:
    shop.write(lambda tx: releases.open_release(tx, OpenRelease(model="churn", number=1)), actor="cy")
    pipeline = train(shop)
    settle(shop, claimed(shop), result())
    ended = read(shop, pipeline)
    assert (ended.status, ended.number, ended.release_id) == (PipelineStatus.SUCCEEDED, 3, None)
    assert "is open" in ended.note


def test_a_check_that_does_not_pass_registers_nothing(shop: SqliteDatabase) -> None:
    pipeline = train(shop)
    blocked = TrainResult(training_set_id="ts_1", checks=(check(Verdict.WORSE),), note="count_90d is missing")
    settle(shop, claimed(shop), blocked)
    ended = read(shop, pipeline)
    assert (ended.status, ended.number, ended.note) == (PipelineStatus.BLOCKED, None, "count_90d is missing")
    assert len(ended.checks) == 1
    assert shop.read(lambda tx: models.get(tx, "churn")).latest_number == 2


def test_a_job_that_failed_for_good_ends_the_runs_that_its_workers_left(shop: SqliteDatabase) -> None:
    train(shop)
    job = claimed(shop)
    tags = [{JOB_TAG: job.id}, {JOB_TAG: "job_of_another"}]
    left, other = shop.write(lambda tx: [runs.create(tx, CreateRun(tags=each)).id for each in tags], actor="system")
    shop.write(lambda tx: jobs.fail(tx, HANDLING, job.id, job.lease or "", "it died", retry=False), actor="system")
    assert shop.read(lambda tx: runs.get(tx, left)).status is RunStatus.KILLED
    assert shop.read(lambda tx: runs.get(tx, other)).status is RunStatus.RUNNING


def test_a_job_that_failed_for_good_ends_the_pipeline(shop: SqliteDatabase) -> None:
    pipeline = train(shop)
    job = claimed(shop)
    shop.write(
        lambda tx: jobs.fail(tx, HANDLING, job.id, job.lease or "", "USER_CODE_ERROR: no", retry=False),
        actor="system",
    )
    assert (read(shop, pipeline).status, read(shop, pipeline).note) == (
        PipelineStatus.FAILED,
        "USER_CODE_ERROR: no",
    )


def report(database: SqliteDatabase, pipeline: Pipeline, name: str, status: str, attempt: int = 1) -> Pipeline:
    word = ReportStage(name=name, status=status, attempt=attempt)
    return database.write(lambda tx: pipelines.report_stage(tx, pipeline.id, word), actor="system")


def test_stages_are_followed_without_events_and_begin_anew_with_an_attempt(
    shop: SqliteDatabase, clock: object
) -> None:
    pipeline = train(shop)
    claimed(shop)
    head = shop.read(events.head)
    report(shop, pipeline, "labels", "running")
    report(shop, pipeline, "labels", "done")
    running = report(shop, pipeline, "training", "running")
    assert [(stage.name, stage.status) for stage in running.stages] == [("labels", "done"), ("training", "running")]
    assert running.status is PipelineStatus.RUNNING
    assert shop.read(events.head) == head
    shop.write(lambda tx: jobs.abandon(tx, "w1"), actor="system")
    claimed(shop)
    assert report(shop, pipeline, "training", "done", attempt=1) == running
    again = report(shop, pipeline, "labels", "running", attempt=2)
    assert [(stage.name, stage.status) for stage in again.stages] == [("labels", "running")]


def test_a_model_without_a_project_cannot_be_trained(shop: SqliteDatabase) -> None:
    shop.write(lambda tx: models.create(tx, "other"), actor="ana")
    with pytest.raises(Conflict, match="no project declares"):
        train(shop, model="other")
    with pytest.raises(NotFound):
        train(shop, model="unknown")


# -- retraining ---------------------------------------------------------------------------------------------


def alarm(database: SqliteDatabase, window_end: str, monitor: str = "drift") -> None:
    def work(tx: Tx) -> None:
        payload = {
            "alert_id": "a1",
            "model": "churn",
            "monitor": monitor,
            "window_start": day("1997-08-01"),
            "window_end": day(window_end),
            "summary": "count_90d moved",
        }
        event = events.append(tx, "monitoring.alert_opened", "alert/a1", payload)
        retraining.on_alert_opened(tx, event)

    database.write(work, actor="worker")


def all_pipelines(database: SqliteDatabase) -> tuple[Pipeline, ...]:
    return database.read(lambda tx: pipelines.search(tx, model="churn"))


def move_to(database: SqliteDatabase, moment: str) -> None:
    database.write(lambda tx: business_time.move(tx, day(moment)), actor="ana")


def test_an_alarm_begins_one_retraining_that_waits_for_labels(shop: SqliteDatabase) -> None:
    move_to(shop, "1997-09-01")
    alarm(shop, "1997-09-01")
    (pipeline,) = all_pipelines(shop)
    assert (pipeline.trigger, pipeline.status, pipeline.release) == ("drift", PipelineStatus.WAITING, True)
    assert (pipeline.as_of, pipeline.cohort) == (day("1997-09-01"), day("1997-12-01"))
    alarm(shop, "1997-10-01")
    assert len(all_pipelines(shop)) == 1
    move_to(shop, "1998-02-28")
    assert claim(shop) is None
    move_to(shop, "1998-03-01")
    settle(shop, claimed(shop), result())
    ended = read(shop, pipeline)
    release = shop.read(lambda tx: releases.get(tx, ended.release_id or ""))
    assert release.cohort == day("1997-12-01")
    version = shop.read(lambda tx: versions.get(tx, "churn", 3))
    assert version.author == "ana"  # whose code it is: an alarm answers for nothing


def test_the_cooldown_counts_in_business_time(shop: SqliteDatabase) -> None:
    move_to(shop, "1997-09-01")
    alarm(shop, "1997-09-01")
    move_to(shop, "1998-03-01")
    settle(shop, claimed(shop), result())
    alarm(shop, "1998-03-01")
    assert len(all_pipelines(shop)) == 2
    skipped = shop.read(lambda tx: events.after(tx, 0, types=["delivery.retraining_skipped"]))
    assert skipped == []


def test_an_alarm_within_the_cooldown_says_why_it_began_nothing(shop: SqliteDatabase) -> None:
    declare(shop, declaration(retrain=declaration().policy.retrain))
    move_to(shop, "1997-09-01")
    alarm(shop, "1997-09-01")
    (pipeline,) = all_pipelines(shop)
    given_up = msgspec.structs.replace(pipeline, status=PipelineStatus.FAILED)
    shop.write(lambda tx: tables.put_pipeline(tx, given_up), actor="system")
    move_to(shop, "1997-10-01")
    alarm(shop, "1997-10-01")
    assert len(all_pipelines(shop)) == 1
    (skipped,) = shop.read(lambda tx: events.after(tx, 0, types=["delivery.retraining_skipped"]))
    assert "cooldown" in skipped.payload["because"]
    shop.write(lambda tx: business_time.move(tx, day("1997-09-01") + timedelta(days=40)), actor="ana")
    alarm(shop, "1997-10-01")
    assert len(all_pipelines(shop)) == 2


def test_alarms_that_the_policy_does_not_name_begin_nothing(shop: SqliteDatabase) -> None:
    alarm(shop, "1997-09-01", monitor="quality")
    declare(shop, declaration(retrain=None))
    alarm(shop, "1997-09-01")
    assert all_pipelines(shop) == ()
