"""Taking in history from another server: with its ids and its times, which no client may set otherwise.

An import adds what is missing and changes nothing that is here, so it may be repeated, and goes on where it was
cut off. What cannot be kept, such as a key that is not one, is refused by itself: what came with it is kept.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from headrace.errors import HeadraceError, InvalidInput
from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.kernel.roots import normalized
from headrace.kernel.schema import to_microseconds
from headrace.tracking import (
    artifacts,
    experiments,
    keys,
    logged_models,
    logging,
    runs,
    tables_artifacts,
    tables_experiments,
    tables_importing,
    tables_metrics,
    tables_models,
    tables_runs,
)
from headrace.tracking.imported import (
    SOURCE_ID_TAG,
    Held,
    Here,
    ImportedExperiment,
    ImportExperiment,
    ImportFile,
    ImportFiles,
    ImportLoggedModel,
    ImportModelMetrics,
    ImportPoints,
    ImportRun,
    LoggedModelHere,
    Look,
    Refusal,
    RunHere,
)
from headrace.tracking.nouns import Artifact, LoggedModelStatus, ModelOutput
from headrace.tracking.paths import confined
from headrace.tracking.points import Point, put
from headrace.tracking.readings import to_sortables
from headrace.tracking.tables_runs import RunRow

POINTS_LIMIT = 50_000
_EARLIEST = to_microseconds(datetime.min.replace(tzinfo=UTC))
_LATEST = to_microseconds(datetime.max.replace(tzinfo=UTC))
_ID = re.compile(r"[A-Za-z0-9][\w\-]{0,63}", re.ASCII)


def take_experiment(tx: Tx, found: ImportExperiment) -> ImportedExperiment:
    """Take in an experiment; one of its name that is here is the same, and gets the tags that it lacks.

    Raises:
        InvalidInput: the name is not one.
    """
    experiments.check_name(found.name)
    tags, refused = _texts(found.tags, what="tag", where=f"experiment {found.name!r}", limit=keys.TAG_LIMIT)
    experiments.ensure_default(tx)
    known = tables_experiments.find_experiment(tx, name=found.name)
    if known is not None:
        if missing := {key: value for key, value in tags.items() if key not in known.tags}:
            tables_experiments.set_experiment_tags(tx, int(known.id), {**known.tags, **missing})
        return ImportedExperiment(source_id=found.id, experiment=experiments.get(tx, known.id), refused=refused)
    deleted_at = (found.deleted_at or tx.now) if found.deleted else None
    wanted = msgspec.structs.replace(found, tags=tags, deleted_at=deleted_at)
    number = _number(found.id)
    added = None if number is None else tables_importing.add_experiment(tx, wanted, number)
    if added is None:
        added = tables_importing.add_experiment(tx, wanted, None)
        assert added is not None
        tables_experiments.change_experiment(tx, added, tags={**tags, SOURCE_ID_TAG: found.id})
    payload = {"name": found.name, "source_id": found.id, "deleted": found.deleted}
    events.append(tx, "tracking.experiment_imported", f"experiment/{added}", payload)
    return ImportedExperiment(source_id=found.id, experiment=experiments.get(tx, str(added)), refused=refused)


def take_run(tx: Tx, found: ImportRun) -> tuple[Refusal, ...]:
    """Take in a run, or what a run that is here lacks; its status and end only while it has not ended here."""
    where = f"run/{found.id}"
    try:
        _check_run(tx, found)
    except HeadraceError as problem:
        return (Refusal(where=where, problem=problem.message),)
    deleted_at = (found.deleted_at or _gone(tx, found.experiment_id)) if found.deleted else None
    added = tables_importing.add_run(tx, msgspec.structs.replace(found, deleted_at=deleted_at))
    run = runs.require(tx, found.id)
    if run.experiment != int(found.experiment_id):
        return (Refusal(where=where, problem=f"a run of this id is in experiment {run.experiment}"),)
    ended = not added and not run.status.ended and found.status is not run.status
    if ended:
        tables_runs.change_run(tx, run.number, status=found.status.value, ended_at=found.ended_at)
    if added or ended:
        payload = {"experiment_id": found.experiment_id, "name": found.name, "status": found.status.value}
        events.append(tx, "tracking.run_imported", where, payload)
    return (*_take_params(tx, run, found.params), *_take_tags(tx, run, found.tags), *_take_links(tx, run, found))


def take_points(tx: Tx, found: Sequence[ImportPoints]) -> tuple[Refusal, ...]:
    """Take in points of runs; one that is here stays one.

    Raises:
        NotFound: there is no such run.
        InvalidInput: these are too many at once, or the columns differ in length.
    """
    if sum(len(each.values) for each in found) > POINTS_LIMIT:
        raise InvalidInput(f"an import takes at most {POINTS_LIMIT} points at once", where="points")
    refused = []
    by_run: defaultdict[str, dict[str, list[Point]]] = defaultdict(dict)
    for each in found:
        try:
            keys.check_key(each.key, what="metric")
            _check_times(each.times)
            codes = to_sortables([float(value) for value in each.values])
            points = list(zip(each.steps, each.times, codes, strict=True))
        except ValueError as error:
            raise InvalidInput("steps, times and values have the same length", where="points") from error
        except InvalidInput as problem:
            refused.append(Refusal(where=f"run/{each.run_id}", problem=problem.message))
        else:
            if points:
                by_run[each.run_id].setdefault(each.key, []).extend(points)
    for run_id, points_of in by_run.items():
        put(tx, runs.require(tx, run_id), points_of)
    return tuple(refused)


def take_logged_model(tx: Tx, found: ImportLoggedModel) -> tuple[Refusal, ...]:
    """Take in a logged model, or what one that is here lacks of it; its status while it is pending here."""
    where = f"logged-model/{found.id}"
    try:
        _check_id(found.id)
        keys.check_text(found.name, where="name", limit=experiments.NAME_LIMIT)
        _check_place(found.artifact_uri)
        experiments.get(tx, found.experiment_id)
    except HeadraceError as problem:
        return (Refusal(where=where, problem=problem.message),)
    tags, no_tags = _texts(found.tags, what="tag", where=where, limit=keys.TAG_LIMIT)
    params, no_params = _texts(found.params, what="param", where=where, limit=keys.VALUE_LIMIT)
    known = tables_models.find(tx, found.id)
    if known is None:
        if not tables_importing.add_logged_model(tx, msgspec.structs.replace(found, params=params, tags=tags)):
            return (Refusal(where=where, problem="another workspace has a logged model of this id"),)
        payload = {"experiment_id": found.experiment_id, "name": found.name, "run_id": found.source_run_id}
        events.append(tx, "tracking.logged_model_imported", where, payload)
    else:
        grown = msgspec.structs.replace(
            known,
            status=found.status if known.status is LoggedModelStatus.PENDING else known.status,
            params={**params, **known.params},
            tags={**tags, **known.tags},
        )
        if grown != known:
            tables_importing.change_logged_model(
                tx, found.id, status=grown.status, params=grown.params, tags=grown.tags
            )
    return (*no_tags, *no_params)


def take_model_metrics(tx: Tx, found: ImportModelMetrics) -> tuple[Refusal, ...]:
    """Take in what runs measured on a logged model; what a run measured that is not here is refused.

    Raises:
        NotFound: there is no such logged model.
    """
    logged_models.get(tx, found.model_id, deleted_too=True)
    where = f"logged-model/{found.model_id}"
    refused = []
    for run_id in sorted({each.run_id for each in found.metrics}):
        points = [
            msgspec.structs.replace(each.point, model_id=found.model_id)
            for each in found.metrics
            if each.run_id == run_id
        ]
        run = tables_runs.find_run(tx, run_id)
        if run is None:
            refused.append(Refusal(where=where, problem=f"its metrics of the run {run_id}, which is not here"))
        else:
            tables_metrics.add_model_metrics(tx, run.number, points, tx.now)
    return tuple(refused)


def take_files(tx: Tx, found: ImportFiles) -> tuple[Refusal, ...]:
    """Give stored blobs their names, also where the owner is deleted; the same content again is no change.

    Raises:
        NotFound: there is no such run or logged model.
    """
    _require(tx, found.owner)
    refused = []
    known = {each.path: each for each in tables_artifacts.under(tx, found.owner, "")}
    fresh = []
    for file in found.files:
        try:
            confined(file.path)
        except InvalidInput as problem:
            refused.append(Refusal(where=f"{found.owner}/{file.path[:100]}", problem=problem.message))
            continue
        if file.path in known:
            if known[file.path].digest != file.digest:
                problem_here = "another file of this path is here"
                refused.append(Refusal(where=f"{found.owner}/{file.path}", problem=problem_here))
            continue
        fresh.append(
            Artifact(
                owner=found.owner,
                path=file.path,
                digest=file.digest,
                size_bytes=file.size_bytes,
                created_by=tx.actor,
                created_at=tx.now,
            )
        )
    if fresh:
        tables_importing.put_artifacts(tx, fresh)
        listed = {each.path: each.digest for each in fresh}
        events.append(tx, "tracking.artifacts_imported", found.owner, {"files": listed})
    return tuple(refused)


def look(tx: Tx, wanted: Look) -> Here:
    """What is here of some runs and logged models, deleted or not, and how much each has."""
    stored = tables_importing.find_runs(tx, wanted.runs)
    points = tables_importing.count_points(tx, [run.number for run in stored])
    models = [model for each in wanted.logged_models if (model := tables_models.find(tx, each)) is not None]
    owners = [artifacts.run_owner(run.id) for run in stored] + [artifacts.model_owner(model.id) for model in models]
    held = tables_importing.held(tx, owners)
    return Here(
        runs={
            run.id: RunHere(
                run=run.record(),
                points=points.get(run.number, 0),
                held=held.get(artifacts.run_owner(run.id), Held()),
            )
            for run in stored
        },
        logged_models={
            model.id: LoggedModelHere(model=model, held=held.get(artifacts.model_owner(model.id), Held()))
            for model in models
        },
    )


def files_of(tx: Tx, owner: str) -> tuple[ImportFile, ...]:
    """Every file of a run or a logged model, deleted or not, by path.

    Raises:
        NotFound: there is none of this id.
    """
    _require(tx, owner)
    return tuple(
        ImportFile(path=file.path, digest=file.digest, size_bytes=file.size_bytes)
        for file in artifacts.under(tx, owner)
    )


def _require(tx: Tx, owner: str) -> None:
    kind, _, name = owner.partition("/")
    if kind == "run":
        runs.require(tx, name)
    else:
        logged_models.get(tx, name, deleted_too=True)


def _gone(tx: Tx, experiment_id: str) -> datetime:
    """When a run was deleted that went with its experiment: at the same moment, so that both come back at once."""
    return tables_experiments.deleted_at(tx, int(experiment_id)) or tx.now


def _number(experiment_id: str) -> int | None:
    try:
        return experiments.number_of(experiment_id)
    except InvalidInput:
        return None


def _texts(
    found: Mapping[str, str], *, what: str, where: str, limit: int
) -> tuple[dict[str, str], tuple[Refusal, ...]]:
    """Those of the params or tags that can be kept, and what is wrong with the others."""
    kept: dict[str, str] = {}
    refused = []
    for key, value in found.items():
        try:
            keys.check_key(key, what=what)
            keys.check_text(value, where=f"{what} {key!r}", limit=limit)
        except InvalidInput as problem:
            refused.append(Refusal(where=f"{where}, {problem.where}", problem=problem.message))
        else:
            kept[key] = value
    return kept, tuple(refused)


def _check_id(identity: str) -> None:
    if not _ID.fullmatch(identity):
        raise InvalidInput("an id is up to 64 letters, digits, '_' and '-'", where="id")


def _check_times(times: Sequence[int]) -> None:
    if times and not _EARLIEST <= min(times) <= max(times) <= _LATEST:
        raise InvalidInput("a time is in the years 1 to 9999", where="times")


def _check_run(tx: Tx, found: ImportRun) -> None:
    _check_id(found.id)
    keys.check_text(found.name, where="run_name", limit=runs.NAME_LIMIT)
    keys.check_text(found.user, where="user", limit=runs.USER_LIMIT)
    _check_place(found.artifact_uri)
    experiments.get(tx, found.experiment_id)


def _check_place(artifact_uri: str) -> None:
    if artifact_uri and normalized(artifact_uri) != artifact_uri:
        raise InvalidInput("the place of its files is no absolute location", where="artifact_uri")


def _take_params(tx: Tx, run: RunRow, found: Mapping[str, str]) -> list[Refusal]:
    where = f"run/{run.id}"
    params, refused = _texts(found, what="param", where=where, limit=keys.VALUE_LIMIT)
    known = tables_runs.read_params(tx, run.number, list(params)) if params else {}
    other = [key for key, value in known.items() if params[key] != value]
    missing = {key: value for key, value in params.items() if key not in known}
    if missing:
        tables_runs.add_params(tx, run.number, run.experiment, missing)
    return [*refused, *(Refusal(where=where, problem=f"param {key!r} has another value here") for key in other)]


def _take_tags(tx: Tx, run: RunRow, found: Mapping[str, str]) -> list[Refusal]:
    tags, refused = _texts(found, what="tag", where=f"run/{run.id}", limit=keys.TAG_LIMIT)
    known = tables_runs.read_tags(tx, run.number, list(tags)) if tags else {}
    missing = {key: value for key, value in tags.items() if key not in known}
    if missing:
        tables_runs.put_tags(tx, run.number, run.experiment, missing)
    return list(refused)


def _take_links(tx: Tx, run: RunRow, found: ImportRun) -> list[Refusal]:
    refused = []
    for each in found.inputs.datasets:
        try:
            logging.check_dataset(each.dataset)
        except InvalidInput as problem:
            refused.append(Refusal(where=f"run/{run.id}", problem=problem.message))
        else:
            number = tables_runs.put_dataset(tx, run.experiment, each.dataset)
            tables_runs.put_dataset_input(tx, run.number, number, each.tags)
    asked = {*found.inputs.models, *(output.model_id for output in found.outputs)}
    known = tables_models.known(tx, sorted(asked)) if asked else set()
    refused += [
        Refusal(where=f"run/{run.id}", problem=f"the logged model {model_id}, which is not here")
        for model_id in sorted(asked - known)
    ]
    inputs = [ModelOutput(model_id=model_id) for model_id in found.inputs.models if model_id in known]
    tables_runs.put_model_links(tx, run.number, "input", inputs)
    outputs = [output for output in found.outputs if output.model_id in known]
    tables_runs.put_model_links(tx, run.number, "output", outputs)
    return refused
