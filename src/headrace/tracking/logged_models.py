"""Logged models: model directories that runs made, announced first, filled with files, then finalized."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import events, pins
from headrace.kernel.database import Tx
from headrace.kernel.ids import new_hex
from headrace.tracking import experiments, keys, runs, tables_models
from headrace.tracking.names import run_name
from headrace.tracking.nouns import CreateLoggedModel, LoggedModel, LoggedModelStatus

PAGE_LIMIT = 1000


class _Position(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Where a page of logged models ended."""

    at: datetime
    id: str


def create(tx: Tx, request: CreateLoggedModel) -> LoggedModel:
    """Announce a logged model; its files follow, then `finalize`.

    Raises:
        NotFound: there is no such experiment or run.
        InvalidInput: a key or a value is not one.
    """
    experiments.require_live(tx, request.experiment_id)
    if request.source_run_id:
        runs.require(tx, request.source_run_id)
    keys.check_tags(request.tags)
    _check_params(request.params)
    identity = new_hex()
    model = LoggedModel(
        id=f"m-{identity}",
        experiment_id=request.experiment_id,
        name=request.name or run_name(identity),
        model_type=request.model_type,
        source_run_id=request.source_run_id or None,
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
    model = tables_models.find(tx, model_id)
    if model is None or (model.deleted and not deleted_too):
        raise NotFound(f"Logged model with ID '{model_id}' not found.", where=f"logged-model/{model_id}")
    return model


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


def search(
    tx: Tx,
    experiment_ids: Sequence[str],
    *,
    name: str | None = None,
    source_run_id: str | None = None,
    limit: int = 100,
    cursor: str = "",
) -> tuple[tuple[LoggedModel, ...], str]:
    """Logged models of some experiments, newest first, and the cursor of the next page."""
    keys.check_limit(limit, PAGE_LIMIT)
    position = keys.read_cursor(cursor, _Position) if cursor else None
    found = tables_models.search(
        tx,
        numbers=[experiments.number_of(each) for each in experiment_ids],
        name=name,
        source_run_id=source_run_id,
        limit=limit + 1,
        before=(position.at, position.id) if position else None,
    )
    page = tuple(found[:limit])
    if len(found) <= limit:
        return page, ""
    return page, keys.write_cursor(_Position(at=page[-1].created_at, id=page[-1].id))


def delete(tx: Tx, model_id: str) -> None:
    """Mark a logged model as deleted; its files stay until they are collected.

    Raises:
        Pinned: a registered version came from it.
    """
    require_live(tx, model_id)
    pins.require_unpinned(tx, f"logged-model/{model_id}")
    tables_models.change(tx, model_id, deleted_at=tx.now)
    events.append(tx, "tracking.logged_model_deleted", f"logged-model/{model_id}", {})


def _check_params(params: dict[str, str]) -> None:
    for key, value in params.items():
        keys.check_key(key, what="param")
        keys.check_text(value, where=f"param {key!r}")
