"""Logged models: model directories that runs made, announced first, filled with files, then finalized."""

import msgspec

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import events, pins
from headrace.kernel.database import Tx
from headrace.kernel.ids import new_hex
from headrace.tracking import (
    cursors,
    experiments,
    filters,
    keys,
    runs,
    tables_experiments,
    tables_model_search,
    tables_models,
    vocabulary,
)
from headrace.tracking.expressions import comparisons
from headrace.tracking.names import run_name
from headrace.tracking.nouns import (
    CreateLoggedModel,
    LoggedModel,
    LoggedModelOrder,
    LoggedModelQuery,
    LoggedModelStatus,
)
from headrace.tracking.paths import model_files

PAGE_LIMIT = 1000
DATASETS_LIMIT = 100


def create(tx: Tx, request: CreateLoggedModel) -> LoggedModel:
    """Announce a logged model; its files follow, then `finalize`.

    Raises:
        NotFound: there is no such experiment or run.
        InvalidInput: a key or a value is not one.
    """
    location = experiments.require_live(tx, request.experiment_id).artifact_location
    if request.source_run_id:
        runs.require(tx, request.source_run_id)
    keys.check_tags(request.tags)
    _check_params(request.params)
    identity = new_hex()
    model_id = f"m-{identity}"
    model = LoggedModel(
        id=model_id,
        experiment_id=request.experiment_id,
        name=request.name or run_name(identity),
        model_type=request.model_type,
        source_run_id=request.source_run_id or None,
        artifact_uri=model_files(location, model_id) if location else "",
        params=request.params,
        tags=request.tags,
        created_by=tx.actor,
        created_at=tx.now,
        updated_at=tx.now,
    )
    keys.check_text(model.name, where="name", limit=experiments.NAME_LIMIT)
    tables_models.add(tx, model)
    events.append(
        tx,
        "tracking.logged_model_created",
        f"logged-model/{model.id}",
        {"experiment_id": model.experiment_id, "name": model.name, "run_id": model.source_run_id},
    )
    return model


def get(tx: Tx, model_id: str, *, deleted_too: bool = False) -> LoggedModel:
    """One logged model with its metrics.

    Raises:
        NotFound: there is none of this id, or it is deleted.
    """
    model = find(tx, model_id)
    if model is None or (model.deleted and not deleted_too):
        raise NotFound(f"Logged model with ID '{model_id}' not found.", where=f"logged-model/{model_id}")
    return model


def find(tx: Tx, model_id: str) -> LoggedModel | None:
    """One logged model with its metrics, deleted or not, if there is one."""
    return tables_models.find(tx, model_id)


def require_live(tx: Tx, model_id: str) -> LoggedModel:
    """A logged model that is going to be written to."""
    return get(tx, model_id)


def finalize(tx: Tx, model_id: str, status: LoggedModelStatus) -> LoggedModel:
    """Say that the files of a model are complete, or will not come; again with the same status is no change.

    Raises:
        InvalidInput: the status is PENDING.
    """
    model = require_live(tx, model_id)
    if status is LoggedModelStatus.PENDING:
        raise InvalidInput("a model is finalized as READY or FAILED", where="status")
    if model.status is not status:
        tables_models.change(tx, model_id, status=status.value)
        events.append(tx, "tracking.logged_model_finalized", f"logged-model/{model_id}", {"status": status.value})
    return get(tx, model_id)


def set_tags(tx: Tx, model_id: str, tags: dict[str, str]) -> LoggedModel:
    """Set tags of a logged model, over what they were."""
    keys.check_tags(tags)
    model = require_live(tx, model_id)
    tables_models.change(tx, model_id, tags={**model.tags, **tags})
    return get(tx, model_id)


def delete_tag(tx: Tx, model_id: str, key: str) -> None:
    """Remove a tag of a logged model.

    Raises:
        NotFound: it has no such tag.
    """
    model = require_live(tx, model_id)
    if key not in model.tags:
        raise NotFound(
            f"No tag with key '{key}' found for model with ID '{model_id}'.", where=f"logged-model/{model_id}"
        )
    rest = {name: value for name, value in model.tags.items() if name != key}
    tables_models.change(tx, model_id, tags=rest)


def log_params(tx: Tx, model_id: str, params: dict[str, str]) -> None:
    """Add params; one that is set already keeps its value, and another value is refused.

    Raises:
        InvalidInput: a param has another value already.
    """
    _check_params(params)
    model = require_live(tx, model_id)
    for key, value in params.items():
        if model.params.get(key, value) != value:
            raise InvalidInput("Changing param values is not allowed.", where=f"param {key!r}")
    tables_models.change(tx, model_id, params={**model.params, **params})


def search(tx: Tx, query: LoggedModelQuery) -> tuple[tuple[LoggedModel, ...], str]:
    """A page of logged models of some experiments, and the cursor of the next page, empty when there is none.

    Raises:
        InvalidInput: the filter, the order, a dataset, the limit, the cursor or an experiment's id is not one.
    """
    keys.check_limit(query.limit, PAGE_LIMIT)
    expression = filters.parse(query.filter, vocabulary.LOGGED_MODELS)
    if any(found.aggregate == "best" for found in comparisons(expression)):
        raise InvalidInput("best() is asked of runs", where="filter", fix="Write min(...) or max(...).")
    filters.check_orders(query.order_by)
    if len(query.datasets) > DATASETS_LIMIT:
        raise InvalidInput(f"metrics are looked for on at most {DATASETS_LIMIT} datasets", where="datasets")
    if not all(each.name for each in query.datasets):
        raise InvalidInput("`dataset_name` in the `datasets` clause must be specified.", where="datasets")
    orders = [_order(each) for each in query.order_by]
    named = sorted({experiments.number_of(each) for each in query.experiment_ids})
    numbers = tables_experiments.known_numbers(tx, named)
    if not numbers:
        return (), ""
    signature = cursors.signature(query.experiment_ids, query.filter, query.order_by, query.datasets)
    wanted = tables_model_search.ModelSearch(
        experiments=numbers,
        expression=expression,
        orders=orders,
        datasets=query.datasets,
        limit=query.limit,
        after=cursors.read(signature, query.cursor),
    )
    page, ended = tables_model_search.search(tx, wanted)
    return tuple(page), cursors.write(signature, ended)


def _order(asked: LoggedModelOrder) -> tables_model_search.ModelOrder:
    kind, dot, key = asked.key.partition(".")
    if dot and kind != "metrics":
        raise InvalidInput(
            f"Invalid order by field name: {asked.key}. Only metrics are supported.", where="order_by"
        )
    if not dot and asked.key not in {*vocabulary.LOGGED_MODELS.texts, *vocabulary.LOGGED_MODELS.numbers}:
        raise InvalidInput(f"Invalid order by field name: {asked.key}", where="order_by")
    if asked.dataset is not None and not asked.dataset.name:
        raise InvalidInput(
            "`dataset_digest` can only be specified if `dataset_name` is also specified.", where="order_by"
        )
    order = vocabulary.LOGGED_MODELS.order(kind if dot else None, key.strip("`") if dot else asked.key, "last")
    return tables_model_search.ModelOrder(msgspec.structs.replace(order, ascending=asked.ascending), asked.dataset)


def delete(tx: Tx, model_id: str) -> None:
    """Mark a logged model as deleted; again is no change. Its files stay until they are collected.

    Raises:
        NotFound: there is none of this id.
        Pinned: a registered version came from it.
    """
    if get(tx, model_id, deleted_too=True).deleted:
        return
    pins.require_unpinned(tx, f"logged-model/{model_id}")
    tables_models.change(tx, model_id, deleted_at=tx.now)
    events.append(tx, "tracking.logged_model_deleted", f"logged-model/{model_id}", {})


def _check_params(params: dict[str, str]) -> None:
    for key, value in params.items():
        keys.check_key(key, what="param")
        keys.check_text(value, where=f"param {key!r}")
