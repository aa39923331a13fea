"""Columns of features: no two features share one, and no two columns differ in case alone."""

from itertools import permutations

import pyarrow as pa
import pytest

from headrace.serving.log.feature_names import FeatureNames, spelt, told_apart

MARKED = [spelt(f"feature.{name}").removeprefix("feature.") for name in ("x", "X", "x.text", "x.text.number")]
NAMES = ["x", "X", "x.text", "x.TEXT", "x.number", "x.text.text", "stra\u00dfe", "STRASSE", *MARKED]


@pytest.mark.parametrize("begin", range(len(NAMES)))
def test_no_two_features_share_a_column_and_no_two_columns_a_spelling(begin: int) -> None:
    order = NAMES[begin:] + NAMES[:begin]
    names = FeatureNames(None)
    owners: dict[str, str] = {}
    for text in (False, True):
        for name in order:
            column = names.of(name, text=text)
            assert owners.setdefault(column, name) == name
            assert names.has_texts(column) is text
    assert len(owners) == 2 * len(NAMES)
    assert len({column.casefold() for column in owners}) == len(owners)


@pytest.mark.parametrize("order", list(permutations(("age", "Age", "AGE"))))
def test_a_features_column_is_the_same_for_ever(order: tuple[str, ...]) -> None:
    schema = pa.schema([])
    first: dict[str, str] = {}
    for _ in range(2):
        for name in order:
            column = FeatureNames(schema).of(name, text=False)
            assert first.setdefault(name, column) == column
            if column not in schema.names:
                schema = schema.append(pa.field(column, pa.float64()))
    assert first[order[0]] == f"feature.{order[0]}"


def test_a_null_begins_no_second_column() -> None:
    names = FeatureNames(pa.schema([("feature.x", pa.string())]))
    assert names.of("x", text=False, null=True) == "feature.x"
    assert names.of("x", text=False) == "feature.x.number"


def test_names_are_told_apart_where_case_does_not_count() -> None:
    names = ["churn", "Churn", "churns", "other", "churn", spelt("churn")]
    shown = told_apart(names)
    assert (shown["churns"], shown["other"]) == ("churns", "other")
    assert shown["churn"] == spelt("churn")
    assert len({name.casefold() for name in shown.values()}) == len(set(names))
