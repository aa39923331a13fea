"""Bodies as other clients than Python's write them."""

from typing import Any

import pytest

from headrace.errors import InvalidInput
from headrace.protocols.mlflow import runs
from headrace.protocols.mlflow.decoding import decode_call

Door = Any  # the fixture's class lives in conftest.py, which is no module to import from


def read(body: bytes, kind: Any) -> Any:
    return decode_call("POST", b"", body, {}, kind)


def test_fields_may_be_called_as_protobuf_writes_them() -> None:
    point = b'{"key": "m", "value": 1, "timestamp": 2, "modelId": "m-1", "datasetName": "d"}'
    batch = read(b'{"runId": "a", "metrics": [%s]}' % point, runs.LogBatch)
    assert batch.run_id == "a"
    assert (batch.metrics[0].model_id, batch.metrics[0].dataset_name) == ("m-1", "d")


def test_null_is_the_same_as_absent_at_every_depth() -> None:
    point = b'{"key": "m", "value": 1, "timestamp": 2, "step": null, "model_id": null}'
    batch = read(b'{"run_id": "a", "metrics": [%s], "params": null}' % point, runs.LogBatch)
    assert (batch.metrics[0].step, batch.metrics[0].model_id, batch.params) == (0, None, ())


def test_a_field_is_given_once() -> None:
    with pytest.raises(InvalidInput, match="run_id' is given twice"):
        read(b'{"run_id": "a", "runId": "b", "key": "k"}', runs.LogParameter)


def test_what_only_looks_like_a_field_is_a_value() -> None:
    found = read(b'{"run_id": "a", "key": "runId", "value": "experimentId"}', runs.LogParameter)
    assert (found.key, found.value) == ("runId", "experimentId")


def test_a_run_lands_in_the_experiment_that_was_named(door: Door) -> None:
    experiment_id = door("POST", "experiments/create", name="camel")["experiment_id"]
    made = door("POST", "runs/create", experimentId=experiment_id, runName="one")["run"]["info"]
    assert (made["experiment_id"], made["run_name"]) == (experiment_id, "one")
    assert [each["info"] for each in door("POST", "runs/search", experimentIds=[experiment_id])["runs"]] == [made]
