"""Runs and logged models in the graph of lineage: what is taken along, where it ends, and what a purge leaves."""

import pytest

from headrace.kernel import lineage, lineage_walks
from headrace.kernel.database import Database, Tx
from headrace.tracking import lifecycle, logged_models, logging, purging, runs
from headrace.tracking import lineage as tracked
from headrace.tracking.nouns import (
    CreateLoggedModel,
    CreateRun,
    Dataset,
    DatasetInput,
    Inputs,
    Run,
)

pytestmark = pytest.mark.both_databases


def begin(tx: Tx, run_id: str | None = None, **tags: str) -> Run:
    return runs.create(tx, CreateRun(id=run_id, experiment="churn", tags=tags))


def reads(tx: Tx, run: Run, name: str, source_type: str = "local", source: str = "{}") -> Run:
    dataset = Dataset(name=name, digest="1f", source_type=source_type, source=source)
    logging.log_inputs(tx, run.id, Inputs(datasets=(DatasetInput(dataset=dataset),)))
    return runs.get(tx, run.id)


def above(tx: Tx, run: Run) -> set[str]:
    return lineage_walks.above(tx, f"run/{run.id}") - {f"run/{run.id}"}


def test_logging_leaves_no_trace_until_a_run_is_entered(database: Database) -> None:
    def work(tx: Tx) -> None:
        run = reads(tx, begin(tx), "purchases")
        assert lineage.find_below(tx, "run/", limit=9) == []
        tracked.enter_run(tx, run)
        assert above(tx, run) == {"dataset/purchases@1f"}
        reads(tx, run, "more")
        assert above(tx, run) == {"dataset/purchases@1f", "dataset/more@1f"}

    database.write(work, actor="ana")


def test_what_is_said_to_be_ours_has_to_be(database: Database) -> None:
    def work(tx: Tx) -> None:
        lineage.enter(tx, "training-set/ts_1", {"rows": 5})
        run = begin(tx)
        for source in ("training-set/ts_1", "training-set/ts_2", "version/churn/1", "nothing"):
            run = reads(tx, run, source, "headrace", source)
        tracked.enter_run(tx, run)
        assert above(tx, run) == {"training-set/ts_1", "dataset/nothing@1f"}

    database.write(work, actor="ana")


def test_a_bundle_brings_its_own_commit_and_packages(database: Database) -> None:
    commit = "a" * 40
    tags = {"mlflow.source.git.commit": commit, "headrace.bundle": "sha256:b", "headrace.environment": "sha256:e"}

    def work(tx: Tx) -> None:
        lineage.enter(tx, "environment/sha256:e")
        without = begin(tx, **tags)
        tracked.enter_run(tx, runs.get(tx, without.id))
        assert above(tx, without) == {f"commit/{commit}", "environment/sha256:e"}
        lineage.connect(tx, [lineage.Link(f"commit/{commit}", "packed into", "bundle/sha256:b")])
        run = begin(tx, **tags)
        tracked.enter_run(tx, runs.get(tx, run.id))
        walk = lineage_walks.walk(tx, lineage.enter(tx, f"run/{run.id}"), "up")
        edges = {(walk.subjects[edge.upstream].subject, walk.subjects[edge.downstream].kind) for edge in walk.edges}
        assert edges == {("bundle/sha256:b", "run"), (f"commit/{commit}", "bundle")}

    database.write(work, actor="ana")


def test_parents_in_a_circle_and_without_end(database: Database) -> None:
    def work(tx: Tx) -> None:
        first, second = "1" * 32, "2" * 32
        begin(tx, first, **{"mlflow.parentRunId": second})
        one = begin(tx, second, **{"mlflow.parentRunId": first})
        tracked.enter_run(tx, runs.get(tx, one.id))
        assert f"run/{first}" in above(tx, one)
        lonely = begin(tx, "3" * 32, **{"mlflow.parentRunId": "nobody"})
        tracked.enter_run(tx, lonely)
        assert above(tx, lonely) == set()

        run = begin(tx)
        for _ in range(tracked.MOST + 20):
            run = begin(tx, **{"mlflow.parentRunId": run.id})
        tracked.enter_run(tx, run)
        assert len(above(tx, run)) == tracked.MOST

    database.write(work, actor="ana")


def test_a_model_that_was_read_brings_the_run_that_made_it(database: Database) -> None:
    def work(tx: Tx) -> None:
        base = reads(tx, begin(tx), "wikipedia")
        made = CreateLoggedModel(experiment_id=base.experiment_id, name="base", source_run_id=base.id)
        model = logged_models.create(tx, made)
        run = begin(tx)
        logging.log_inputs(tx, run.id, Inputs(models=(model.id,)))
        tracked.enter_run(tx, runs.get(tx, run.id))
        assert above(tx, run) == {f"logged-model/{model.id}", f"run/{base.id}", "dataset/wikipedia@1f"}

    database.write(work, actor="ana")


def test_what_is_purged_is_marked_and_stays(database: Database) -> None:
    def work(tx: Tx) -> tuple[Run, str]:
        run = reads(tx, begin(tx), "purchases")
        made = CreateLoggedModel(experiment_id=run.experiment_id, name="m", source_run_id=run.id)
        model = logged_models.create(tx, made)
        tracked.enter_model(tx, model.id)
        lifecycle.delete_run(tx, run.id)
        logged_models.delete(tx, model.id)
        purging.purge_run(tx, run.id)
        purging.purge_model(tx, model.id)
        return run, model.id

    run, model_id = database.write(work, actor="ana")
    found = database.read(lambda tx: lineage.find_all(tx, [f"run/{run.id}", f"logged-model/{model_id}"]))
    assert [each.ended_at is not None for each in found.values()] == [True, True]
    assert found[f"run/{run.id}"].about["name"] == run.name
    left = database.read(lambda tx: lineage_walks.above(tx, f"logged-model/{model_id}"))
    assert "dataset/purchases@1f" in left
