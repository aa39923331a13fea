"""What a version takes from its run: at its registration, when files were read, and once the run has ended."""

from datetime import UTC, datetime

import msgspec
import pytest

from headrace.errors import InvalidInput
from headrace.kernel import environments, events, jobs, lineage, lineage_walks, pins, subscriptions
from headrace.kernel.blobs import Blob, BlobStore, open_blob_store
from headrace.kernel.database import Database, Tx
from headrace.kernel.environments import environment_of
from headrace.kernel.jobs import Job
from headrace.registry import models, register, removal, search, versions
from headrace.registry.jobs import HANDLINGS, READ_FILES, SUBSCRIBERS, FilesRead, ReadFiles
from headrace.registry.nouns import Estimate, ModelFile, RegisterVersion, RegistryQuery, Version
from headrace.tracking import artifacts, logging, runs
from headrace.tracking.nouns import (
    Batch,
    CreateRun,
    Dataset,
    DatasetInput,
    FinishRun,
    Inputs,
    MetricPoint,
    Run,
)

pytestmark = pytest.mark.both_databases

COMMIT = "3ac41f" + "0" * 34
FILES = tuple(
    ModelFile(path=path, digest="sha256:" + digit * 64, size_bytes=3)
    for path, digit in (("MLmodel", "a"), ("requirements.txt", "b"), ("code/requirements.txt", "c"))
)
NEEDS = environment_of("", {"numpy": "2.1.0"})
RAN_IN = environment_of("3.11.7", {"numpy": "2.1.0", "pytest": "9.0"})


@pytest.fixture
def blobs(tmp_path: object) -> BlobStore:
    return open_blob_store(tmp_path)  # type: ignore[arg-type]


def begin(tx: Tx, **tags: str) -> Run:
    run = runs.create(tx, CreateRun(experiment="churn", tags=tags))
    points = (
        MetricPoint(key="auc", value=0.8),
        MetricPoint(key="loss", value="NaN"),
        MetricPoint(key="system/cpu_utilization_percentage", value=93.0),
    )
    logging.log_batch(tx, run.id, Batch(metrics=points, params={"depth": 3}))
    dataset = Dataset(name="purchases", digest="1f", source_type="local", source="{}")
    read = DatasetInput(dataset=dataset, tags={"mlflow.data.context": "training"})
    logging.log_inputs(tx, run.id, Inputs(datasets=(read,)))
    return runs.get(tx, run.id)


def registered(tx: Tx, run_id: str, **fields: object) -> Version:
    models.ensure(tx, "churn")
    asked = RegisterVersion(model="churn", run_id=run_id, files=FILES, **fields)  # type: ignore[arg-type]
    return register.register_version(tx, asked)


def asked_for(database: Database) -> list[Job]:
    found = database.read(jobs.recent)
    return [job for job in found if job.kind == READ_FILES.name][::-1]


def payload(job: Job) -> ReadFiles:
    return msgspec.json.decode(job.payload, type=ReadFiles)


def settle(database: Database, job: Job, result: FilesRead) -> None:
    database.write(lambda tx: HANDLINGS[0].settle(tx, job, result), actor="ana")


def hear(database: Database) -> None:
    """Tell the registry of the runs that have ended."""
    database.write(lambda tx: subscriptions.advance(tx, SUBSCRIBERS[0]), actor="system")


def test_what_is_not_given_is_taken_from_the_run(database: Database, blobs: BlobStore) -> None:
    def work(tx: Tx) -> Version:
        tags = {"mlflow.source.git.commit": COMMIT, "headrace.git.dirty": "true"}
        run = begin(tx, **tags)
        artifacts.record(tx, f"run/{run.id}", "headrace/changes.diff", diff, blobs)
        return registered(tx, run.id)

    diff = blobs.put(b"--- a\n+++ b\n")
    version = database.write(work, actor="ana")
    assert (version.params, version.metrics) == ({"depth": "3"}, {"auc": Estimate(value=0.8)})
    assert (version.code_commit, version.code_dirty, version.code_diff) == (COMMIT, True, diff.digest)
    (use,) = version.data
    assert (use.subject, use.digest, use.context) == ("dataset/purchases@1f", "1f", "training")
    assert (version.owner, version.environment_digest, version.bundle_digest) == ("ana", None, None)
    assert database.read(lambda tx: versions.get(tx, "churn", 1)) == version
    held = database.read(lambda tx: pins.pins_on(tx, f"blob/{diff.digest}"))
    assert [pin.holder for pin in held] == ["version/churn/1"]


def test_what_is_given_stays(database: Database) -> None:
    given = {
        "params": {"depth": 9},
        "metrics": {"auc": Estimate(value=0.7, low=0.6, high=0.8)},
        "code_commit": "f" * 40,
        "owner": "team growth",
    }

    def work(tx: Tx) -> str:
        run = begin(tx, **{"mlflow.source.git.commit": COMMIT, "headrace.git.dirty": "false"})
        registered(tx, run.id, **given)
        runs.finish(tx, run.id, FinishRun())
        return run.id

    database.write(lambda tx: subscriptions.enroll(tx, SUBSCRIBERS), actor="system")
    database.write(work, actor="ana")
    hear(database)
    version = database.read(lambda tx: versions.get(tx, "churn", 1))
    assert {name: getattr(version, name) for name in given} == given
    assert version.code_dirty is False
    assert [use.subject for use in version.data] == ["dataset/purchases@1f"]


@pytest.mark.parametrize("commit", ["", "main", "3ac41", "x" * 40, "a" * 200])
def test_a_tag_that_is_no_commit_is_none(database: Database, commit: str) -> None:
    def work(tx: Tx) -> Version:
        return registered(tx, begin(tx, **{"mlflow.source.git.commit": commit}).id)

    assert database.write(work, actor="ana").code_commit is None


def test_tags_of_ours_count_where_what_they_name_is_known(database: Database) -> None:
    claims = {"headrace.bundle": "sha256:b", "headrace.environment": RAN_IN.digest, "headrace.training_set": "ts_1"}

    def work(tx: Tx) -> tuple[Version, Version]:
        false = registered(tx, begin(tx, **claims).id)
        lineage.enter(tx, "bundle/sha256:b")
        environments.keep(tx, RAN_IN)
        lineage.enter(tx, "training-set/ts_1", {"content_digest": "sha256:t", "tables": ["sources/purchases@3"]})
        return false, registered(tx, begin(tx, **claims).id)

    false, true = database.write(work, actor="ana")
    assert (false.bundle_digest, false.environment_digest, false.training_set_id) == (None, None, None)
    assert (true.bundle_digest, true.environment_digest) == ("sha256:b", RAN_IN.digest)
    assert true.training_set_id == "ts_1"
    above = database.read(lambda tx: lineage_walks.above(tx, "version/churn/2"))
    assert {"bundle/sha256:b", "training-set/ts_1"} <= above


def test_files_are_read_by_a_worker_and_what_they_say_is_filled_in(database: Database) -> None:
    before = database.write(lambda tx: registered(tx, begin(tx).id), actor="ana")
    (job,) = asked_for(database)
    assert payload(job).environment == {"requirements.txt": FILES[1].digest}
    result = FilesRead(needs=NEEDS, ran_in=RAN_IN, code_diff="sha256:" + "d" * 64)
    settle(database, job, result)
    version = database.read(lambda tx: versions.get(tx, "churn", 1))
    assert (version.environment_digest, version.code_diff) == (NEEDS.digest, "sha256:" + "d" * 64)
    assert version.updated_at == before.updated_at
    above = database.read(lambda tx: lineage_walks.above(tx, "version/churn/1"))
    assert {f"environment/{NEEDS.digest}", f"environment/{RAN_IN.digest}"} <= above
    ran = database.read(lambda tx: lineage_walks.above(tx, f"run/{version.run_id}"))
    assert f"environment/{NEEDS.digest}" not in ran
    assert database.read(lambda tx: pins.pins_on(tx, "blob/sha256:" + "d" * 64))
    last = database.read(lambda tx: events.of_subject(tx, "version/churn/1"))[-1]
    assert last.type == "registry.version_completed"
    assert last.payload["filled"] == ["environment_digest", "code_diff"]
    head = database.read(events.head)
    settle(database, job, FilesRead(needs=RAN_IN, code_diff="sha256:" + "e" * 64))  # what is known stays
    settle(database, job, FilesRead())
    assert database.read(lambda tx: versions.get(tx, "churn", 1)) == version
    assert database.read(events.head) == head


def test_without_files_of_its_own_the_packages_of_the_run_are_taken(database: Database) -> None:
    database.write(lambda tx: registered(tx, begin(tx).id), actor="ana")
    settle(database, asked_for(database)[0], FilesRead(ran_in=RAN_IN))
    version = database.read(lambda tx: versions.get(tx, "churn", 1))
    assert version.environment_digest == RAN_IN.digest


def test_what_was_read_finds_a_renamed_model_and_no_deleted_version(database: Database) -> None:
    database.write(lambda tx: registered(tx, begin(tx).id), actor="ana")
    database.write(lambda tx: registered(tx, begin(tx).id), actor="ana")
    first, second = asked_for(database)
    database.write(lambda tx: removal.rename_model(tx, "churn", "leaving"), actor="ana")
    database.write(lambda tx: removal.delete_version(tx, "leaving", 2), actor="ana")
    for job in (first, second):
        settle(database, job, FilesRead(needs=NEEDS))
    assert database.read(lambda tx: versions.get(tx, "leaving", 1)).environment_digest == NEEDS.digest


def test_what_a_run_tells_until_its_end_is_added_then(database: Database, blobs: BlobStore) -> None:
    """MLflow's autologging registers a model before it has logged what the model is worth."""
    machine: Blob = blobs.put(b'{"python": "3.11.7", "packages": {"numpy": "2.1.0"}}')

    def work(tx: Tx) -> str:
        run = begin(tx)
        registered(tx, run.id)
        late = MetricPoint(key="test_auc", value=0.77), MetricPoint(key="auc", value=0.9, step=1)
        logging.log_batch(tx, run.id, Batch(metrics=late, params={"seed": 1}))
        dataset = Dataset(name="test", digest="2f", source_type="local", source="{}")
        logging.log_inputs(tx, run.id, Inputs(datasets=(DatasetInput(dataset=dataset),)))
        logging.log_batch(tx, run.id, Batch(tags={"mlflow.source.git.commit": COMMIT}))
        artifacts.record(tx, f"run/{run.id}", "headrace/machine.json", machine, blobs)
        return run.id

    database.write(lambda tx: subscriptions.enroll(tx, SUBSCRIBERS), actor="system")
    run_id = database.write(work, actor="ana")
    hear(database)
    assert database.read(lambda tx: versions.get(tx, "churn", 1)).code_commit is None
    ended = FinishRun(ended_at=datetime(2026, 1, 2, tzinfo=UTC))
    database.write(lambda tx: runs.finish(tx, run_id, ended), actor="bo")
    hear(database)
    version = database.read(lambda tx: versions.get(tx, "churn", 1))
    assert version.params == {"depth": "3", "seed": "1"}
    assert version.metrics == {"auc": Estimate(value=0.8), "test_auc": Estimate(value=0.77)}
    assert version.code_commit == COMMIT
    assert {use.subject for use in version.data} == {"dataset/purchases@1f", "dataset/test@2f"}
    above = database.read(lambda tx: lineage_walks.above(tx, "version/churn/1"))
    assert {"dataset/test@2f", f"commit/{COMMIT}"} <= above
    last = database.read(lambda tx: events.of_subject(tx, "version/churn/1"))[-1]
    assert (last.type, last.actor) == ("registry.version_completed", "bo")
    assert [payload(job).machine for job in asked_for(database)] == [None, machine.digest]
    head = database.read(events.head)
    database.write(lambda tx: runs.update(tx, run_id, name="other"), actor="bo")
    hear(database)
    assert database.read(events.head) == head + 1


def test_the_same_files_are_asked_for_once(database: Database) -> None:
    def work(tx: Tx) -> None:
        run = begin(tx)
        runs.finish(tx, run.id, FinishRun())
        registered(tx, run.id)

    database.write(lambda tx: subscriptions.enroll(tx, SUBSCRIBERS), actor="system")
    database.write(work, actor="ana")
    hear(database)
    assert len(asked_for(database)) == 1


def test_nothing_is_asked_for_where_nothing_lies(database: Database) -> None:
    def work(tx: Tx) -> None:
        environments.keep(tx, NEEDS)
        registered(tx, begin(tx).id, environment_digest=NEEDS.digest)
        models.ensure(tx, "churn")
        register.register_version(tx, RegisterVersion(model="churn", source="x", files=FILES[:1]))

    database.write(work, actor="ana")
    assert asked_for(database) == []


def test_an_owner_can_be_changed_and_looked_for(database: Database) -> None:
    database.write(lambda tx: registered(tx, begin(tx).id), actor="ana")
    database.write(lambda tx: registered(tx, begin(tx).id, owner="bo"), actor="ana")
    database.write(lambda tx: versions.describe(tx, "churn", 1, owner="team growth"), actor="cy")
    last = database.read(lambda tx: events.of_subject(tx, "version/churn/1"))[-1]
    assert (last.type, last.actor, last.payload["owner"]) == ("registry.version_described", "cy", "team growth")
    database.write(lambda tx: versions.describe(tx, "churn", 1, description="x"), actor="cy")
    version = database.read(lambda tx: versions.get(tx, "churn", 1))
    assert (version.owner, version.author, version.description) == ("team growth", "ana", "x")
    found, _ = database.read(lambda tx: search.find_versions(tx, RegistryQuery(filter="owner = 'team growth'")))
    assert [version.number for version in found] == [1]


@pytest.mark.parametrize("owner", ["", "  ", "x" * 257, "a\x00b"])
def test_an_owner_is_a_name(database: Database, owner: str) -> None:
    database.write(lambda tx: registered(tx, begin(tx).id), actor="ana")
    with pytest.raises(InvalidInput):
        database.write(lambda tx: versions.describe(tx, "churn", 1, owner=owner), actor="cy")
