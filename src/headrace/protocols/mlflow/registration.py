"""Registering what an MLflow client logged: the files that lie at its source become a version's own."""

from collections.abc import Sequence
from typing import Any

import anyio.to_thread
import msgspec
import yaml
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from headrace.errors import InvalidInput
from headrace.kernel.access import Role
from headrace.kernel.database import Tx
from headrace.protocols.mlflow import locations, placed, registered
from headrace.protocols.mlflow.decoding import decode
from headrace.protocols.mlflow.endpoints import Answer, encode, mounted
from headrace.protocols.mlflow.locations import SCHEME, VERSION, Location
from headrace.protocols.mlflow.prefixes import both
from headrace.protocols.mlflow.wire import Pair, as_map
from headrace.registry import models, register, versions
from headrace.registry.lineage import version_subject
from headrace.registry.nouns import Estimate, ModelFile, RegisterVersion, Version
from headrace.tracking import artifacts, logged_models, runs
from headrace.tracking.files import Files

PATH = "mlflow/model-versions/create"
MLMODEL = "MLmodel"
MLMODEL_LIMIT_BYTES = 4 * 1024**2
MODELS = "models:/"
RUNS = "runs:/"
COPIED = (
    "params", "metrics", "profile", "training_set_id", "data", "bundle_digest", "environment_digest",
    "code_commit", "code_dirty", "code_diff", "entity_key", "feature_views",
)  # fmt: skip
"""What is true of a version's copy too, since it is made of the same files."""


class CreateVersion(msgspec.Struct, frozen=True, kw_only=True):
    """`model-versions/create`."""

    name: str
    source: str
    run_id: str = ""
    tags: tuple[Pair, ...] = ()
    description: str = ""
    model_id: str = ""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What a source names: whose files, and what is known of their making.

    Attributes:
        made_from: what else the files are of, beside the run: a logged model, or a version.
        copied: the version that they are of.
    """

    location: Location
    run_id: str | None = None
    prefix: str = ""
    made_from: str | None = None
    params: dict[str, str] = {}
    metrics: dict[str, Estimate] = {}
    copied: Version | None = None


def resolve(tx: Tx, request: CreateVersion) -> Source:
    """Find whose files a source names.

    Raises:
        InvalidInput: the source is not in this platform.
        NotFound: it names a run, a logged model or a version that does not exist.
    """
    models.get(tx, request.name)
    source = request.source.rstrip("/")
    model_id = request.model_id or (source.removeprefix(MODELS) if source.startswith(f"{MODELS}m-") else "")
    if model_id:
        found = _of_logged_model(tx, model_id, source)
    elif source.startswith(MODELS):
        found = _of_version(tx, source)
    elif source.startswith(RUNS):
        run_id, _, path = source.removeprefix(RUNS).partition("/")
        found = _of_run(tx, run_id, path)
    elif source.startswith(SCHEME):
        found = _of_location(tx, locations.locate_uri(tx, source), source)
    elif (location := locations.locate_at_root(tx, source)) is not None:
        found = _of_location(tx, location, source)
    else:
        raise InvalidInput(
            f"Invalid model version source: '{source[:200]}'. It has to be a run's, a logged model's or a"
            " version's on this server.",
            where="source",
            fix="Log the model to this server first, then register it.",
        )
    if request.run_id and found.run_id and request.run_id != found.run_id:
        raise InvalidInput(f"The source '{source[:200]}' is not of the run {request.run_id}.", where="run_id")
    return found


def create(
    tx: Tx, request: CreateVersion, found: Source, files: Sequence[ModelFile], signature: dict[str, Any] | None
) -> Answer:
    """Register the files as the model's next version; the same files of the same source are the same version."""
    asked = RegisterVersion(
        model=request.name,
        files=tuple(files),
        run_id=request.run_id or found.run_id,
        artifact_prefix=found.prefix,
        source=request.source,
        signature=signature,
        params=dict(found.params),
        metrics=found.metrics,
        tags=as_map(request.tags, what="tag"),
        description=request.description,
        made_from=found.made_from,
    )
    if found.copied is not None:
        same = {name: getattr(found.copied, name) for name in COPIED}
        asked = msgspec.structs.replace(asked, **same)
    return registered.encode_version(tx, register.register_version(tx, asked))


def parse_signature(mlmodel: bytes) -> dict[str, Any] | None:
    """The signature in an MLmodel file: inputs, outputs and params as MLflow's schema lists, None without one.

    Raises:
        InvalidInput: the file is not an MLmodel file.
    """
    try:
        document = yaml.safe_load(mlmodel)  # and not the loader in C, whose stack deep nesting overflows
        signature = document.get("signature")
        if signature is None:
            return None
        # text alone, as MLflow writes it: what YAML repeats by reference would grow without end as JSON
        return {name: msgspec.json.decode(text or "null") for name, text in signature.items()}
    except (yaml.YAMLError, msgspec.DecodeError, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{MLMODEL} is not a file of MLflow's model format", where="source", fix="Log the model again."
        ) from error


async def create_version(
    request: Request[Any, Any, Any], files: NamedDependency[SkipValidation[Files]]
) -> Response[bytes]:
    """Register a version: its files become its own, as they are now, and its signature is read from them."""
    wanted = await decode(request, CreateVersion)
    found = await files.transactions.read(lambda tx: resolve(tx, wanted))
    taken = [
        ModelFile(path=file.path, digest=file.digest, size_bytes=file.size_bytes)
        for file in await placed.taken_in(files, found.location)
        if file.digest is not None
    ]
    if not taken:
        raise InvalidInput(
            f"Invalid model version source: there are no files at '{wanted.source[:200]}'.", where="source"
        )
    signature = None
    for file in taken:
        if file.path == MLMODEL and file.size_bytes <= MLMODEL_LIMIT_BYTES:
            content = await anyio.to_thread.run_sync(files.blobs.read, file.digest)
            signature = await anyio.to_thread.run_sync(parse_signature, content)
    return encode(await files.transactions.write(lambda tx: create(tx, wanted, found, taken, signature)))


def _of_logged_model(tx: Tx, model_id: str, source: str) -> Source:
    model = logged_models.get(tx, model_id)
    owner = artifacts.model_owner(model_id)
    proxied = source.startswith(SCHEME)
    named = locations.locate_uri(tx, source) if proxied else locations.locate_at_root(tx, source)
    whole = Location(owner=owner, path="")
    if named not in {None, whole}:
        raise InvalidInput(f"The source '{source[:200]}' is not of the model {model_id}.", where="source")
    metrics = {
        metric.point.key: Estimate(value=metric.point.value)
        for metric in model.metrics
        if not isinstance(metric.point.value, str)
    }
    return Source(
        location=whole,
        run_id=model.source_run_id,
        prefix=f"models/{model_id}",
        made_from=owner,
        params=model.params,
        metrics=metrics,
    )


def _of_run(tx: Tx, run_id: str, path: str) -> Source:
    run = runs.get(tx, run_id)
    return Source(
        location=Location(owner=artifacts.run_owner(run_id), path=path),
        run_id=run.id,
        prefix=path,
    )


def _of_version(tx: Tx, source: str) -> Source:
    name, _, number = source.removeprefix(MODELS).partition("/")
    version = versions.get(tx, name, registered.number_of(number))
    return Source(
        location=Location(owner=f"{VERSION}{version.model}/{version.number}", path=""),
        run_id=version.run_id,
        prefix=version.artifact_prefix,
        made_from=version_subject(version.model, version.number),
        copied=version,
    )


def _of_location(tx: Tx, location: Location, source: str) -> Source:
    kind, _, name = location.owner.partition("/")
    if kind == "run":
        return _of_run(tx, name, location.path)
    if kind == "logged-model" and not location.path:
        return _of_logged_model(tx, name, source)
    if kind == "version" and not location.path:
        return _of_version(tx, f"{MODELS}{name}")
    raise InvalidInput(f"Invalid model version source: '{source[:200]}' is a part of a model.", where="source")


HANDLERS = [mounted("POST", both(PATH))(create_version)]
AUTHORIZATION = {f"POST {path}": Role.DEVELOPER for path in both(PATH)}
