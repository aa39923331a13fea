"""Which group a row is in: numbers are cut, texts are taken as they are, and what is missing is a group, too."""

import numpy as np
import pyarrow as pa
import pytest

from headrace.delivery.group_columns import MISSING, labels_of
from headrace.errors import InvalidInput
from headrace.project.column import Column, column
from headrace.project.source import Source

PEOPLE = Source("people", "people.parquet", time="since")


def test_declared_edges_belong_to_the_group_above() -> None:
    values = pa.array([17.9, 18.0, 64.0, 65.0, None, float("nan"), float("inf"), -1.0])
    assert labels_of(values, column("age", edges=[18, 65])).tolist() == [
        "below 18", "18 to below 65", "18 to below 65", "65 and more", MISSING, MISSING, "65 and more", "below 18",
    ]  # fmt: skip


def test_edges_that_hardly_differ_stay_apart() -> None:
    near = column("income", edges=[1_000_000.4, 1_000_001.0, 1_000_004.9])
    assert near.title == "income at 1000000.4, 1000001, 1000004.9"
    assert near.title != column("income", edges=[1_000_000.4, 1_000_001.1, 1_000_004.9]).title
    assert len(set(labels_of(pa.array([1.0, 1_000_000.5, 1_000_002.0, 2e6]), near).tolist())) == 4


def test_few_numbers_are_groups_as_they_are() -> None:
    assert labels_of(pa.array([1, 2, None, 1]), column("children")).tolist() == ["1", "2", MISSING, "1"]
    assert labels_of(pa.array([None, None], pa.float64()), column("children")).tolist() == [MISSING, MISSING]


def test_many_numbers_are_cut_at_quantiles_and_ties_stay_together() -> None:
    groups = labels_of(pa.array(np.arange(1000.0)), column("spend"))
    assert sorted(np.unique(groups, return_counts=True)[1].tolist()) == [250, 250, 250, 250]
    assert len(np.unique(labels_of(pa.array(np.arange(1000.0)), column("spend", quantiles=10)))) == 10
    skewed = labels_of(pa.array(np.where(np.arange(1000) < 900, 0.0, np.arange(1000.0))), column("spend"))
    assert len({skewed[place] for place in range(900)}) == 1


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["n", None, "s"]),
        pa.chunked_array([["n"], [None, "s"]]).dictionary_encode(),
        pa.array([True, None, False]),
    ],
)
def test_texts_and_truths_are_groups(values: pa.Array) -> None:
    groups = labels_of(values, column("region", source=PEOPLE))
    assert len(set(groups)) == 3
    assert groups[1] == MISSING


@pytest.mark.parametrize(
    ("values", "by", "message"),
    [
        (pa.array([str(number) for number in range(51)]), column("name", source=PEOPLE), "51 different values"),
        (pa.array(["a"]), column("region", edges=[1]), "which edges cannot cut"),
    ],
)
def test_what_makes_no_groups_is_refused(values: pa.Array, by: Column, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        labels_of(values, by)
