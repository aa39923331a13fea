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
_QUOTED: dict[Kind, str] = {
    "param": "parameter (e.g. 'my-value')",
    "tag": "tag (e.g. 'my-value')",
    "attribute": "attributes",
    "dataset": "dataset attributes",
}

_EQUAL = frozenset({"=", "!="})
_RANKED = _EQUAL | {"<", "<=", ">", ">="}
_TEXTUAL = _EQUAL | {"LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE", "IN", "NOT IN"}
_NULL = frozenset({"IS NULL", "IS NOT NULL"})


class Written(msgspec.Struct, frozen=True):
    """A value as a filter has it: as it is written, and what that says; a word without quotes says nothing."""

    text: str
    value: str | float | None


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """The names of one kind of thing.

    Attributes:
        kinds: what can be asked for beside attributes.
        texts: attributes that are text, each name with that of the column it means.
        numbers: attributes that are numbers or times in milliseconds since 1970, likewise.
        types: what is said of the types of names there are.
        free_quotes: whether a number may stand in quotes and a text that is a number without.
    """

    kinds: frozenset[Kind]
    texts: Mapping[str, str]
    numbers: Mapping[str, str]
    types: str = "Valid entity types are ('attribute', 'tag', 'tags')"
    free_quotes: bool = False

    def comparison(
        self,
        prefix: str | None,
        key: str,
        aggregate: Aggregate,
        comparator: Comparator,
        written: Written | tuple[Written, ...] | None,
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
        value: Value = None
        if isinstance(written, Written):
            value = self._number(kind, key, written) if numeric else self._text(kind, written)
        if comparator not in allowed:
            raise InvalidInput(f"Invalid comparator '{comparator}' not one of {_shown(allowed)}", where="filter")
        if isinstance(written, tuple):
            value = _list(written)
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
                f"Invalid entity type '{prefix}'. {self.types}",
                where=where,
            )
        if aggregate != "last" and kind != "metric":
            raise InvalidInput(f"{aggregate}() is asked of metrics, and '{key}' is none", where=where)
        if kind == "tag" and key in RUN_NAME_TAGS and "run_name" in self.texts:
            return "attribute", self.texts["run_name"]
        if kind == "dataset" and key not in DATASET_KEYS:
            raise InvalidInput(
                f"Invalid dataset key '{key}' specified. Valid keys are {_shown(DATASET_KEYS)}", where=where
            )
        if kind != "attribute":
            return cast("Kind", kind), key
        column = self.texts.get(key) or self.numbers.get(key)
        if column is None:
            valid = _shown([*self.texts, *self.numbers])
            logged = [
                f"{kind}s.{key}" for kind in ("metric", "param", "tag") if prefix is None and kind in self.kinds
            ]
            raise InvalidInput(
                f"Invalid attribute key '{key}' specified. Valid keys are {valid}",
                where=where,
                fix=f"What was logged is written {' or '.join(logged)}." if logged else None,
            )
        return "attribute", column

    def _number(self, kind: Kind, key: str, written: Written) -> float:
        value = written.value
        if self.free_quotes and isinstance(value, str) and value.isascii() and value.isdecimal():
            return float(value)
        if isinstance(value, float):
            return value
        what = "metric" if kind == "metric" else f"numeric attribute: {key}"
        raise InvalidInput(f"Expected numeric value type for {what}. Found {written.text}", where="filter")

    def _text(self, kind: Kind, written: Written) -> str:
        if isinstance(written.value, str):
            return written.value
        if written.value is None:
            raise InvalidInput(
                "Parameter value is either not quoted or unidentified quote types used for string value"
                f" {written.text}. Use either single or double quotes.",
                where="filter",
            )
        if self.free_quotes:
            return written.text
        raise InvalidInput(
            f"Expected a quoted string value for {_QUOTED[kind]}. Got value {written.text}", where="filter"
        )


def _list(written: tuple[Written, ...]) -> tuple[str, ...]:
    """The texts of IN."""
    values = tuple(each.value for each in written)
    if not values:
        raise InvalidInput(
            "While parsing a list in the query, expected a non-empty list of string values, but got empty list",
            where="filter",
        )
    texts = tuple(value for value in values if isinstance(value, str))
    if len(texts) < len(values):
        raise InvalidInput(
            "While parsing a list in the query, expected string value, punctuation, or whitespace,"
            f" but got different type in list: ({', '.join(each.text for each in written)})",
            where="filter",
        )
    return texts


def _shown(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


RUNS = Vocabulary(
    kinds=frozenset({"metric", "param", "tag", "dataset"}),
    types="Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']",
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
    types="Expected one of ['attributes', 'metrics', 'params', 'tags'].",
    free_quotes=True,  # `params.lr = 0.01` is how MLflow's own documentation writes it
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
