"""Logged models are announced, finalized, tagged, measured and found."""

from datetime import timedelta
from typing import Any

import pytest

from headrace.errors import InvalidInput, NotFound, Pinned
from headrace.kernel import events, pins
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database
from headrace.tracking import logged_models, logging, runs
from headrace.tracking.nouns import (
    Batch,
    CreateLoggedModel,
    LoggedModel,
    LoggedModelQuery,
    LoggedModelStatus,
    MetricPoint,
    ModelOutput,
    Run,
)

pytestmark = pytest.mark.both_databases


def create(database: Database, run: Run, name: str | None = "clf") -> LoggedModel:
    request = CreateLoggedModel(
        experiment_id=run.experiment_id, name=name, source_run_id=run.id, params={"depth": "3"}
    )
    return database.write(lambda tx: logged_models.create(tx, request), actor="ana")


def test_a_model_is_pending_until_it_is_finalized_once(database: Database, run: Run) -> None:
    model = create(database, run)
    assert (model.status, model.id[:2]) == (LoggedModelStatus.PENDING, "m-")
    for _ in range(2):
        found = database.write(
            lambda tx: logged_models.finalize(tx, model.id, LoggedModelStatus.READY), actor="ana"
        )
        assert found.status is LoggedModelStatus.READY
    types = [event.type for event in database.read(lambda tx: events.of_subject(tx, f"logged-model/{model.id}"))]
    assert types == ["tracking.logged_model_created", "tracking.logged_model_finalized"]
    with pytest.raises(InvalidInput):
        database.write(lambda tx: logged_models.finalize(tx, model.id, LoggedModelStatus.PENDING), actor="ana")


def test_a_model_without_a_name_gets_one(database: Database, run: Run) -> None:
    assert create(database, run, None).name


def test_a_model_needs_its_experiment_and_run(database: Database, run: Run) -> None:
    for request in (
        CreateLoggedModel(experiment_id="99"),
        CreateLoggedModel(experiment_id=run.experiment_id, source_run_id="nothing"),
    ):
        with pytest.raises(NotFound):
            database.write(lambda tx, request=request: logged_models.create(tx, request), actor="ana")  # type: ignore[misc]


def test_points_measured_on_a_model_are_its_metrics(database: Database, run: Run) -> None:
    model = create(database, run)
    measured = MetricPoint(key="auc", value=0.9, model_id=model.id, dataset_name="iris", dataset_digest="abc")
    for _ in range(2):
        database.write(lambda tx: logging.log_batch(tx, run.id, Batch(metrics=(measured,))), actor="ana")
    found = database.read(lambda tx: logged_models.get(tx, model.id)).metrics
    assert [(metric.run_id, metric.point.value, metric.point.dataset_name) for metric in found] == [
        (run.id, 0.9, "iris")
    ]
    assert database.read(lambda tx: runs.get(tx, run.id)).metrics["auc"].value == 0.9


def test_points_name_models_that_exist(database: Database, run: Run) -> None:
    point = MetricPoint(key="auc", value=0.9, model_id="m-nothing")
    with pytest.raises(NotFound, match="m-nothing"):
        database.write(lambda tx: logging.log_batch(tx, run.id, Batch(metrics=(point,))), actor="ana")


def test_a_run_lists_what_it_made(database: Database, run: Run) -> None:
    output = ModelOutput(model_id=create(database, run).id, step=3)
    for _ in range(2):
        database.write(lambda tx: logging.log_outputs(tx, run.id, [output]), actor="ana")
    assert database.read(lambda tx: runs.get(tx, run.id)).outputs == (output,)


def test_tags_and_params(database: Database, run: Run) -> None:
    model = create(database, run)
    database.write(lambda tx: logged_models.set_tags(tx, model.id, {"a": "1", "b": "2"}), actor="ana")
    database.write(lambda tx: logged_models.delete_tag(tx, model.id, "a"), actor="ana")
    database.write(lambda tx: logged_models.log_params(tx, model.id, {"depth": "3", "width": "1"}), actor="ana")
    found = database.read(lambda tx: logged_models.get(tx, model.id))
    assert (found.tags, found.params) == ({"b": "2"}, {"depth": "3", "width": "1"})
    with pytest.raises(InvalidInput):
        database.write(lambda tx: logged_models.log_params(tx, model.id, {"depth": "4"}), actor="ana")
    with pytest.raises(NotFound):
        database.write(lambda tx: logged_models.delete_tag(tx, model.id, "a"), actor="ana")


def test_models_are_found_by_experiment_name_and_run(database: Database, run: Run, clock: ManualClock) -> None:
    models = []
    for name in ("a", "b", "b"):
        models.append(create(database, run, name).id)
        clock.advance(timedelta(seconds=1))
    here = (run.experiment_id,)

    def search(**query: Any) -> tuple[list[str], str]:
        wanted = LoggedModelQuery(experiment_ids=here, **query)
        found, following = database.read(lambda tx: logged_models.search(tx, wanted))
        return [model.id for model in found], following

    assert search()[0] == models[::-1]
    assert search(filter="name = 'a'")[0] == models[:1]
    assert search(filter="source_run_id = 'other'")[0] == []
    first, cursor = search(limit=2)
    rest, end = search(limit=2, cursor=cursor)
    assert first + rest == models[::-1]
    assert end == ""


def test_a_deleted_model_is_gone_and_a_pinned_one_stays(database: Database, run: Run) -> None:
    model = create(database, run)
    resource = f"logged-model/{model.id}"
    database.write(lambda tx: pins.pin(tx, resource, "version/churn/1", "it came from it"), actor="ana")
    with pytest.raises(Pinned):
        database.write(lambda tx: logged_models.delete(tx, model.id), actor="ana")
    database.write(lambda tx: pins.release(tx, "version/churn/1"), actor="ana")
    for _ in range(2):
        database.write(lambda tx: logged_models.delete(tx, model.id), actor="ana")
    with pytest.raises(NotFound):
        database.read(lambda tx: logged_models.get(tx, model.id))
    assert database.read(lambda tx: logged_models.get(tx, model.id, deleted_too=True)).deleted
