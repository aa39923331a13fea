"""Features as a version was trained on them, from the real store, in the order of the version's columns."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest

from headrace.errors import NotServed, SchemaMismatch, Unavailable
from headrace.features.lookup import FeatureLookup
from headrace.features.online import LmdbOnlineStore, Position
from headrace.features.packing import merged
from headrace.features.windows import plan_view
from headrace.kernel.schema import to_microseconds
from headrace.project.declaration import definition
from headrace.serving.gateway.online_features import OnlineFeatures
from headrace.serving.nouns import ServedVersion, ServedView
from headrace.testing import feature_cases as cases

NOW = cases.START + timedelta(days=30)
VERSION = ServedVersion(
    model="churn",
    number=1,
    digest="sha256:1",
    files=(),
    entity_key="customer_id",
    views=(ServedView(name=cases.VIEW.name, version=1, spec=definition(cases.VIEW)),),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbOnlineStore]:
    with closing(LmdbOnlineStore(tmp_path)) as made:
        yield made


@pytest.fixture
def features(store: LmdbOnlineStore) -> OnlineFeatures:
    plan = plan_view(cases.VIEW)
    times = np.array([to_microseconds(NOW - timedelta(days=2))], np.int64)
    value = merged(None, times, [np.ones(1)] * len(plan.columns), -(2**62))
    position = Position(lake_version=1, through_us=to_microseconds(NOW), key_kind="integer")
    store.write(plan.online_key, None, position, [(7, value)])
    return OnlineFeatures(FeatureLookup(store))


def test_columns_come_in_the_versions_order_and_are_computed_at_the_moment(features: OnlineFeatures) -> None:
    for days, age in ((0, 2.0), (3, 5.0)):
        found = features.read(VERSION, ("last", "first"), [7, 8], NOW + timedelta(days=days))
        np.testing.assert_array_equal(found, [[age, age], [np.nan, np.nan]])
    another = msgspec.structs.replace(VERSION, number=2)
    every = features.read(another, tuple(cases.VIEW.features), [7], NOW)
    assert every[0, -2:].tolist() == [2.0, 2.0]
    assert every.shape == (1, len(cases.VIEW.features))


def test_a_column_that_no_view_has_is_named(features: OnlineFeatures) -> None:
    with pytest.raises(NotServed, match="shoe_size"):
        features.read(VERSION, ("last", "shoe_size"), [7], NOW)


def test_a_key_of_another_type_is_the_callers_and_an_empty_store_is_nobodys(
    features: OnlineFeatures, tmp_path: Path
) -> None:
    with pytest.raises(SchemaMismatch):
        features.read(VERSION, ("last",), ["7"], NOW)
    with closing(LmdbOnlineStore(tmp_path / "empty")) as empty, pytest.raises(Unavailable):
        OnlineFeatures(FeatureLookup(empty)).read(VERSION, ("last",), [7], NOW)


def test_more_versions_than_are_kept_prepared_still_answer(features: OnlineFeatures) -> None:
    for number in range(300):
        version = msgspec.structs.replace(VERSION, number=number)
        assert features.read(version, ("last",), [7], NOW).tolist() == [[2.0]]
