"""Parquet is checked as strictly as JSON, and a small file cannot unpack to a large one."""

import base64
import io
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.errors import InvalidInput, SchemaMismatch, TooLarge
from headrace.serving.forms.filled import FILLED, filled_fields
from headrace.serving.forms.json_forms import Forms
from headrace.serving.forms.signature import Column, Signature
from headrace.serving.gateway import parquet_forms
from headrace.serving.gateway.parquet_forms import from_parquet
from headrace.serving.nouns import FieldPolicy

FORMS = Forms(
    Signature(
        [
            Column(name="spend", type="double"),
            Column(name="visits", type="long"),
            Column(name="member", type="boolean", required=False),
        ]
    )
)
EXPECTED = [[1.5, 3, 1], [np.nan, 4, np.nan]]


def parquet(**columns: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def test_parquet_columns_are_taken_by_name() -> None:
    body = parquet(visits=[3, 4], member=[True, None], spend=[1.5, float("nan")])
    np.testing.assert_array_equal(from_parquet(FORMS, body).rows, EXPECTED)


def test_no_file_says_that_a_field_was_filled_in() -> None:
    rows: Any = from_parquet(FORMS, parquet(visits=[3], member=[True], spend=[FILLED])).rows
    assert np.isnan(rows[0, 0])
    assert filled_fields(rows, FORMS.signature.names) == [[]]


@pytest.mark.parametrize(
    "columns",
    [
        {"visits": [3]},
        {"visits": [3], "spend": ["secret"]},
        {"visits": [None], "spend": [1.0]},
        {"visits": [3], "spend": [1.0], "more": [1]},
        {"visits": pa.array([], pa.int64()), "spend": pa.array([], pa.float64())},
    ],
)
def test_a_parquet_file_of_another_schema_is_refused(columns: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        from_parquet(FORMS, parquet(**columns))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("body", [b"", b"PAR1", b"PAR1" * 100, parquet(x=[1])[:-9] + b"\xff" * 9])
def test_what_is_no_parquet_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        from_parquet(FORMS, body)


def test_a_file_that_unpacks_to_too_much_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TooLarge):
        from_parquet(FORMS, parquet(visits=[3] * 10_001, spend=[1.0] * 10_001))
    monkeypatch.setattr(parquet_forms, "UNPACKED_LIMIT_BYTES", 100)
    with pytest.raises(TooLarge):
        from_parquet(FORMS, parquet(visits=[3] * 100, spend=[1.0] * 100))


TEXTS = Forms(
    Signature([Column(name="city", type="string"), Column(name="note", type="binary", required=False)]),
)
LENIENT = Forms(FORMS.signature, FieldPolicy(unknown="ignore"))


def test_a_text_that_all_rows_share_counts_once_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    body = parquet(city=["x" * 1_000] * 100)
    assert len(body) < 5_000
    rows = from_parquet(TEXTS, body).rows
    assert isinstance(rows, dict)
    assert rows["city"].tolist() == ["x" * 1_000] * 100
    assert len({id(value) for value in rows["city"]}) == 1
    monkeypatch.setattr(parquet_forms, "UNPACKED_LIMIT_BYTES", 50_000)
    with pytest.raises(TooLarge):
        from_parquet(TEXTS, body)


def test_a_column_that_the_model_does_not_know_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[str]] = []

    def values(column: Any) -> list[Any]:
        read.append(column.type)
        return plain(column)

    plain = parquet_forms._values
    monkeypatch.setattr(parquet_forms, "_values", values)
    more = {
        "nested": [[["x"]], [[]]],
        "pair": [{"x": 1, "y": "z"}] * 2,
        "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int8())),
        "spend.more": ["x" * 1_000] * 2,
    }
    body = parquet(**more, visits=[3, 4], spend=[1.5, None], member=pa.nulls(2))
    np.testing.assert_array_equal(from_parquet(LENIENT, body).rows, [[1.5, 3, np.nan], [np.nan, 4, np.nan]])
    assert read == [pa.int64(), pa.float64(), pa.null()]
    with pytest.raises(SchemaMismatch) as refused:
        from_parquet(FORMS, body)
    assert refused.value.where in {f"parquet.{name}" for name in more}


@pytest.mark.parametrize(
    "city",
    [
        pa.array(["a", "b"]).dictionary_encode(),
        pa.array(["a", "b"], pa.large_string()),
        pa.array(["a", "b"], pa.string_view()),
    ],
)
def test_texts_of_every_kind_are_read(city: Any) -> None:
    rows = from_parquet(TEXTS, parquet(city=city, note=pa.array([b"1", None]))).rows
    assert isinstance(rows, dict)
    assert rows["city"].tolist() == ["a", "b"]
    assert rows["note"].tolist() == [b"1", None]


@pytest.mark.parametrize("spend", [[[1.0]], [{"x": 1.0}], pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8()))])
def test_a_nested_column_is_refused_before_it_is_read(spend: Any) -> None:
    with pytest.raises(SchemaMismatch) as refused:
        from_parquet(FORMS, parquet(visits=[3], spend=spend))
    assert (refused.value.where, "is not read" in str(refused.value)) == ("parquet.spend", True)


@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_texts_in_every_encoding_are_read_and_counted(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sink, texts = io.BytesIO(), ["x" * 900 + str(row) for row in range(100)]
    columns = pa.table({"city": texts})
    pq.write_table(columns, sink, use_dictionary=False, column_encoding={"city": encoding}, row_group_size=40)
    rows = from_parquet(TEXTS, sink.getvalue()).rows
    assert isinstance(rows, dict)
    assert rows["city"].tolist() == texts
    monkeypatch.setattr(parquet_forms, "UNPACKED_LIMIT_BYTES", 50_000)
    with pytest.raises(TooLarge):
        from_parquet(TEXTS, sink.getvalue())


DAMAGED = (
    "eNoLcAwyFGURFRAV8RFlEmUQYmDgkKkLb0m0y3hgL8ogKiQqpgMUFxBlE2WTkeCAySBYYgwaWEQFBRkYGDgVmIAkEyMjEwO6DTe4"
    "w7X0GO5jsQEmg2CBbMAUJWRDz03JObPnXMJiA0wGwQLZgCmKaYOkjymDBFtxckZqbqIoG4MolwqTBFtibn5pXgmQowrklGUWZ5YU"
    "QzjMiempDGJMkjKSNmoMMqJckqYMbAKSMA2iTGJMYnsYxY4wqlmocZAWtJI6QN8yiAKdxAD0FRODjSabpBoDyKEoFkEcg2TRH0a1"
    "M4ykhTFxVoG8imTPAWa1CcykhTRue8S2sIgxqXGInWFhkJSR4HEMCvIPt4LEgcQaJn0QsEx3BIJARwjwdnQsd3RKd3RzdEx3dAZL"
    "OTo5OTr6ghjOjo6eYAEE7QiRciqHsSBGOReDjAYrqQALhiLUg4ELiIgMT8lx9EoCqrRwBBlpGABkgkwK9AW7x90R2WmOIHc5OnpE"
    "FSQb5RgkA9WVl0HVpwMVOQWC3AfUkgwxHGiZK0wj1DxPbOa5u5UkGYeVpkCE3EGGAcXdoUqcobQtg4RCQWJRYWlqiW5yQYFuYlFR"
    "frlCWWpRcWZ+noKRmZ6BnqGkjQwDAwQxfACGfgCwdAAAej32pQ=="
)
"""A file with one byte changed, which says that a column has more levels than it has."""
READS_IT = """
import sys
from headrace.errors import InvalidInput
from headrace.serving.gateway.parquet_forms import from_parquet
from headrace.serving.forms.json_forms import Forms
from headrace.serving.nouns import FieldPolicy
from headrace.serving.forms.signature import Column, Signature
columns = [Column(name=name, type="double") for name in ("amount", "visits", "age")]
try:
    from_parquet(Forms(Signature(columns), FieldPolicy()), sys.stdin.buffer.read())
except InvalidInput:
    print("refused")
"""


def test_a_damaged_file_does_not_end_the_process() -> None:
    """In a process of its own: the library answers some questions about such a file with an abort."""
    body = zlib.decompress(base64.b64decode(DAMAGED))
    done = subprocess.run([sys.executable, "-c", READS_IT], input=body, capture_output=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, b"refused"), done.stderr.decode()
