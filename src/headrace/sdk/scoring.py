"""Batch scoring from Python and the terminal: a model's address, rows, and a folder for the answers."""

import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from headrace.errors import InvalidInput, Unavailable
from headrace.kernel.clocks import SystemClock
from headrace.kernel.ids import new_hex
from headrace.kernel.lake import open_lake
from headrace.kernel.settings import Settings, load_settings, read_endpoint
from headrace.sdk.connect import connect
from headrace.sdk.model_uris import FetchedModel, digest_of, fetch_model
from headrace.sdk.platform import Platform
from headrace.sdk.scoring_ray import RAY, OnRay, Order
from headrace.serving.batch.scoring import PART_ROWS, Alone, Scorer, Scoring, Told, taken_by
from headrace.serving.batch.scoring import score as score_rows
from headrace.serving.batch.scoring_inputs import open_source
from headrace.serving.batch.scoring_outputs import Folder, Manifest
from headrace.serving.forms.signature import read_signature
from headrace.serving.loading.description import describe
from headrace.serving.loading.loader import load_alone, open_environments
from headrace.serving.loading.predictor import Predictor
from headrace.serving.nouns import FieldPolicy, ServedVersion, fields_of
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.loaders import prepare_thread


def score(
    model: str,
    rows: str | Path,
    output: str | Path,
    *,
    format: str | None = None,  # noqa: A002 - the word of the trade
    keep: tuple[str, ...] = (),
    unknown_fields: str | None = None,
    strict: bool = False,
    part_rows: int = PART_ROWS,
    table: str | None = None,
    log: bool = True,
    allow_pickle: bool = False,
    on: str | None = None,
    told: Told = lambda _done, _rejected, _all: None,
) -> Manifest:
    """Score a file of rows; called again after a death, it goes on where it was.

    Args:
        model: a model directory, `models:/NAME/NUMBER`, `models:/NAME@ALIAS` or `runs:/ID/PATH`.
        rows: a Parquet or CSV file, a folder of Parquet files, or `lake:TABLE`.
        output: a folder for the answers, the rejected rows with their reasons, and the manifest.
        format: `parquet` or `csv`; otherwise that of the rows.
        keep: columns that are copied beside the answers.
        unknown_fields: `refuse`: rows with columns that the model does not have are rejected; `ignore`: those
            columns are left out; otherwise as the model's project says.
        strict: whether the first row without an answer ends the run.
        part_rows: rows of one file, which are held in memory at once.
        table: a table of the lake on this machine that takes the answers too.
        log: whether the prediction log of the platform on this machine takes a registered version's answers.
        allow_pickle: whether the model may run code when it is loaded.
        on: `ray` or `ray://HOST:PORT` for a cluster's workers; otherwise this process answers.
        told: takes rows done, rows rejected, and all rows, if known.

    Raises:
        Conflict: the folder holds something else.
        SchemaMismatch: a row does not fit, and `strict` was asked for.
        HeadraceError: the model cannot be loaded, or the rows cannot be read.
    """
    settings = load_settings()
    with ExitStack() as opened:
        connected: list[Platform] = []

        def platform() -> Platform:
            connected.append(connect())
            opened.callback(connected[-1].close)
            return connected[-1]

        fetched = fetch_model(model, Path(opened.enter_context(tempfile.TemporaryDirectory())), platform)
        lake = open_lake(settings.home)
        source = open_source(str(rows), lake)
        kind = format or ("csv" if str(rows).lower().endswith(".csv") else "parquet")
        unlogged = _why_not_logged(fetched, connected, settings, wanted=log)
        logging = not unlogged
        # As in a gateway: a thread of its own, whose libraries are set up for models and nobody else's are.
        pool = opened.enter_context(ThreadPoolExecutor(1, "scoring", initializer=prepare_thread))
        fields = _fields(fetched, connected, unknown_fields)
        if on is None:
            loading = pool.submit(_load, fetched, settings, fields, allow_pickle=allow_pickle)
            scorer: Scorer = Alone(loading.result())
        else:
            address = connected[0].url if connected else None
            order = _order(model, fetched, settings, fields, address, allow_pickle=allow_pickle, logging=logging)
            scorer = opened.enter_context(closing(_on_ray(on, order, fetched)))
        scoring = Scoring(
            part_rows=part_rows,
            keep=tuple(keep),
            reject=not strict,
            log=lake if logging else None,
            business_at=_replayed(connected[0]) if logging else None,
            table=table,
            tables=lake,
        )
        told_apart = {"format": kind, "part_rows": part_rows, "keep": list(keep), "strict": strict, "table": table}
        wanted = msgspec.structs.replace(
            _manifest(fetched, source.identity, fields, **told_apart), unlogged=unlogged
        )
        folder = Folder(Path(output), kind)
        run = partial(score_rows, scorer, source, folder, wanted, scoring, now=SystemClock().now)
        return _wait(pool, run, told)


def _wait(pool: ThreadPoolExecutor, run: Callable[..., Manifest], told: Told) -> Manifest:
    """Run on the thread; who stops waiting, by Ctrl-C say, stops the work."""
    ended = threading.Event()

    def heard(done: int, rejected: int, every: int | None) -> None:
        if ended.is_set():
            raise Unavailable("the run was ended")
        told(done, rejected, every)

    work = pool.submit(run, told=heard)
    try:
        return work.result()
    except BaseException:
        ended.set()
        raise


def _fields(fetched: FetchedModel, connected: Sequence[Platform], unknown: str | None) -> FieldPolicy:
    """What the model's project says of fields, and the caller of unknown ones."""
    registered = fetched.digests is not None and connected
    declared = connected[0].model(fetched.name).model.declaration if registered else None
    fields = fields_of(declared or {})
    if unknown is None:
        return fields
    try:
        return msgspec.convert({"unknown": unknown, "missing": fields.missing}, FieldPolicy)
    except msgspec.ValidationError:
        raise InvalidInput("unknown fields are refused or ignored", where="unknown_fields") from None


def _manifest(fetched: FetchedModel, identity: dict[str, Any], fields: FieldPolicy, **settings: Any) -> Manifest:
    """What is to be scored with what."""
    return Manifest(
        run_id=f"prd_{new_hex()}",
        model=fetched.name,
        version=fetched.number,
        digest=digest_of(fetched),
        input=identity,
        settings={"fields": msgspec.to_builtins(fields), **settings},
    )


def _load(fetched: FetchedModel, settings: Settings, fields: FieldPolicy, *, allow_pickle: bool) -> Predictor:
    files = ModelFiles(fetched.directory, fetched.digests)
    loaded = load_alone(files, open_environments(settings.home), allow_code=allow_pickle)
    version = ServedVersion(model=fetched.name, number=fetched.number, digest="", files=(), fields=fields)
    return Predictor(version, loaded)


def _order(
    address: str,
    fetched: FetchedModel,
    settings: Settings,
    fields: FieldPolicy,
    url: str | None,
    *,
    allow_pickle: bool,
    logging: bool,
) -> Order:
    """What workers elsewhere need; an alias or a stage may move meanwhile, a number does not."""
    if fetched.digests is not None:
        address = f"models:/{fetched.name}/{fetched.number}"
    elif url is None:
        address = str(fetched.directory.absolute())
    return Order(
        model=address,
        name=fetched.name,
        number=fetched.number,
        digest=digest_of(fetched),
        url=url,
        token=settings.token,
        home=settings.home.absolute(),
        fields=fields,
        allow_pickle=allow_pickle,
        logging=logging,
    )


def _on_ray(on: str, order: Order, fetched: FetchedModel) -> OnRay:
    if on != RAY and not on.startswith(f"{RAY}://"):
        raise InvalidInput("rows are scored here, or on Ray", where="on", fix="Say ray, or ray://HOST:PORT.")
    signature = read_signature(describe(ModelFiles(fetched.directory, fetched.digests)).signature)
    return OnRay(on, order, taken_by(signature, order.fields))


def _replayed(platform: Platform) -> datetime | None:
    """Business time, where a replay has set it."""
    clock = platform.clock()
    return clock.now if clock.replayed else None


def _why_not_logged(
    fetched: FetchedModel, connected: Sequence[Platform], settings: Settings, *, wanted: bool
) -> str:
    """Why no prediction log takes the answers, for people; empty where one does."""
    if not wanted:
        return "it was told not to log (--no-log, log=False)"
    if fetched.digests is None or not connected:
        return "only a registered version's answers are logged, and this is a model of its own"
    endpoint = read_endpoint(settings.home)  # the lake of the platform must be that of the home on this machine
    if endpoint is None or endpoint.url.rstrip("/") != connected[0].url:
        return (
            f"the folder of the platform at {connected[0].url} is not {settings.home.absolute()}; score on its "
            "machine, with HEADRACE_HOME, to have them logged"
        )
    return ""
