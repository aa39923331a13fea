"""Which names a filter or an order may use for each kind of thing, and what can be asked of them."""

from collections.abc import Iterable, Mapping
from typing import cast

import msgspec

from headrace.errors import InvalidInput
from headrace.tracking.expressions import Aggregate, Comparator, Comparison, Kind, Order, Value

KINDS: dict[str, Kind] = {
    **dict.fromkeys(("metric", "metrics"), "metric"),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), "param"),
    **dict.fromkeys(("tag", "tags"), "tag"),
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), "attribute"),
    **dict.fromkeys(("dataset", "datasets"), "dataset"),
}
DATASET_KEYS = ("name", "digest", "context")
RUN_NAME_TAGS = ("mlflow.runName", "mlflow.run_name")

_EQUAL = frozenset({"=", "!="})
_RANKED = _EQUAL | {"<", "<=", ">", ">="}
_TEXTUAL = _EQUAL | {"LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE", "IN", "NOT IN"}
_NULL = frozenset({"IS NULL", "IS NOT NULL"})


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """The names of one kind of thing.

    Attributes:
        kinds: what can be asked for beside attributes.
        texts: attributes that are text, each name with that of the column it means.
        numbers: attributes that are numbers or times in milliseconds since 1970, likewise.
    """

    kinds: frozenset[Kind]
    texts: Mapping[str, str]
    numbers: Mapping[str, str]

    def comparison(
        self, prefix: str | None, key: str, aggregate: Aggregate, comparator: Comparator, value: Value
    ) -> Comparison:
        """A comparison whose names and value are known to fit.

        Raises:
            InvalidInput: they do not.
        """
        kind, column = self._subject(prefix, key, aggregate, where="filter")
        numeric = kind == "metric" or (kind == "attribute" and key in self.numbers)
        allowed = _RANKED if numeric else _TEXTUAL
        if kind in {"param", "tag", "metric"} or (kind == "attribute" and not numeric):
            allowed = allowed | _NULL
        if comparator not in allowed:
            raise InvalidInput(f"Invalid comparator '{comparator}' not one of '{_shown(allowed)}'", where="filter")
        _check_value(kind, key, value, numeric=numeric)
        return Comparison(kind=kind, key=column, comparator=comparator, value=value, aggregate=aggregate)

    def order(self, prefix: str | None, key: str, aggregate: Aggregate) -> Order:
        """A key to order by, ascending.

        Raises:
            InvalidInput: such things cannot be ordered by it.
        """
        kind, column = self._subject(prefix, key, aggregate, where="order_by")
        if kind == "dataset":
            raise InvalidInput("Invalid order_by key: results are not ordered by datasets", where="order_by")
        return Order(kind=kind, key=column, aggregate=aggregate)

    def _subject(self, prefix: str | None, key: str, aggregate: Aggregate, *, where: str) -> tuple[Kind, str]:
        kind = "attribute" if prefix is None else KINDS.get(prefix)
        if kind is None or (kind not in self.kinds and kind != "attribute"):
            raise InvalidInput(
                f"Invalid entity type '{prefix}'. Valid values are {_shown(self.kinds | {'attribute'})}",
                where=where,
            )
        if aggregate != "last" and kind != "metric":
            raise InvalidInput(f"{aggregate}() is asked of metrics, and '{key}' is none", where=where)
        if kind == "tag" and key in RUN_NAME_TAGS and "run_name" in self.texts:
            return "attribute", self.texts["run_name"]
        if kind == "dataset" and key not in DATASET_KEYS:
            raise InvalidInput(
                f"Invalid dataset key '{key}' specified. Valid keys are '{_shown(DATASET_KEYS)}'", where=where
            )
        if kind != "attribute":
            return cast("Kind", kind), key
        column = self.texts.get(key) or self.numbers.get(key)
        if column is None:
            valid = _shown([*self.texts, *self.numbers])
            raise InvalidInput(f"Invalid attribute key '{key}' specified. Valid keys are '{valid}'", where=where)
        return "attribute", column


def _check_value(kind: Kind, key: str, value: Value, *, numeric: bool) -> None:
    if value is None:
        return
    if numeric and not isinstance(value, float):
        raise InvalidInput(
            f"Expected numeric value type for {'metric' if kind == 'metric' else f'numeric attribute: {key}'}."
            f" Found {value!r}",
            where="filter",
        )
    if not numeric and isinstance(value, float):
        raise InvalidInput(
            f"Expected a quoted string value for {kind} (e.g. 'my-value'). Got value {value:g}", where="filter"
        )


def _shown(names: Iterable[str]) -> str:
    return "{" + ", ".join(f"'{name}'" for name in sorted(names)) + "}"


RUNS = Vocabulary(
    kinds=frozenset({"metric", "param", "tag", "dataset"}),
    texts={
        "run_id": "id",
        **dict.fromkeys(("run_name", "run name", "Run name", "Run Name"), "name"),
        "user_id": "user",
        "status": "status",
        "artifact_uri": "artifact_uri",
    },
    numbers={**dict.fromkeys(("start_time", "created", "Created"), "started_at"), "end_time": "ended_at"},
)
EXPERIMENTS = Vocabulary(
    kinds=frozenset({"tag"}),
    texts={"name": "name", "experiment_id": "id"},
    numbers={"creation_time": "created_at", "last_update_time": "updated_at"},
)
LOGGED_MODELS = Vocabulary(
    kinds=frozenset({"metric", "param", "tag"}),
    texts={
        "name": "name",
        "experiment_id": "experiment",
        "model_id": "id",
        "model_type": "model_type",
        "status": "status",
        "source_run_id": "source_run_id",
    },
    numbers={
        **dict.fromkeys(("creation_timestamp", "creation_time"), "created_at"),
        **dict.fromkeys(("last_updated_timestamp", "last_updated_time"), "updated_at"),
    },
)
