"""The door for explanations, asked like `invocations`."""

import json
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.preprocessing import OneHotEncoder
from tests.serving import models
from tests.serving.conftest import VIEW, Bench, route
from tests.serving.runtimes.test_explaining import frame_model

from headrace.errors import InvalidInput, ModelFault
from headrace.serving.assignment import Counted
from headrace.serving.forms.signature import Signature, Tensor
from headrace.serving.gateway import explaining, explanations
from headrace.serving.gateway.explanations import wanted_of
from headrace.serving.loading.host import HostOrder, HostProcess
from headrace.serving.nouns import ServedVersion
from headrace.training.answers import BACKGROUND_FILE

Run = Callable[[Coroutine[Any, Any, None]], None]
BACKGROUND = models.features()[:40]
RECORDS = {"dataframe_records": [{"purchases": 1.0, "spend": 2.0}, {"purchases": -3.0, "spend": 0.5}]}
ROWS = np.array([[1.0, 2.0], [-3.0, 0.5]])


def version(bench: Bench, number: int, estimator: Any, *, background: bool = True) -> ServedVersion:
    directory = models.write_model(bench.root / f"churn-{number}", estimator)
    if background:
        content = {"columns": list(models.NAMES), "data": BACKGROUND.tolist()}
        (directory / BACKGROUND_FILE).write_text(json.dumps(content))
    return models.store_version(bench.blobs, directory, number, views=(VIEW,))


def test_a_linear_model_is_explained_by_its_coefficients(bench: Bench, run: Run) -> None:
    async def main() -> None:
        pipeline = models.binary_model()
        await bench.settle(route(version(bench, 1, pipeline), champion=1))
        predicted = await bench.post("/models/churn/invocations", RECORDS)
        answer = await bench.post("/models/churn/explain", RECORDS)
        assert answer.status == 200, answer.body
        assert answer.body["model"] == "churn"
        assert [each["prediction"] for each in answer.body["explanations"]] == predicted.body["predictions"]
        assert answer.body["methods"]["1"]["name"] == "linear"
        assert answer.body["methods"]["1"]["background_rows"] == 40
        scaler, model = pipeline.steps[0][1], pipeline.steps[1][1]
        expected = model.coef_[0] * (scaler.transform(ROWS) - scaler.transform(BACKGROUND).mean(axis=0))
        for each, contributions, row in zip(answer.body["explanations"], expected, ROWS, strict=True):
            assert (each["version"], each["of"], each["scale"]) == (1, 1, "log_odds")
            assert [each["contributions"][name] for name in models.NAMES] == pytest.approx(contributions)
            assert [each["values"][name] for name in models.NAMES] == row.tolist()
            assert each["base"] + sum(each["contributions"].values()) == pytest.approx(each["sum"])
            assert each["sum"] == pytest.approx(pipeline.decision_function(row[None])[0])

    run(main())


def test_it_is_no_prediction(bench: Bench, run: Run) -> None:
    async def main() -> None:
        await bench.settle(route(version(bench, 1, models.forest()), champion=1))
        assert (await bench.post("/models/churn/explain", RECORDS)).status == 200
        assert not bench.counters.totals()
        assert not bench.measures.durations()
        ((ended, _),) = bench.explained.durations().items()
        assert ended == ("churn", "1", "tree_shap_interventional", 200)
        assert not bench.logged()

    run(main())


def test_entities_are_explained_by_what_was_looked_up(bench: Bench, run: Run) -> None:
    async def main() -> None:
        await bench.settle(route(version(bench, 1, models.binary_model()), champion=1))
        entities = {"entities": {"customer_id": list(range(12))}}
        predicted = await bench.post("/models/churn/invocations", entities)
        answer = await bench.post("/models/churn/explain", entities)
        assert answer.status == 200, answer.body
        found = answer.body["explanations"]
        assert [each["version"] for each in found] == predicted.body["versions"]
        assert [each["prediction"] for each in found] == predicted.body["predictions"]
        assert all(set(each["contributions"]) == set(each["values"]) == set(models.NAMES) for each in found)

    run(main())


def test_it_does_not_tell_which_version_a_unit_gets(bench: Bench, run: Run) -> None:
    async def main() -> None:
        first, second = version(bench, 1, models.binary_model()), version(bench, 2, models.binary_model(flip=True))
        await bench.settle(route(first, second, champion=1, challenger=2, weight_percent=50))
        entities = {"entities": {"customer_id": list(range(12))}}
        assert set((await bench.post("/models/churn/invocations", entities)).body["versions"]) == {1, 2}
        for body, headers in ((RECORDS, {"x_unit": "ada"}), (entities, {})):
            drawn = set()
            for _ in range(30):
                answer = await bench.post("/models/churn/explain", body, **headers)
                assert answer.status == 200, answer.body
                (number,) = {each["version"] for each in answer.body["explanations"]}
                drawn.add(number)
            assert drawn == {1, 2}
        named = await bench.post("/models/churn/versions/2/explain", entities)
        assert {each["version"] for each in named.body["explanations"]} == {2}

    run(main())


def test_top_keeps_the_largest_and_the_rest_still_adds_up(bench: Bench, run: Run) -> None:
    async def main() -> None:
        await bench.settle(route(version(bench, 1, models.binary_model()), champion=1))
        whole = (await bench.post("/models/churn/explain", RECORDS)).body["explanations"][0]
        answer = (await bench.post("/models/churn/versions/1/explain?top=1", RECORDS)).body["explanations"][0]
        ((name, value),) = answer["contributions"].items()
        assert abs(value) == max(abs(each) for each in whole["contributions"].values())
        assert whole["contributions"][name] == value
        assert answer["values"] == {name: whole["values"][name]}
        assert answer["base"] + value + answer["others"] == pytest.approx(answer["sum"])

    run(main())


def test_an_answer_with_too_many_contributions_is_refused_before_it_is_computed(
    bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        await bench.settle(route(version(bench, 1, models.binary_model()), champion=1))
        monkeypatch.setattr(explanations, "CONTRIBUTIONS_LIMIT", 3)
        refused = await bench.post("/models/churn/explain", RECORDS)
        assert (refused.status, refused.body["error"]["where"]) == (413, "top")
        assert "?top=N" in refused.body["error"]["fix"]
        assert not bench.explaining.pids
        assert (await bench.post("/models/churn/explain?top=1", RECORDS)).status == 200

    run(main())


def test_tensors_that_cannot_be_explained_have_names_too() -> None:
    """They are counted before the model says that it cannot be explained."""
    signature = Signature([Tensor(name=name, dtype="float32", shape=(-1, 2)) for name in "ab"])
    inputs = {"a": np.zeros((3, 2)), "b": np.zeros(3)}
    part: Any = SimpleNamespace(predictor=SimpleNamespace(signature=signature), inputs=inputs)
    assert explanations.feature_names(part) == ["a[0]", "a[1]", "b[0]"]
    assert explanations._values(part, explanations.feature_names(part)) == [[0.0] * 3] * 3


def test_a_class_of_several_can_be_named(bench: Bench, run: Run) -> None:
    async def main() -> None:
        estimator = models.three_class_model()
        await bench.settle(route(version(bench, 1, estimator), champion=1))
        answer = await bench.post("/models/churn/explain", RECORDS)
        likeliest = estimator.predict(ROWS).tolist()
        assert [each["of"] for each in answer.body["explanations"]] == likeliest
        assert answer.body["explanations"][0]["scale"] == "raw"
        named = await bench.post("/models/churn/explain?output=1", RECORDS)
        margins = estimator.decision_function(ROWS)[:, 1].tolist()
        assert [each["sum"] for each in named.body["explanations"]] == pytest.approx(margins)
        refused = await bench.post("/models/churn/explain?output=7", RECORDS)
        assert (refused.status, refused.body["error"]["where"]) == (400, "output")
        assert "0, 1, 2" in refused.body["error"]["fix"]

    run(main())


def test_what_is_wrong_with_a_request_is_told_as_for_predictions(bench: Bench, run: Run) -> None:
    async def main() -> None:
        await bench.settle(route(version(bench, 1, models.binary_model()), champion=1))
        for path, body, headers, status in [
            ("/models/churn/explain", {"dataframe_records": [{"purchases": 1.0}]}, {}, 400),
            ("/models/churn/explain", b"{", {}, 400),
            ("/models/churn/explain", RECORDS, {"x-request-timeout": "soon"}, 400),
            ("/models/churn/explain?top=0", RECORDS, {}, 400),
            ("/models/churn/explain?best=1", RECORDS, {}, 400),
            ("/models/churn/explain", {"dataframe_records": RECORDS["dataframe_records"] * 600}, {}, 413),
            ("/models/churn/explain", RECORDS, {"content_type": "text/html"}, 415),
            ("/models/other/explain", RECORDS, {}, 404),
            ("/models/churn/versions/9/explain", RECORDS, {}, 404),
            ("/explain", RECORDS, {}, 404),
        ]:
            assert (await bench.post(path, body, **headers)).status == status, path
        assert not bench.explaining.pids, "nothing was started for them"

    run(main())


def test_a_column_of_text_is_explained_through_the_door(bench: Bench, run: Run) -> None:
    async def main() -> None:
        directory, _ = frame_model(bench.root, GradientBoostingClassifier(n_estimators=5), city=OneHotEncoder())
        split = {"columns": ["city", "age", "spend"], "data": [["Delft", 1.0, 2.0], ["Gouda", 0.5, 0.0]]}
        (directory / "serving_input_example.json").write_text(json.dumps({"dataframe_split": split}))
        stored = models.store_version(bench.blobs, directory, 1)
        await bench.settle(route(stored, champion=1))
        body = {"dataframe_records": [{"city": "Breda", "age": 0.1, "spend": -1.0}]}
        answer = await bench.post("/models/churn/explain", body)
        assert answer.status == 200, answer.body
        (found,) = answer.body["explanations"]
        assert set(found["contributions"]) == {"city", "age", "spend"}
        assert found["values"] == {"city": "Breda", "age": 0.1, "spend": -1.0}
        assert 1 / (1 + np.exp(-found["sum"])) == pytest.approx(found["prediction"])

    run(main())


def test_without_rows_to_compare_with_it_says_how_to_add_them(bench: Bench, run: Run) -> None:
    async def main() -> None:
        await bench.settle(route(version(bench, 1, models.binary_model(), background=False), champion=1))
        answer = await bench.post("/models/churn/explain", RECORDS)
        assert (answer.status, answer.body["error"]["code"]) == (501, "NOT_SERVED")
        assert "input_example" in answer.body["error"]["fix"]

    run(main())


def test_without_rows_to_compare_with_trees_tell_what_they_know_of_their_training(bench: Bench, run: Run) -> None:
    async def main() -> None:
        forest = models.forest()
        await bench.settle(route(version(bench, 1, forest, background=False), champion=1))
        answer = await bench.post("/models/churn/explain", RECORDS)
        assert answer.status == 200, answer.body
        method = answer.body["methods"]["1"]
        assert (method["name"], method["by"]) == ("tree_shap_path_dependent", "Headrace")
        assert "background_rows" not in method
        sums = [each["sum"] for each in answer.body["explanations"]]
        assert sums == pytest.approx(forest.predict_proba(ROWS)[:, 1].tolist())

    run(main())


def died(order: HostOrder, *, start_timeout_s: float) -> HostProcess:
    raise ModelFault("the model host died")


@pytest.mark.parametrize("fails", ["predicting", "explaining"])
def test_what_fails_while_it_is_explained_counts_against_nobody(
    bench: Bench, run: Run, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the counters that a rollout is judged by, nor the breaker, nor the log know of it."""

    async def main() -> None:
        model = models.raising_model() if fails == "predicting" else models.binary_model(flip=True)
        versions = version(bench, 1, models.binary_model()), version(bench, 2, model)
        await bench.settle(route(*versions, champion=1, challenger=2, weight_percent=50))
        if fails == "explaining":
            monkeypatch.setattr(explaining, "HostProcess", died)
        for _ in range(12):  # more than a breaker would stand
            answer = await bench.post("/models/churn/versions/2/explain", RECORDS)
            assert (answer.status, answer.body["error"]["code"]) == (500, "MODEL_FAULT")
            assert "counts against this version" not in (answer.body["error"]["fix"] or "")
        assert not bench.counters.totals()
        assert not bench.breaker.is_open(Counted("churn", 2, "rel_1", 0))
        assert not bench.measures.durations()
        assert not bench.logged()

    run(main())


@settings(max_examples=200)
@given(st.text(alphabet="topu=&%+;5-. \x00é", max_size=30) | st.text(max_size=20))
def test_any_query_is_read_or_refused_as_the_callers_mistake(query: str) -> None:
    try:
        wanted = wanted_of(query)
    except InvalidInput:
        return
    assert wanted.top is None or 1 <= wanted.top < 10**9
