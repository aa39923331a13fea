"""A predictor tells every failure of its model as a fault of the version."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.serving import models

from headrace.kernel.blobs import open_blob_store
from headrace.serving.forms.inputs import Inputs, row_answers
from headrace.serving.forms.signature import Column, Signature
from headrace.serving.loading.loader import LoadedModel, open_loader
from headrace.serving.loading.model_files import ModelCache
from headrace.serving.loading.predictor import INLINE_ROWS, Fault, Predictor, load_predictor
from headrace.serving.nouns import ServedVersion

VERSION = ServedVersion(model="churn", number=3, digest="sha256:0", files=())
ROWS = np.ones((2, 1))


def predictor(predict: Callable[..., object]) -> Predictor:
    signature = Signature([Column(name="x", type="double")])
    return Predictor(VERSION, LoadedModel(signature=signature, predict=predict))  # type: ignore[arg-type]


def raising(_: Inputs) -> Inputs:
    raise KeyError("customer 17")


@pytest.mark.parametrize(
    ("predict", "kind"),
    [
        (raising, "KeyError"),
        (lambda rows: rows[:1, 0], "WrongShape"),
        (lambda rows: rows[:, :, None], "WrongShape"),
        (lambda rows: rows[:, 0] * np.nan, "NotFinite"),
        (lambda rows: rows[:, 0] * np.inf, "NotFinite"),
        (lambda _: [{"a": 1}, None], "WrongType"),
        (lambda _: {"label": ["yes"], "score": [0.1, 0.2]}, "WrongShape"),
    ],
)
def test_whatever_a_model_does_wrong_is_a_fault_without_the_input(
    predict: Callable[..., object], kind: str
) -> None:
    with pytest.raises(Fault) as fault:
        predictor(predict).predict(ROWS)
    assert fault.value.kind == kind
    assert "customer 17" not in str(fault.value)


@pytest.mark.parametrize(
    ("predict", "answers"),
    [
        (lambda rows: rows[:, 0], [1.0, 1.0]),
        (lambda rows: np.hstack([rows, rows]), [[1.0, 1.0], [1.0, 1.0]]),
        (lambda _: ["yes", "no"], ["yes", "no"]),
        (
            lambda _: {"label": ["a", "b"], "score": [1, 2]},
            [{"label": "a", "score": 1}, {"label": "b", "score": 2}],
        ),
    ],
)
def test_answers_are_one_a_row(predict: Callable[..., object], answers: list[object]) -> None:
    assert row_answers(predictor(predict).predict(ROWS)) == answers


def test_large_requests_leave_the_event_loop() -> None:
    fast = predictor(lambda rows: rows[:, 0])
    assert fast.inline(1)
    assert not fast.inline(INLINE_ROWS + 1)


def test_a_directory_damaged_on_this_machine_is_fetched_once_more(tmp_path: Path) -> None:
    blobs = open_blob_store(tmp_path / "home")
    version = models.store_version(blobs, models.write_model(tmp_path / "model", models.binary_model()), 1)
    cache = ModelCache(tmp_path / "cache" / "models", blobs)
    (cache.obtain(version).directory / "model.skops").write_bytes(b"damaged")
    (answer,) = row_answers(load_predictor(open_loader(tmp_path, blobs), version).predict(np.zeros((1, 2))))
    assert isinstance(answer, float)
