"""Fields that were filled in are told from nulls that were sent, in every form, as far as the table of the log."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from tests.serving.gateway.test_prediction_log import record
from tests.serving.log.test_compaction import kept

from headrace.serving.forms.arrow_forms import matrix_of
from headrace.serving.forms.filled import FILLED, filled_fields
from headrace.serving.forms.json_forms import Forms
from headrace.serving.forms.signature import Column, Signature
from headrace.serving.log.logged_tables import logged_table, to_table
from headrace.serving.nouns import FieldPolicy

NAMES = ("age", "spend", "visits")
SIGNATURE = Signature(tuple(Column(name=name, type="double", required=True) for name in NAMES))
MIXED = Signature((*SIGNATURE.columns, Column(name="city", type="string", required=True)))
LENIENT = FieldPolicy(unknown="refuse", missing="null")
ROWS: list[dict[str, Any]] = [{"age": 1.0, "spend": None}, {"age": 2.0, "spend": 3.0, "visits": None}]


def split(*columns: str) -> dict[str, Any]:
    data = [[row.get(name) for name in columns] for row in ROWS]
    return {"dataframe_split": {"columns": columns, "data": data}}


@pytest.mark.parametrize(
    ("body", "filled"),
    [
        ({"dataframe_records": ROWS}, [["visits"], []]),
        ({"instances": ROWS}, [["visits"], []]),
        (split("spend", "age"), [["visits"], ["visits"]]),
        (split("visits", "spend", "age"), [[], []]),
        ({"inputs": {"visits": [None, 1.0]}}, [["age", "spend"], ["age", "spend"]]),
    ],
)
def test_what_was_not_sent_is_marked_and_is_null_all_the_same(
    body: dict[str, Any], filled: list[list[str]]
) -> None:
    rows: Any = Forms(SIGNATURE, LENIENT).decode(msgspec.json.encode(body)).rows
    assert filled_fields(rows, NAMES) == filled
    assert np.isnan(rows[:, [NAMES.index(name) for name in filled[0]]]).all()


def test_a_file_cannot_say_that_a_field_was_filled_in() -> None:
    table = pa.table({"age": [FILLED, 1.0], "spend": [None, 2.0], "visits": [3.0, np.nan]})
    rows = matrix_of(SIGNATURE, table)
    assert rows is not None
    assert np.isnan(rows).tolist() == [[True, True, False], [False, False, True]]
    assert filled_fields(rows, NAMES) == [[], []]


def test_a_mark_survives_what_becomes_of_rows_on_their_way() -> None:
    rows = np.array([[FILLED, np.nan, 1.0]])
    moved = np.concatenate([rows, np.array(rows.tolist())])[::-1][:, ::-1]
    assert filled_fields(moved, ("c", "b", "a")) == [["a"], ["a"]]
    assert np.isnan(np.nansum(rows) - FILLED)
    assert not (rows.astype(np.float32) == rows.astype(np.float32))[0, :2].any()


def test_the_log_says_what_was_filled_in(tmp_path: Path) -> None:
    several = record(
        ids=["prd_1.0", "prd_1.1"],
        entities=None,
        names=NAMES,
        inputs=np.array([[1.0, np.nan, FILLED], [FILLED, 2.0, FILLED]]),
        outputs=np.array([0.1, 0.2]),
    )
    first, second = to_table(kept(tmp_path, several)).to_pylist()
    assert (first["filled"], second["filled"]) == (["visits"], ["age", "visits"])
    assert [first[f"feature.{name}"] for name in NAMES] == [1.0, None, None]


def test_where_a_model_takes_texts_it_is_not_told(tmp_path: Path) -> None:
    rows: Any = Forms(MIXED, LENIENT).decode(msgspec.json.encode({"instances": ROWS})).rows
    answered = record(ids=["prd_1", "prd_2"], entities=None, names=(*NAMES, "city"), inputs=rows)
    answered = msgspec.structs.replace(answered, outputs=np.array([0.1, 0.2]))
    assert to_table(kept(tmp_path, answered)).column("filled").to_pylist() == [None, None]


def test_a_batch_says_so_too() -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    table = logged_table(
        ["prd_1", "prd_2"],
        np.array([[1.0, np.nan, FILLED], [1.0, 2.0, 3.0]]),
        np.array([0.1, 0.2]),
        names=NAMES,
        texts=(),
        model="churn",
        version=1,
        at=when,
        business_at=when,
    )
    assert table.column("filled").to_pylist() == [["visits"], []]
