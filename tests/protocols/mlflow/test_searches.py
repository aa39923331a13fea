"""Searches of experiments, logged models, registered models and versions over MLflow's protocol."""

from datetime import timedelta
from typing import Any

import pytest

from headrace.kernel.clocks import ManualClock

Door = Any  # the fixture's class lives in conftest.py, which is no module to import from

pytestmark = pytest.mark.both_databases

FILES = {"MLmodel": b"flavors: {}"}


def tag(key: str, value: str) -> dict[str, str]:
    return {"key": key, "value": value}


def test_experiments(door: Door, clock: ManualClock) -> None:
    for name in ("churn", "fraud", "Churn 2"):
        clock.advance(timedelta(seconds=1))
        door("POST", "experiments/create", name=name, tags=[tag("team", name[0])])

    def names(**query: Any) -> list[str]:
        return [each["name"] for each in door("POST", "experiments/search", **query).get("experiments", [])]

    assert names() == ["Churn 2", "fraud", "Default", "churn"]  # the default came with the first
    assert names(order_by=["name ASC"]) == ["Churn 2", "Default", "churn", "fraud"]
    assert names(order_by=["experiment_id"], max_results=2) == ["Default", "churn"]
    assert names(filter="name ILIKE 'churn%' AND tags.team = 'c'") == ["churn"]
    assert names(filter="tags.team IS NULL OR name = 'fraud'") == ["fraud", "Default"]
    assert names(filter="attribute.experiment_id IN ('1', '3')") == ["Churn 2", "churn"]
    assert names(filter=f"creation_time > {1_767_225_600_000 + 1500}") == ["Churn 2", "fraud"]
    assert names(filter="name = 'fraud'", view_type="DELETED_ONLY") == []
    pages: list[list[str]] = []
    token = ""
    while len(pages) < 9:
        page = door("POST", "experiments/search", max_results=3, order_by=["name DESC"], page_token=token)
        pages.append([each["name"] for each in page["experiments"]])
        token = page.get("next_page_token", "")
        if not token:
            break
    assert pages == [["fraud", "churn", "Default"], ["Churn 2"]]


def test_logged_models(door: Door, clock: ManualClock) -> None:
    made = []
    for number, measured in enumerate([[("iris", 0.5)], [("iris", 0.4), ("wine", 0.9)], []]):
        clock.advance(timedelta(seconds=1))
        run_id = door.run()
        params = [tag("depth", str(number))]
        model = door(
            "POST", "logged-models", experiment_id="0", name=f"m{number}", params=params, source_run_id=run_id
        )
        made.append(model["model"]["info"]["model_id"])
        metrics = [
            {"key": "auc", "value": value, "timestamp": at, "step": at}
            | {"model_id": made[-1], "dataset_name": name, "dataset_digest": "d"}
            for at, (name, value) in enumerate(measured)
        ]
        door("POST", "runs/log-batch", run_id=run_id, metrics=metrics)

    def found(**query: Any) -> list[int]:
        page = door("POST", "logged-models/search", experiment_ids=["0"], **query)
        return [made.index(each["info"]["model_id"]) for each in page.get("models", [])]

    def by(field: str, **more: Any) -> list[dict[str, Any]]:
        return [{"field_name": field, **more}]

    assert found() == [2, 1, 0]
    assert found(order_by=by("creation_timestamp", ascending=True)) == [0, 1, 2]
    assert found(order_by=by("metrics.auc", ascending=False)) == [1, 0, 2]
    assert found(order_by=by("metrics.auc", ascending=False, dataset_name="iris", dataset_digest="d")) == [0, 1, 2]
    assert found(filter="metrics.auc < 0.45") == [1]
    assert found(filter="metrics.auc < 0.45", datasets=[{"dataset_name": "wine"}]) == []
    assert found(datasets=[{"dataset_name": "iris"}]) == [1, 0]
    assert found(filter="params.depth IN ('0', '2') and attributes.name != 'm0'") == [2]
    assert found(filter="name LIKE 'm%' AND NOT params.depth = '1'", max_results=1) == [2]


def registered(door: Door, clock: ManualClock) -> None:
    for name in ("b", "a", "prompt"):
        clock.advance(timedelta(seconds=1))
        tags = [tag("mlflow.prompt.is_prompt", "true")] if name == "prompt" else [tag("team", name)]
        door("POST", "registered-models/create", name=name, tags=tags)
    for name in ("a", "b", "a"):
        clock.advance(timedelta(seconds=1))
        model_id = door.model(door.run(), FILES)
        door("POST", "model-versions/create", name=name, source=f"models:/{model_id}", tags=[tag("of", name)])
    door("POST", "registered-models/alias", name="a", alias="champion", version="1")


def test_registered_models(door: Door, clock: ManualClock) -> None:
    registered(door, clock)

    def names(**query: Any) -> list[str]:
        return [
            each["name"] for each in door("GET", "registered-models/search", **query).get("registered_models", [])
        ]

    assert names() == ["a", "b"]
    assert names(order_by=["name DESC"]) == ["b", "a"]
    assert names(order_by=["last_updated_timestamp ASC"]) == ["b", "a"]
    assert names(order_by=["timestamp DESC", "name"]) == ["a", "b"]
    assert names(filter="tags.`mlflow.prompt.is_prompt` = 'true'") == ["prompt"]
    assert names(filter="tag.`mlflow.prompt.is_prompt` != 'true'") == ["a", "b"]
    assert names(filter="name LIKE '%' AND tags.team = 'b'") == ["b"]
    assert names(filter="name IN ('a', 'x') OR tags.team ILIKE 'B'") == ["a", "b"]
    (one,) = door("GET", "registered-models/search", filter="name = 'a'")["registered_models"]
    assert one == door("GET", "registered-models/get", name="a")["registered_model"]
    assert (one["aliases"], [each["version"] for each in one["latest_versions"]]) == (
        [{"alias": "champion", "version": "1"}],
        ["2"],
    )


def test_versions(door: Door, clock: ManualClock) -> None:
    registered(door, clock)

    def found(**query: Any) -> list[str]:
        page = door("GET", "model-versions/search", **query)
        return [each["name"] + each["version"] for each in page.get("model_versions", [])]

    assert found() == ["a2", "b1", "a1"]
    assert found(order_by=["name", "version_number ASC"]) == ["a1", "a2", "b1"]
    assert found(order_by=["creation_timestamp"]) == ["a1", "b1", "a2"]
    assert found(filter="version_number >= 2") == found(filter="version_number = '2'") == ["a2"]
    assert found(filter="name='a' AND tags.of = 'a'") == ["a2", "a1"]
    assert found(filter="alias = 'champion'") == ["a1"]
    assert found(filter="stage = 'None' AND NOT (alias = 'champion' OR name = 'b')") == ["a2"]
    door("POST", "model-versions/transition-stage", name="b", version="1", stage="Staging")
    assert found(filter="stage IN ('Staging', 'Production')") == ["b1"]
    source = door("GET", "model-versions/get", name="b", version="1")["model_version"]["source"]
    assert found(filter=f"source_path = '{source}'") == ["b1"]
    page = door("GET", "model-versions/search", max_results=2)
    rest = door("GET", "model-versions/search", max_results=2, page_token=page["next_page_token"])
    assert [len(each["model_versions"]) for each in (page, rest)] == [2, 1]
    assert "next_page_token" not in rest


@pytest.mark.parametrize(
    ("method", "endpoint", "query", "message"),
    [
        ("POST", "experiments/search", {"filter": "artifact = 'x'"}, "Invalid attribute key 'artifact' specified"),
        ("POST", "experiments/search", {"filter": "params.a = 'x'"}, "Invalid entity type 'params'"),
        ("POST", "experiments/search", {"filter": "name"}, "Invalid"),
        ("POST", "experiments/search", {"order_by": ["name down"]}, "Invalid ordering key in order_by clause"),
        ("POST", "experiments/search", {"order_by": ["name", "name DESC"]}, "`order_by` contains duplicate fields"),
        ("POST", "experiments/search", {"page_token": "nonsense"}, "cursor"),
        ("GET", "registered-models/search", {"filter": "run_id = 'x'"}, "Invalid attribute key 'run_id' specified"),
        ("GET", "registered-models/search", {"filter": "name = 1"}, "Expected a quoted string value"),
        ("GET", "registered-models/search", {"max_results": 1001}, "1000"),
        ("GET", "model-versions/search", {"filter": "version_number = 'one'"}, "Found 'one'"),
        ("GET", "model-versions/search", {"filter": "tags.a > '1'"}, "Invalid comparator '>'"),
        ("GET", "model-versions/search", {"order_by": "run"}, "Invalid attribute key 'run' specified"),
        ("POST", "logged-models/search", {"datasets": [{}]}, "`dataset_name` in the `datasets` clause must be"),
        (
            "POST",
            "logged-models/search",
            {"experiment_ids": ["0"], "order_by": [{"field_name": "params.a"}]},
            "Invalid order by field name: params.a. Only metrics are supported.",
        ),
    ],
)  # fmt: skip
def test_bad_searches_are_refused(
    door: Door, method: str, endpoint: str, query: dict[str, Any], message: str
) -> None:
    code, said = door.fault(method, endpoint, 400, **query)
    assert code == "INVALID_PARAMETER_VALUE"
    assert message in said
