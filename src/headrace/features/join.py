"""The point-in-time join: features of many entities, each as of its own moment.

It says in SQL what windows.py defines: events up to and including T, a window (T - w, T], the ttl on the
newest event. The plan is a range join of the events that each (key, T) may see, grouped; it uses no ASOF,
whose choice among ties is not fixed, and sums in the order of time and value, so that the same data give
the same bits.
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from headrace.errors import InvalidInput, NotFound
from headrace.features.engine import DataEngine
from headrace.features.frames import asked_rows, events_sql
from headrace.features.windows import DAY_US, Term, ViewPlan, plan_view
from headrace.kernel.lake import Snapshot
from headrace.project.feature_view import FeatureView


def point_in_time(
    engine: DataEngine,
    views: Sequence[FeatureView],
    snapshots: Mapping[str, Snapshot],
    entity_frame: pa.Table,
) -> pa.Table:
    """Add the views' features to an entity frame.

    Args:
        engine: who runs the join.
        views: the views, in the order of the columns they add.
        snapshots: the version of each view's source, by the source's name.
        entity_frame: the key column of each view's entity and `as_of` (timestamp with time zone); see
            frames.py.

    Returns:
        The frame's rows in their order, repeated rows kept, with one float64 column for each feature.
        Nulls: all features of a view for an entity that it does not know at T, and the mean, minimum or
        maximum of nothing.

    Raises:
        NotFound: a source's snapshot was not given.
        InvalidInput: two features, or a feature and a column of the frame, have one name; or a bad `as_of`.
        SchemaMismatch: a column is missing, or the key's type is not that of the source.
    """
    result = entity_frame
    for view in views:
        if view.source.name not in snapshots:
            raise NotFound("no version of the source was given", where=f"source/{view.source.name}")
        for name in view.features:
            if name in result.schema.names:
                raise InvalidInput(
                    f"two columns would be called {name!r}",
                    where=view.declared_at or f"view/{view.name}",
                    fix="Rename the feature.",
                )
        features = _features(engine, plan_view(view), snapshots[view.source.name], entity_frame)
        for name in view.features:
            result = result.append_column(name, features[name])
    return result


def _features(engine: DataEngine, plan: ViewPlan, snapshot: Snapshot, entity_frame: pa.Table) -> pa.Table:
    entity = plan.view.entity
    asked = asked_rows(entity_frame, entity, snapshot)
    events = events_sql(entity, snapshot.schema, plan.columns)
    needs_all = any(term.feature.kind == "age_of_first" for term in plan.terms)
    lower = "" if needs_all else f"AND asked.as_of_us - events.us <= {plan.ttl_us}"
    values = "".join(f", events.c{place} AS c{place}" for place in range(len(plan.columns)))
    aggregates = ", ".join(f"{_aggregate(plan, term)} AS f{place}" for place, term in enumerate(plan.terms))
    # What has expired is decided on the newest event, after the aggregation, as windows.py does it.
    features = ", ".join(
        f"CASE WHEN state.last_us <= {plan.ttl_us} THEN state.f{place} END AS f{place}"
        for place in range(len(plan.terms))
    )
    sql = f"""
        WITH events AS ({events}),
        pairs AS (SELECT DISTINCT key, as_of_us FROM asked WHERE key IS NOT NULL),
        seen AS (
            SELECT asked.key, asked.as_of_us, events.us AS us, asked.as_of_us - events.us AS age_us{values}
            FROM pairs AS asked JOIN events
            ON asked.key = events.key AND events.us <= asked.as_of_us {lower}
        ),
        state AS (
            SELECT key, as_of_us, min(age_us) AS last_us, {aggregates} FROM seen GROUP BY key, as_of_us
        )
        SELECT {features}
        FROM asked LEFT JOIN state ON asked.key = state.key AND asked.as_of_us = state.as_of_us
        ORDER BY asked.row
    """  # noqa: S608 - numbers and quoted names only
    table = engine.query(sql, {"asked": asked, "source": snapshot})
    return table.rename_columns([term.name for term in plan.terms])


def _aggregate(plan: ViewPlan, term: Term) -> str:
    kind = term.feature.kind
    if kind == "age_of_last":
        return f"CAST(min(age_us) AS DOUBLE) / {DAY_US}"
    if kind == "age_of_first":
        return f"CAST(max(age_us) AS DOUBLE) / {DAY_US}"
    within = f"FILTER (WHERE age_us < {plan.windows_us[term.window]})"
    if kind == "count":
        return f"CAST(count(*) {within} AS DOUBLE)"
    column = f"c{term.column}"
    total = f"fsum({column} ORDER BY us, {column}) {within}"
    if kind == "sum":
        return f"coalesce({total}, 0.0)"
    if kind == "mean":
        return f"{total} / nullif(count({column}) {within}, 0)"
    return f"{'min' if kind == 'minimum' else 'max'}({column}) {within}"
