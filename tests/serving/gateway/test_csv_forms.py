"""CSV is checked as strictly as JSON."""

import numpy as np
import pytest
from tests.serving.gateway.test_parquet_forms import EXPECTED, FORMS

from headrace.errors import InvalidInput, SchemaMismatch, TooLarge
from headrace.serving.gateway.csv_forms import from_csv


def test_csv_rows_are_typed_and_an_empty_value_is_null() -> None:
    asked = from_csv(FORMS, b"visits,spend,member\n3,1.5,true\n\n4,,\n")
    np.testing.assert_array_equal(asked.rows, EXPECTED)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (b"visits,spend\n3.5,1\n", "csv[0].visits"),
        (b"visits,spend\n3,1\n,2\n", "csv[1].visits"),
        (b"visits,spend\n3,secret\n", "csv[0].spend"),
        (b"visits,spend,more\n3,1,2\n", "csv[0].more"),
        (b"visits\n3\n", "csv[0].spend"),
        (b"visits,spend\n3\n", "csv[0]"),
        (b"visits,visits,spend\n3,3,1\n", "csv"),
    ],
)
def test_a_bad_field_of_csv_is_named_and_not_quoted(text: bytes, where: str) -> None:
    with pytest.raises(SchemaMismatch) as refused:
        from_csv(FORMS, text)
    assert refused.value.where == where
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("text", [b"", b"visits,spend\n", b"\xff\xfe", b'visits,spend\n"3,1\n', b"\0"])
def test_what_is_no_csv_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        from_csv(FORMS, text)


def test_more_rows_than_a_request_may_have_are_refused() -> None:
    with pytest.raises(TooLarge):
        from_csv(FORMS, b"visits,spend\n" + b"3,1\n" * 10_001)
