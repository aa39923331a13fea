"""Rows are checked field by field, and errors name the field without quoting the input."""

import json
from typing import Any

import numpy as np
import pytest

from headrace.errors import InvalidInput, SchemaMismatch, TooLarge
from headrace.serving.forms.inputs import Inputs
from headrace.serving.forms.json_forms import ROW_LIMIT, Entities, Forms
from headrace.serving.forms.signature import Column, Param, Signature, Tensor
from headrace.serving.nouns import FieldPolicy

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


def test_instances_and_inputs_are_rows_or_columns() -> None:
    rows = [row(), row(visits=7)]
    columns = {name: [each[name] for each in rows] for name in ROW}
    expected = [[1.5, 4, 3, 1], [1.5, 4, 7, 1]]
    for form in ("instances", "inputs"):
        np.testing.assert_array_equal(decode({form: rows}), expected)
        np.testing.assert_array_equal(decode({form: columns}), expected)
    without = {name: values for name, values in columns.items() if name != "note"}
    np.testing.assert_array_equal(decode({"inputs": without})[:, 1], [np.nan, np.nan])  # type: ignore[index]


@pytest.mark.parametrize(
    ("columns", "where"),
    [
        ({"visits": [3, 2.5]}, "inputs.visits[1]"),
        ({"extra": [1, 2]}, "inputs.extra"),
        ({"visits": [3]}, "inputs"),
        ({"visits": 3}, "inputs.visits"),
        ({"visits": "absent"}, "inputs.visits"),
    ],
)
def test_a_bad_column_is_named(columns: dict[str, Any], where: str) -> None:
    given = {name: [value, value] for name, value in ROW.items()} | columns
    body = {"inputs": {name: value for name, value in given.items() if value != "absent"}}
    with pytest.raises(SchemaMismatch) as refused:
        decode(body)
    assert refused.value.where == where


@pytest.mark.parametrize("form", ["instances", "inputs"])
@pytest.mark.parametrize("value", [[[1.5, 4, 3, True]], [], {}, 3, "x", None, [None]])
def test_rows_without_names_are_refused(form: str, value: Any) -> None:
    with pytest.raises(InvalidInput):
        decode({form: value})


TENSOR = Forms(Signature([Tensor(name="", dtype="float32", shape=(-1, 2))]))
TENSORS = Forms(
    Signature(
        [Tensor(name="image", dtype="uint8", shape=(-1, 1, 2)), Tensor(name="age", dtype="int64", shape=(-1,))]
    )
)


def test_tensors_come_alone_by_name_and_by_row() -> None:
    for body in ({"inputs": [[1, 2.5]]}, {"instances": [[1, 2.5]]}):
        found = decode(body, TENSOR)
        assert isinstance(found, dict)
        np.testing.assert_array_equal(found[""], np.array([[1, 2.5]], np.float32))
        assert found[""].dtype == np.float32
    by_name = decode({"inputs": {"image": [[[1, 2]], [[3, 4]]], "age": [5, 6]}}, TENSORS)
    by_row = decode({"instances": [{"image": [[1, 2]], "age": 5}, {"image": [[3, 4]], "age": 6}]}, TENSORS)
    assert isinstance(by_name, dict)
    assert isinstance(by_row, dict)
    for name in ("image", "age"):
        np.testing.assert_array_equal(by_name[name], by_row[name])


@pytest.mark.parametrize(
    "inputs",
    [
        {"image": [[[1, 2]]]},
        {"image": [[[1, 2]]], "age": [5], "more": [1]},
        {"image": [[[1, 2, 3]]], "age": [5]},
        {"image": [[[1, 300]]], "age": [5]},
        {"image": [[[1, -1]]], "age": [5]},
        {"image": [[[1, 2]]], "age": [5.5]},
        {"image": [[[1, 2]]], "age": ["x"]},
        {"image": [[[1, 2]], [[1]]], "age": [5, 6]},
        {"image": [[[1, 2]]], "age": [5, 6]},
        {"image": [], "age": []},
        [[1, 2]],
        None,
    ],
)
def test_tensors_of_another_shape_or_type_are_refused(inputs: Any) -> None:
    with pytest.raises(InvalidInput):
        decode({"inputs": inputs}, TENSORS)


@pytest.mark.parametrize("values", [["x" * 500, "a"], [[1, 2], [3, "x"]], [1, {}], [1, None], "x"])
def test_numpy_reads_no_tensor_that_holds_anything_but_numbers(
    values: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps({"inputs": values}).encode()
    read: list[Any] = []

    def asarray(given: Any) -> Any:  # of texts it makes room for the longest at every place
        read.append(given)
        return np.array([])

    monkeypatch.setattr(np, "asarray", asarray)
    with pytest.raises(SchemaMismatch):
        TENSOR.decode(body)
    assert not read


def test_a_tensor_of_more_axes_than_numpy_has_is_refused() -> None:
    for depth in (31, 32, 33, 64, 65, 500):
        with pytest.raises(SchemaMismatch):
            TENSOR.decode(b'{"inputs": ' + b"[" * depth + b"1" + b"]" * depth + b"}")


def test_parameters_are_checked_and_have_defaults() -> None:
    params = [Param(name="threshold", type="double", default=0.5), Param(name="k", type="long", shape=(-1,))]
    forms = Forms(Signature(SIGNATURE.columns, params))
    asked = forms.decode(json.dumps({"inputs": [row()], "params": {"k": [1, 2]}}).encode())
    assert asked.params == {"threshold": 0.5, "k": [1, 2]}
    for wrong in ({"k": 1}, {"threshold": "high"}, {"depth": 3}):
        with pytest.raises(SchemaMismatch) as refused:
            forms.decode(json.dumps({"inputs": [row()], "params": wrong}).encode())
        assert refused.value.where == f"params.{next(iter(wrong))}"
