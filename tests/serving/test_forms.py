"""Rows are checked field by field, and errors name the field without quoting the input."""

import json
from typing import Any

import numpy as np
import pytest

from headrace.errors import InvalidInput, SchemaMismatch, TooLarge
from headrace.serving.forms import ROW_LIMIT, Entities, FieldPolicy, Forms
from headrace.serving.inputs import Inputs
from headrace.serving.signature import Column, Signature

SIGNATURE = Signature(
    [
        Column(name="days since", type="double"),
        Column(name="note", type="long", required=False),
        Column(name="visits", type="long"),
        Column(name="member", type="boolean"),
    ]
)
MIXED = Signature(
    [
        Column(name="city", type="string"),
        Column(name="visits", type="long", required=False),
        Column(name="seen", type="datetime"),
    ]
)
FORMS = Forms(SIGNATURE)
ROW: dict[str, Any] = {"days since": 1.5, "note": 4, "visits": 3, "member": True}


def row(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (ROW | changes).items() if value != "absent"}


def split(rows: list[dict[str, Any]], names: list[str] | None = None) -> dict[str, Any]:
    names = names or list(ROW)
    return {"dataframe_split": {"columns": names, "data": [[row.get(name) for name in names] for row in rows]}}


def decode(body: Any, forms: Forms = FORMS) -> Inputs:
    asked = forms.decode(json.dumps(body).encode())
    assert not isinstance(asked.rows, Entities)
    return asked.rows


def test_both_forms_give_the_values_in_the_order_of_the_signature() -> None:
    rows = [row(), row(visits=7)]
    expected = [[1.5, 4, 3, 1], [1.5, 4, 7, 1]]
    np.testing.assert_array_equal(decode({"dataframe_records": rows}), expected)
    np.testing.assert_array_equal(decode(split(rows)), expected)
    np.testing.assert_array_equal(decode(split(rows, ["visits", "member", "note", "days since"])), expected)


def test_an_optional_column_may_be_absent_and_null_is_a_missing_float() -> None:
    rows = [row(note="absent", **{"days since": None})]
    expected = [[np.nan, np.nan, 3, 1]]
    np.testing.assert_array_equal(decode({"dataframe_records": rows}), expected)
    np.testing.assert_array_equal(decode(split(rows, ["days since", "visits", "member"])), expected)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"visits": "absent"}, "visits"),
        ({"visits": 2.5}, "visits"),
        ({"visits": None}, "visits"),
        ({"visits": True}, "visits"),
        ({"member": 1}, "member"),
        ({"days since": "secret"}, "days since"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_bad_field_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(SchemaMismatch) as refused:
        decode({"dataframe_records": [row(), row(), row(**changes)]})
    assert refused.value.where == f"dataframe_records[2].{field}"
    assert "secret" not in str(refused.value)
    with pytest.raises(SchemaMismatch) as refused:
        decode(split([row(**changes)], [*row(**changes)]))
    where = refused.value.where or ""
    assert where.startswith("dataframe_split.")
    assert where.endswith(field)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("text", [b"[]", b"3", b"null", b'"row"'])
def test_a_row_that_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(SchemaMismatch) as refused:
        FORMS.decode(b'{"dataframe_records": [' + text + b"]}")
    assert refused.value.where == "dataframe_records[0]"


@pytest.mark.parametrize(
    "body",
    [
        {"columns": ["visits", "visits", "member", "days since"], "data": []},
        {"columns": list(ROW), "data": [[1.5, 4, 3]]},
        {"columns": list(ROW), "data": {}},
        {"columns": list(ROW), "data": []},
        {"columns": list(ROW)},
        {"data": [[1.5, 4, 3, True]]},
        {"columns": "visits", "data": []},
    ],
)
def test_a_split_that_is_no_table_is_refused(body: Any) -> None:
    with pytest.raises(InvalidInput):
        decode({"dataframe_split": body})


def test_there_is_a_limit_to_rows() -> None:
    with pytest.raises(TooLarge):
        decode(split([row()] * (ROW_LIMIT + 1)))


def test_text_and_time_come_as_columns() -> None:
    rows = [
        {"city": "Rome", "visits": 3, "seen": "2026-03-01T12:00:00+02:00"},
        {"city": "", "seen": "2026-03-01T12:00:00"},
    ]
    found = decode({"dataframe_records": rows}, Forms(MIXED))
    assert isinstance(found, dict)
    assert found["city"].tolist() == ["Rome", ""]
    np.testing.assert_array_equal(found["visits"], [3, np.nan])
    assert found["seen"].tolist() == np.array(["2026-03-01T10:00", "2026-03-01T12:00"], "datetime64[us]").tolist()
    with pytest.raises(SchemaMismatch):
        decode({"dataframe_records": [{"city": None, "seen": "2026-03-01T12:00:00"}]}, Forms(MIXED))


def test_a_policy_takes_unknown_fields_and_fills_missing_ones() -> None:
    lenient = Forms(SIGNATURE, FieldPolicy(unknown="ignore", missing="null"))
    rows = [row(visits="absent", extra=1)]
    expected = [[1.5, 4, np.nan, 1]]
    np.testing.assert_array_equal(decode({"dataframe_records": rows}, lenient), expected)
    np.testing.assert_array_equal(decode(split(rows, [*rows[0]]), lenient), expected)
