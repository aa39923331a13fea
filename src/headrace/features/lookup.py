"""Online lookup: the features of one to a thousand entities at a moment, in the order of a model's columns."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import NamedTuple

from headrace.errors import InvalidInput, SchemaMismatch, Unavailable
from headrace.features.nouns import LookupStatus
from headrace.features.online import Key, OnlineStore, Position, Reading
from headrace.features.packing import unpack
from headrace.features.windows import ViewPlan, features_at, plan_view
from headrace.kernel.schema import from_microseconds, to_microseconds
from headrace.project.feature_view import FeatureView

MOST_ROWS = 10_000


class FeatureRows(NamedTuple):
    """The answer of a lookup.

    Attributes:
        names: the features' names, view after view.
        values: one list for each entity, as long as `names`; NaN for null.
        statuses: for each view, by name, what was found of each entity.
        at: the moment that the features are as of; see `FeatureLookup.rows`.
        fresh_through: business time up to which the stalest of the views has been brought.
    """

    names: tuple[str, ...]
    values: list[list[float]]
    statuses: dict[str, list[LookupStatus]]
    at: datetime
    fresh_through: datetime


class PreparedViews(NamedTuple):
    """The views of a model, ready to be looked up again and again."""

    plans: tuple[ViewPlan, ...]
    names: tuple[str, ...]


def prepare_views(views: Sequence[FeatureView]) -> PreparedViews:
    """Prepare a model's views once, in the order of its columns."""
    plans = tuple(plan_view(view) for view in views)
    return PreparedViews(plans, tuple(term.name for plan in plans for term in plan.terms))


class FeatureLookup:
    """Looks features up in an online store. May be called from any thread."""

    def __init__(self, store: OnlineStore) -> None:
        self._store = store

    def rows(
        self,
        views: PreparedViews | Sequence[FeatureView],
        keys: Mapping[str, Sequence[Key | None]],
        at: datetime,
    ) -> FeatureRows:
        """The features of entities at a moment.

        Args:
            views: the model's views; prepare them once with `prepare_views` where speed counts.
            keys: for each entity's key column the keys, one for each row; a null key is an unknown entity.
            at: the moment, usually business now. What the store has been brought past cannot be answered
                exactly
                any more; the answer is then as of the moment it was brought to, which `FeatureRows.at` tells.

        Raises:
            InvalidInput: a key column is missing, or the columns are not of one length, or too long.
            SchemaMismatch: a key is not of the source's type.
            Unavailable: a view has not been materialized yet.
        """
        prepared = views if isinstance(views, PreparedViews) else prepare_views(views)
        _require_rectangle(prepared, keys)
        readings = [self._store.read(plan.online_key, keys[plan.view.entity.key]) for plan in prepared.plans]
        positions = [_require_materialized(*pair) for pair in zip(prepared.plans, readings, strict=True)]
        for plan, position in zip(prepared.plans, positions, strict=True):
            _require_kind(plan, position, keys[plan.view.entity.key])
        through_us = [position.through_us for position in positions]
        at_us = max(to_microseconds(at), *through_us)
        statuses: dict[str, list[LookupStatus]] = {}
        parts: list[list[list[float]]] = []
        for plan, reading in zip(prepared.plans, readings, strict=True):
            found = [features_at(plan, None if v is None else unpack(v), at_us) for v in reading.values]
            statuses[plan.view.name] = [status for status, _ in found]
            parts.append([row for _, row in found])
        values = parts[0] if len(parts) == 1 else [list(chain(*row)) for row in zip(*parts, strict=True)]
        return FeatureRows(
            prepared.names, values, statuses, from_microseconds(at_us), from_microseconds(min(through_us))
        )


def _require_rectangle(prepared: PreparedViews, keys: Mapping[str, Sequence[Key | None]]) -> None:
    for plan in prepared.plans:
        key = plan.view.entity.key
        if key not in keys:
            raise InvalidInput(
                f"the keys of entity {plan.view.entity.name} are missing",
                where=f"entities.{key}",
                fix=f'Send {{"entities": {{"{key}": [...]}}}}.',
            )
    lengths = {len(column) for column in keys.values()}
    if len(lengths) != 1:
        raise InvalidInput("the columns of keys are not of one length", where="entities")
    if max(lengths) > MOST_ROWS:
        raise InvalidInput(
            f"more than {MOST_ROWS} entities at once", where="entities", fix="Send several requests."
        )


def _require_materialized(plan: ViewPlan, reading: Reading) -> Position:
    if reading.position is None:
        raise Unavailable(
            "the feature view has not been brought into the online store yet",
            where=f"view/{plan.view.name}",
            fix="Wait for its materialization: headrace features.",
        )
    return reading.position


def _require_kind(plan: ViewPlan, position: Position, keys: Sequence[Key | None]) -> None:
    wanted = int if position.key_kind == "integer" else str
    for key in keys:
        if key is not None and type(key) is not wanted:
            raise SchemaMismatch(
                f"the key {plan.view.entity.key} is of type {position.key_kind}, not {type(key).__name__}",
                where=f"entities.{plan.view.entity.key}",
                fix="Send keys in the type that the source has.",
            )
