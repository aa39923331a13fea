from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.errors import InvalidInput, SchemaMismatch, Unavailable
from headrace.features.lookup import FeatureLookup, prepare_views
from headrace.features.online import LmdbOnlineStore, OnlineStore, Position
from headrace.features.packing import merged
from headrace.features.windows import plan_view
from headrace.kernel.schema import to_microseconds
from headrace.project.feature_view import FeatureView
from headrace.testing import feature_cases as cases

NOW = cases.START + timedelta(days=30)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OnlineStore]:
    with closing(LmdbOnlineStore(tmp_path)) as store:
        yield store


def fill(store: OnlineStore, view: FeatureView, ages_days: dict[Any, list[float]]) -> None:
    plan = plan_view(view)
    position = Position(lake_version=1, through_us=to_microseconds(NOW), key_kind="integer")
    values = []
    for key, ages in ages_days.items():
        times = np.array(sorted(to_microseconds(NOW - timedelta(days=age)) for age in ages), np.int64)
        values.append((key, merged(None, times, [np.ones(len(times))] * len(plan.columns), -(2**62))))
    store.write(plan.online_key, None, position, values)


def test_rows_come_in_the_order_of_keys_and_columns(store: OnlineStore) -> None:
    fill(store, cases.VIEW, {1: [0.5, 3], 2: [20]})
    fill(store, cases.RECENT, {1: [0.5], 2: [20]})
    prepared = prepare_views([cases.RECENT, cases.VIEW])
    rows = FeatureLookup(store).rows(prepared, {"customer_id": [2, 1, None, 7, 1]}, NOW)
    assert rows.names == (*cases.RECENT.features, *cases.VIEW.features)
    assert rows.statuses == {
        "recent": ["expired", "found", "missing", "missing", "found"],
        "activity": ["expired", "found", "missing", "missing", "found"],
    }
    assert rows.values[1] == rows.values[4] == [1.0, 0.5, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 2.0, 0.5, 3.0]
    for place in (0, 2, 3):
        assert np.isnan(rows.values[place]).all()
    assert {len(row) for row in rows.values} == {len(rows.names)}
    assert (rows.at, rows.fresh_through) == (NOW, NOW)


def test_a_moment_that_the_store_has_passed_is_answered_as_of_the_store(store: OnlineStore) -> None:
    fill(store, cases.VIEW, {1: [1]})
    lookup = FeatureLookup(store)
    early = lookup.rows([cases.VIEW], {"customer_id": [1]}, NOW - timedelta(days=3))
    assert early == lookup.rows([cases.VIEW], {"customer_id": [1]}, NOW)
    assert early.at == NOW
    later = lookup.rows([cases.VIEW], {"customer_id": [1]}, NOW + timedelta(days=3))
    assert later.at == NOW + timedelta(days=3)
    assert later.values[0][rows_index("last")] == 4.0


def rows_index(name: str) -> int:
    return list(cases.VIEW.features).index(name)


def test_a_view_that_was_never_brought_is_unavailable(store: OnlineStore) -> None:
    with pytest.raises(Unavailable, match="activity"):
        FeatureLookup(store).rows([cases.VIEW], {"customer_id": [1]}, NOW)


@pytest.mark.parametrize("key", ["1", 1.0, True])
def test_keys_of_another_type_are_refused(store: OnlineStore, key: Any) -> None:
    fill(store, cases.VIEW, {1: [1]})
    with pytest.raises((SchemaMismatch, InvalidInput)):
        FeatureLookup(store).rows([cases.VIEW], {"customer_id": [key]}, NOW)


@pytest.mark.parametrize(
    "keys", [{}, {"customer": [1]}, {"customer_id": [1], "other": [1, 2]}, {"customer_id": [1] * 10_001}]
)
def test_frames_that_are_none_are_refused(store: OnlineStore, keys: dict[str, list[int]]) -> None:
    fill(store, cases.VIEW, {1: [1]})
    with pytest.raises(InvalidInput):
        FeatureLookup(store).rows([cases.VIEW], keys, NOW)


def test_nobody_asked_about(store: OnlineStore) -> None:
    fill(store, cases.VIEW, {1: [1]})
    assert FeatureLookup(store).rows([cases.VIEW], {"customer_id": []}, NOW).values == []
