"""Features of entities for the versions that a gateway holds, in the order of each version's columns."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
import numpy as np

from headrace.errors import NotServed
from headrace.features.lookup import FeatureLookup, PreparedViews, prepare_views
from headrace.features.online import open_online_store
from headrace.kernel.settings import Settings
from headrace.project.feature_view import FeatureView
from headrace.serving.forms.inputs import Array
from headrace.serving.forms.json_forms import EntityValue
from headrace.serving.nouns import ServedVersion

PREPARED_LIMIT = 256


class _Prepared(NamedTuple):
    views: PreparedViews
    order: list[int]
    """Place of each column of the version among the looked-up features."""


class OnlineFeatures:
    """Reads features from the online store, computed at the moment of the request; see `FeatureReader`."""

    def __init__(self, lookup: FeatureLookup) -> None:
        self._lookup = lookup
        self._prepared: dict[tuple[str, int, str], _Prepared] = {}

    def read(
        self, version: ServedVersion, names: Sequence[str], keys: Sequence[EntityValue], at: datetime
    ) -> Array:
        """Values of shape (keys, names), NaN for null, as of business time `at`.

        Raises:
            SchemaMismatch: a key is not of the source's type.
            NotServed: the version's views do not have its columns.
            Unavailable: a view has not been materialized, or the store cannot be read.
        """
        identity = (version.model, version.number, version.digest)
        prepared = self._prepared.get(identity)
        if prepared is None:
            if len(self._prepared) >= PREPARED_LIMIT:
                self._prepared.clear()
            prepared = self._prepared[identity] = _prepare(version, names)
        found = self._lookup.rows(prepared.views, {str(version.entity_key): keys}, at)
        return np.array(found.values, dtype=np.float64)[:, prepared.order]


def open_feature_reader(settings: Settings) -> OnlineFeatures:
    """The features of the platform in `settings.home`."""
    return OnlineFeatures(FeatureLookup(open_online_store(settings.home)))


def _prepare(version: ServedVersion, names: Sequence[str]) -> _Prepared:
    views = prepare_views([msgspec.convert(view.spec, FeatureView) for view in version.views])
    missing = [name for name in names if name not in views.names]
    if missing:
        raise NotServed(
            f"the version's feature views do not have the columns {', '.join(missing)[:200]}",
            where=f"version/{version.model}/{version.number}",
            fix="Send the features as dataframe_records.",
        )
    return _Prepared(views, [views.names.index(name) for name in names])
