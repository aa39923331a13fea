"""What a model's signature says, and what of it is served."""

import json
from typing import Any

import pytest

from headrace.errors import NotServed
from headrace.serving.forms.signature import Kind, read_signature


def test_mlflow_stores_inputs_as_text_and_the_registry_as_a_list() -> None:
    inputs = [{"type": "double", "name": "x", "required": True}]
    assert read_signature({"inputs": json.dumps(inputs)}).names == ("x",)
    assert read_signature({"inputs": inputs}).names == ("x",)


@pytest.mark.parametrize(
    ("inputs", "kind"),
    [
        ([{"type": "double", "name": "x"}, {"type": "boolean", "name": "y"}], Kind.MATRIX),
        ([{"type": "double", "name": "x"}, {"type": "string", "name": "city"}], Kind.COLUMNS),
        ([{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 28, 28]}}], Kind.TENSORS),
    ],
)
def test_the_form_follows_from_the_types(inputs: Any, kind: Kind) -> None:
    assert read_signature({"inputs": inputs}).kind is kind


@pytest.mark.parametrize(
    "stored",
    [
        None,
        {},
        {"inputs": "[]"},
        {"inputs": "{not json"},
        {"inputs": [{"type": "double"}]},
        {"inputs": [{"type": "tensor", "tensor-spec": {"dtype": "no such", "shape": [-1, 4]}}]},
        {"inputs": [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [3, 4]}}]},
        {"inputs": [{"type": "object", "properties": {}, "name": "nested"}]},
        {"inputs": [{"type": "double", "name": "x"}, {"type": "double", "name": "x"}]},
    ],
)
def test_what_cannot_be_served_says_so(stored: Any) -> None:
    with pytest.raises(NotServed):
        read_signature(stored)
