"""Rows are checked field by field, and errors name the field without quoting the input."""

import json
from typing import Any

import pytest

from headrace.errors import NotServed, SchemaMismatch
from headrace.serving.signature import Column, Signature, read_signature

SIGNATURE = Signature(
    [
        Column(name="days since", type="double"),
        Column(name="note", type="long", required=False),
        Column(name="visits", type="long"),
        Column(name="member", type="boolean"),
    ]
)


def row(**changes: Any) -> bytes:
    values = {"days since": 1.5, "note": 4, "visits": 3, "member": True} | changes
    return json.dumps({name: value for name, value in values.items() if value != "absent"}).encode()


def test_values_come_in_the_order_of_the_signature() -> None:
    assert list(SIGNATURE.decode_row(row(), 0)) == [1.5, 4, 3, True]


def test_an_optional_column_may_be_absent_and_null_is_a_missing_float() -> None:
    assert list(SIGNATURE.decode_row(row(note="absent", **{"days since": None}), 0)) == [None, None, 3, True]


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"visits": "absent"}, "dataframe_records[2].visits"),
        ({"visits": 2.5}, "dataframe_records[2].visits"),
        ({"visits": None}, "dataframe_records[2].visits"),
        ({"visits": True}, "dataframe_records[2].visits"),
        ({"member": 1}, "dataframe_records[2].member"),
        ({"days since": "secret"}, "dataframe_records[2].days since"),
        ({"extra": 1}, "dataframe_records[2].extra"),
    ],
)
def test_a_bad_field_is_named(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(SchemaMismatch) as refused:
        SIGNATURE.decode_row(row(**changes), 2)
    assert refused.value.where == where
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("text", [b"[]", b"3", b"null", b'"row"'])
def test_a_row_that_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(SchemaMismatch) as refused:
        SIGNATURE.decode_row(text, 0)
    assert refused.value.where == "dataframe_records[0]"


def test_mlflow_stores_inputs_as_text_and_the_registry_as_a_list() -> None:
    inputs = [{"type": "double", "name": "x", "required": True}]
    assert read_signature({"inputs": json.dumps(inputs)}).names == ("x",)
    assert read_signature({"inputs": inputs}).names == ("x",)


@pytest.mark.parametrize(
    "stored",
    [
        None,
        {},
        {"inputs": "[]"},
        {"inputs": "{not json"},
        {"inputs": [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 4]}}]},
        {"inputs": [{"type": "string", "name": "city"}]},
        {"inputs": [{"type": "double", "name": "x"}, {"type": "double", "name": "x"}]},
    ],
)
def test_what_cannot_be_served_says_so(stored: Any) -> None:
    with pytest.raises(NotServed):
        read_signature(stored)
