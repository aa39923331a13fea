"""Which column that a caller sends each column that a model sees was made of, where that is one and no more.

Scalers, imputers and encoders make each of their columns from one, and so a contribution of theirs is one of that
column. What mixes columns (PCA, products of features, code of the author's) has no such source, and is explained
from outside.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

ONE_BY_ONE = frozenset(
    {
        "Binarizer",
        "KBinsDiscretizer",
        "MaxAbsScaler",
        "MinMaxScaler",
        "OneHotEncoder",
        "OrdinalEncoder",
        "PowerTransformer",
        "QuantileTransformer",
        "RobustScaler",
        "SimpleImputer",
        "SplineTransformer",
        "StandardScaler",
        "TargetEncoder",
    }
)
"""Transformers of scikit-learn that make each of their columns from one, and say by its name which."""
SELECTORS = frozenset(
    {
        "GenericUnivariateSelect",
        "RFE",
        "RFECV",
        "SelectFdr",
        "SelectFpr",
        "SelectFromModel",
        "SelectFwe",
        "SelectKBest",
        "SelectPercentile",
        "SequentialFeatureSelector",
        "VarianceThreshold",
    }
)


def sources(transformer: Any, columns: Sequence[int], names: Sequence[str]) -> list[int] | None:
    """For each column that a transformer makes, the place of the column it is made of; None where there is not one.

    Args:
        transformer: fitted.
        columns: for each column that it takes, the place of the column that this is made of.
        names: of the columns that it takes, as it knows them.
    """
    if transformer is None:
        return list(columns)
    if isinstance(transformer, str):
        return list(columns) if transformer == "passthrough" else [] if transformer == "drop" else None
    kind, module = type(transformer).__name__, type(transformer).__module__
    if not module.startswith("sklearn."):
        return None
    if kind == "Pipeline":
        return of_steps([step for _, step in transformer.steps], columns, names)
    if kind == "FunctionTransformer":
        return list(columns) if transformer.func is None else None
    if kind == "ColumnTransformer":
        return _of_columns(transformer, columns, names)
    if kind in SELECTORS:
        return [columns[place] for place in np.flatnonzero(transformer.get_support()).tolist()]
    if kind in ONE_BY_ONE:
        return _by_name(transformer, columns)
    return None


def of_steps(steps: Sequence[Any], columns: Sequence[int], names: Sequence[str]) -> list[int] | None:
    """The same for transformers one after another."""
    found: list[int] | None = list(columns)
    for step in steps:
        if found is None:
            return None
        found = sources(step, found, names if len(names) == len(found) else [""] * len(found))
    return found


def _of_columns(transformer: Any, columns: Sequence[int], names: Sequence[str]) -> list[int] | None:
    made: dict[int, int] = {}
    for name, inner, chosen in transformer.transformers_:
        span = transformer.output_indices_.get(name)
        places = _places(chosen, names)
        if span is None or places is None:
            return None
        found = sources(inner, [columns[place] for place in places], [names[place] for place in places])
        if found is None or len(found) != span.stop - span.start:
            return None
        made.update(zip(range(span.start, span.stop), found, strict=True))
    return [made[place] for place in sorted(made)] if sorted(made) == list(range(len(made))) else None


def _places(chosen: Any, names: Sequence[str]) -> list[int] | None:
    """Which columns a part of a ColumnTransformer takes."""
    if isinstance(chosen, (str, int, np.integer)) and not isinstance(chosen, bool):
        chosen = [chosen]
    if isinstance(chosen, slice):
        if isinstance(chosen.start, str) or isinstance(chosen.stop, str):
            return None
        return list(range(len(names)))[chosen]
    listed = list(chosen)
    if all(isinstance(each, (bool, np.bool_)) for each in listed) and len(listed) == len(names):
        return [place for place, each in enumerate(listed) if each]
    try:
        return [names.index(each) if isinstance(each, str) else range(len(names))[int(each)] for each in listed]
    except (ValueError, TypeError, IndexError):
        return None


def _by_name(transformer: Any, columns: Sequence[int]) -> list[int] | None:
    """What a transformer makes bears the name of what it is made of; so it is asked with names of ours."""
    asked = copy.copy(transformer)
    asked.__dict__.pop("feature_names_in_", None)
    own = [f"x{place:06}" for place in range(len(columns))]
    try:
        made = [str(name) for name in asked.get_feature_names_out(own)]
    except Exception:  # noqa: BLE001 - a transformer that cannot say it is explained from outside
        return None
    found = []
    for name in made:
        at = name.removeprefix("missingindicator_")
        place = at[1:7]
        if not at.startswith("x") or not place.isdigit() or int(place) >= len(columns):
            return None
        found.append(columns[int(place)])
    return found
