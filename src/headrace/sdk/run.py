"""`hr.run`: logging a training from Python.

A call writes one line to a journal on this machine and returns; a thread sends the journal. So logging takes
microseconds, whether the platform is near, far or away, and what was logged outlives the process.
"""

import atexit
import io
import json
import logging
import os
import shutil
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Literal, Self, SupportsFloat, TypeVar

import msgspec

from headrace.client.journal import Journal
from headrace.client.transport import Transport
from headrace.errors import InvalidInput
from headrace.kernel.settings import load_settings
from headrace.sdk import capture as found
from headrace.sdk.background import Background
from headrace.sdk.connect import find_address
from headrace.sdk.datasets import describe
from headrace.sdk.delivery import Delivery
from headrace.sdk.records import (
    Beginning,
    DataRead,
    Ending,
    FileLogged,
    MetricsLogged,
    ParamsLogged,
    Record,
    TagsSet,
)
from headrace.sdk.spool import SpooledRun
from headrace.sdk.summary import Screen, Seen
from headrace.sdk.system_metrics import SystemMetrics
from headrace.tracking.nouns import CreateRun, Reading, Run, RunStatus, param_text, reading

logger = logging.getLogger("headrace")

CAPTURED = "headrace"
"""The folder of a run's artifacts for what was captured."""

CAPTURE_TIMEOUT_S = 30.0
PART = 1_000

T = TypeVar("T")


def run(
    experiment: str = "Default",
    *,
    name: str | None = None,
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, object] | None = None,
    resume: str | None = None,
    capture: bool = True,
    system_metrics_every_s: float | None = 10.0,
    patience_s: float = 5.0,
    quiet: bool = False,
    url: str | None = None,
    token: str | None = None,
    home: Path | None = None,
) -> "ActiveRun":
    """Begin a run; use it in a `with` block, or call `end()`.

    It never waits for the platform and never fails because of it. What cannot be sent waits in the spool, and
    `headrace sync` sends it later.

    Args:
        experiment: its experiment, which is created when there is none of this name.
        name: made up when it is not given.
        params: logged at once.
        tags: set at once.
        resume: id of a run to go on with, instead of beginning one.
        capture: record the commit, what differs from it, the packages and the machine.
        system_metrics_every_s: seconds between samples of the machine's load; None for none.
        patience_s: seconds to wait, at the end, for a platform that does not answer.
        quiet: print nothing.
        url: the platform's address; otherwise HEADRACE_URL, otherwise what runs on `home`.
        token: bearer token; otherwise HEADRACE_TOKEN.
        home: folder of a platform on this machine; otherwise HEADRACE_HOME, otherwise `.headrace`.

    Raises:
        InvalidInput: a param, a tag or the id is not one.
    """
    settings = load_settings(url=url, token=token, home=home)
    address = find_address(settings)
    run_id = uuid.uuid4().hex if resume is None else resume
    if len(run_id) != 32 or not set(run_id) <= set("0123456789abcdef"):
        raise InvalidInput("a run's id is 32 hexadecimal digits", where=f"resume {run_id[:50]!r}")
    place = found.entry_point()
    captured = {"mlflow.source.name": str(place), "mlflow.source.type": "LOCAL"} if capture else {}
    user = found.user()
    beginning = Beginning(
        request=CreateRun(
            id=run_id,
            experiment=experiment,
            name=name,
            user=user,
            started_at=datetime.now(UTC),
            tags=captured | ({"mlflow.user": user} if user and capture else {}) | _texts(tags or {}, "tag"),
        ),
        url=address,
        resumed=resume is not None,
    )
    active = ActiveRun(
        beginning,
        spooled=SpooledRun(settings.spool_path.absolute() / run_id),
        transport=None if address is None else Transport(address, settings.token, patience_s=0.0),
        patience_s=patience_s,
        screen=Screen(quiet=quiet),
    )
    if resume is not None and tags:
        active.set_tags(tags)
    if params:
        active.log_params(params)
    active.start(place if capture else None, system_metrics_every_s)
    return active


class ActiveRun:
    """A run that goes on. Its methods may be called from any thread, and from forked workers.

    Attributes:
        id: the run's id, 32 hexadecimal digits.
        url: where the run can be looked at; None while no platform is known.
    """

    def __init__(
        self,
        beginning: Beginning,
        *,
        spooled: SpooledRun,
        transport: Transport | None,
        patience_s: float,
        screen: Screen,
    ) -> None:
        assert beginning.request.id is not None
        self.id = beginning.request.id
        self.url = None if transport is None else f"{transport.url}/runs/{self.id}"
        self._began = beginning
        self._spooled = spooled
        self._patience_s = patience_s
        self._screen = screen
        self._process = os.getpid()
        self._ended = False
        self._steps: dict[str, int] = {}
        self._seen: dict[str, Seen] = {}
        self._files = 0
        self._files_lock = threading.Lock()
        self._encoder = msgspec.json.Encoder()
        self._capturing: threading.Thread | None = None
        self._system: SystemMetrics | None = None
        self._transport = transport
        self._background: Background | None = None
        self._journal = Journal(self._make_folder(spooled, beginning))
        self._delivery = None if transport is None else Delivery(spooled, beginning, transport, self._journal)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.getpid() != self._process:
            return
        if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
            self.end("FINISHED")
        elif isinstance(error, KeyboardInterrupt):
            self.end("KILLED")
        else:
            self._note_failure(error, trace)
            self.end("FAILED")

    # -- logging --------------------------------------------------------------------------------------------

    def log_metric(
        self, key: str, value: SupportsFloat, step: int | None = None, *, at: datetime | None = None
    ) -> None:
        """Log one value of one metric; see `log_metrics`."""
        self.log_metrics({key: value}, step, at=at)

    def log_metrics(
        self, values: Mapping[str, SupportsFloat], step: int | None = None, *, at: datetime | None = None
    ) -> None:
        """Log one value of each of some metrics.

        Args:
            values: anything that `float` takes, NaN and infinities included: numbers, NumPy and PyTorch scalars.
            step: which step of the training; without it, each metric counts its own up from 0.
            at: when they were measured, in local time if it does not say otherwise; by default now.

        Raises:
            InvalidInput: a value is no number, or the run has ended.
        """
        moment = datetime.now(UTC) if at is None else at.astimezone(UTC)
        by_step: dict[int, dict[str, Reading]] = {}
        for key, value in values.items():
            number = _number(key, value)
            at_step = step
            if at_step is None:
                at_step = self._steps.get(key, -1) + 1
                self._steps[key] = at_step
            by_step.setdefault(at_step, {})[str(key)] = reading(number)
            seen = self._seen.get(key)
            if seen is None:
                seen = self._seen[key] = Seen()
            seen.add(number)
        for at_step, readings in by_step.items():
            for part in _parts(readings):
                self._append(MetricsLogged(at=moment, step=int(at_step), values=part))

    def log_param(self, key: str, value: object) -> None:
        """Log one param; see `log_params`."""
        self.log_params({key: value})

    def log_params(self, values: Mapping[str, object]) -> None:
        """Log what the training was configured with, as text. A param cannot be changed once it is logged.

        Raises:
            InvalidInput: a key is no text, or the run has ended.
        """
        for part in _parts(_texts(values, "param")):
            self._append(ParamsLogged(values=part))

    def set_tag(self, key: str, value: object) -> None:
        """Set one tag; see `set_tags`."""
        self.set_tags({key: value})

    def set_tags(self, values: Mapping[str, object]) -> None:
        """Say something about the run, as text; a tag may be set again.

        Raises:
            InvalidInput: a key is no text, or the run has ended.
        """
        for part in _parts(_texts(values, "tag")):
            self._append(TagsSet(values=part))

    def log_input(self, data: Any, *, name: str | None = None, context: str = "training") -> None:
        """Record data that the run reads: what they are, not the data themselves.

        Args:
            data: a path, an address, or a table: pandas, polars, Arrow, NumPy. Files and tables are hashed.
            name: what to call them; a file is called by its name.
            context: what they are for, such as "training" or "evaluation".

        Raises:
            InvalidInput: it is none of these, or there is no such file.
        """
        self._append(DataRead(input=describe(data, name=name, context=context)))

    def log_artifact(self, path: str | Path, folder: str = "") -> None:
        """Log a file, or a folder with all that is in it. A copy is taken now, and sent later.

        Args:
            path: what to log.
            folder: where to put it among the run's artifacts.

        Raises:
            InvalidInput: there is no such file.
        """
        source = Path(path)
        if source.is_dir():
            files = sorted(file for file in source.rglob("*") if file.is_file() and not file.is_symlink())
            for file in files:
                self._log_file(file, _artifact_path(folder, *file.relative_to(source).parts))
        elif source.is_file():
            self._log_file(source, _artifact_path(folder, source.name))
        else:
            raise InvalidInput("there is no such file", where=str(source), fix="Give a file or a folder.")

    def log_text(self, text: str, path: str) -> None:
        """Log a text as a file of the run."""
        self._log_bytes(text.encode(), path)

    def log_dict(self, document: Mapping[str, Any] | list[Any], path: str) -> None:
        """Log a document as a JSON file of the run."""
        self._log_bytes(json.dumps(document, indent=2, default=str).encode(), path)

    def log_figure(self, figure: Any, path: str) -> None:
        """Log a figure of Matplotlib (`.png`, `.svg`, `.pdf`), or of Plotly (`.html`).

        Raises:
            InvalidInput: it is neither.
        """
        if hasattr(figure, "savefig"):
            image = io.BytesIO()
            figure.savefig(image, format=PurePosixPath(path).suffix.removeprefix(".") or "png")
            self._log_bytes(image.getvalue(), path)
        elif hasattr(figure, "to_html"):
            self._log_bytes(figure.to_html().encode(), path)
        else:
            raise InvalidInput(
                f"{type(figure).__name__} is no figure", where=path, fix="Log it with log_artifact as a file."
            )

    def end(self, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        """End the run, and wait until it has arrived, if there is a platform; again is no change."""
        if self._ended or os.getpid() != self._process:
            return
        if self._capturing is not None:
            self._capturing.join(CAPTURE_TIMEOUT_S)
        if self._system is not None:
            self._system.stop()
        self._ended = True
        atexit.unregister(self._end_at_exit)
        ending = Ending(at=datetime.now(UTC), status=RunStatus(status))
        arrived = self._deliver(ending)
        self._journal.close()
        self._spooled.release()
        if self._transport is not None:
            self._transport.close()
        if arrived:
            self._forget()
        delivery, background = self._delivery, self._background
        self._screen.ended(
            self._began.request,
            ending,
            self._seen,
            run=None if delivery is None else delivery.run,
            url=self.url if arrived else None,
            kept_in=None if arrived else self._spooled.folder,
            problem=None if background is None else background.problem,
            rejected=self._spooled.rejected if delivery is not None and delivery.rejected else None,
        )

    # -- inside ---------------------------------------------------------------------------------------------

    def start(self, place: Path | None, system_metrics_every_s: float | None) -> None:
        """Begin what goes on in the background; `run` has called it.

        Args:
            place: the script that runs, whose repository is captured; None to capture nothing.
            system_metrics_every_s: seconds between samples; None for none.
        """
        if self._delivery is not None:
            self._background = Background(
                self._delivery,
                self._journal,
                began=self._announce,
                kept_in=str(self._spooled.folder),
            )
            self._background.start()
        else:
            how = "Set HEADRACE_URL to where one runs, or start one here with `headrace up`."
            logger.warning("no platform is known; the run is kept in %s. %s", self._spooled.folder, how)
        if place is not None:
            self._capturing = threading.Thread(
                target=self._capture, args=(place,), name="headrace-capture", daemon=True
            )
            self._capturing.start()
        if system_metrics_every_s is not None:
            self._system = SystemMetrics(self._log_system_metrics, system_metrics_every_s)
            self._system.start()
        atexit.register(self._end_at_exit)

    def _announce(self, run: Run) -> None:
        self._screen.began(run.name, self.url)

    def _append(self, record: Record) -> None:
        if self._ended:
            raise InvalidInput(
                "the run has ended",
                where=f"run/{self.id}",
                fix="Log inside the `with` block, or go on with hr.run(resume=run.id).",
            )
        self._journal.append(self._encoder.encode(record))

    def _log_system_metrics(self, values: dict[str, float], step: int) -> None:
        readings = {key: reading(value) for key, value in values.items()}
        self._journal.append(msgspec.json.encode(MetricsLogged(at=datetime.now(UTC), step=step, values=readings)))

    def _copy_path(self) -> Path:
        with self._files_lock:
            self._files += 1
            return self._spooled.copies / f"{os.getpid()}-{self._files}"

    def _log_file(self, source: Path, path: str) -> None:
        copy = self._copy_path()
        try:
            shutil.copyfile(source, copy)
        except OSError:  # no room for a copy: the file itself is sent, as it will be then
            _remove(copy)
            self._append(FileLogged(path=path, source=str(source.absolute()), copied=False))
            return
        self._append(FileLogged(path=path, source=copy.name, copied=True))

    def _log_bytes(self, content: bytes, path: str) -> None:
        copy = self._copy_path()
        name = _artifact_path(path)
        try:
            copy.write_bytes(content)
        except OSError as error:
            _remove(copy)
            logger.warning("%s could not be kept: %s", name, error)
            return
        self._append(FileLogged(path=name, source=copy.name, copied=True))

    def _capture(self, place: Path) -> None:
        try:
            machine, code = found.capture_machine(), found.capture_code(place)
            self._log_bytes(msgspec.json.format(msgspec.json.encode(machine), indent=2), f"{CAPTURED}/machine.json")
            if code is None:
                return
            tags = {
                "mlflow.source.git.commit": code.commit,
                "mlflow.source.git.branch": code.branch,
                "mlflow.source.git.repoURL": code.remote,
                "headrace.git.dirty": str(bool(code.changed)).lower(),
            }
            self._journal.append(msgspec.json.encode(TagsSet(values={k: v for k, v in tags.items() if v})))
            if code.changed:
                self._log_bytes("\n".join(code.changed).encode(), f"{CAPTURED}/changed-files.txt")
            if code.diff:
                self._log_bytes(code.diff, f"{CAPTURED}/changes.diff")
        except (OSError, InvalidInput) as error:  # it ended meanwhile, or the disk is full: a run goes on without
            logger.warning("the code and the machine of the run could not be recorded: %s", error)

    def _deliver(self, ending: Ending) -> bool:
        if self._journal.folder is not None:
            try:
                self._spooled.end(ending)
            except OSError as error:
                logger.warning("the end of the run could not be written to the spool: %s", error)
        if self._background is None or self._delivery is None:
            return False
        self._delivery.ending = ending
        return self._background.close(self._patience_s, self._screen.waiting)

    def _forget(self) -> None:
        if self._journal.folder is None:
            return
        try:
            self._spooled.delete()
        except OSError as error:
            logger.warning("the spool of the run could not be deleted: %s", error)

    def _note_failure(self, error: BaseException, trace: TracebackType | None) -> None:
        """Where it failed and as what; the message stays here, since it may hold data."""
        place = "" if trace is None else f" at {found.failing_line(trace)}"
        self.set_tag("headrace.failure", f"{type(error).__name__}{place}")

    def _end_at_exit(self) -> None:
        """End a run that nobody ended: as failed when the interpreter dies of an exception."""
        failed = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
        self.end("FAILED" if failed is not None else "FINISHED")

    @staticmethod
    def _make_folder(spooled: SpooledRun, beginning: Beginning) -> Path | None:
        try:
            spooled.create(beginning)
        except OSError as error:
            logger.warning("the run is kept in memory only, since its spool cannot be written: %s", error)
            return None
        return spooled.journal


def _number(key: str, value: SupportsFloat) -> float:
    if isinstance(value, str | bytes):
        raise InvalidInput(
            f"{value!r} of type {type(value).__name__} is no number", where=f"metric {key!r}", fix="Log a number."
        )
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput(
            f"{type(value).__name__} is no number: {error}", where=f"metric {key!r}", fix="Log a number."
        ) from error


def _texts(values: Mapping[str, object], what: str) -> dict[str, str]:
    for key in values:
        if not key:
            raise InvalidInput(f"a {what} needs a key", where=f"{what} {key!r}")
    return {str(key): param_text(value) for key, value in values.items()}


def _parts(values: dict[str, T]) -> Iterator[dict[str, T]]:
    """The same in parts that one request can hold."""
    if len(values) <= PART:
        yield values
        return
    items = iter(values.items())
    while part := dict(islice(items, PART)):
        yield part


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _artifact_path(*parts: str) -> str:
    path = PurePosixPath(*parts)
    odd = any(character == "#" or not character.isprintable() for character in str(path))
    if odd or path.is_absolute() or ".." in path.parts or not path.parts:
        raise InvalidInput(
            "an artifact's path is relative, stays below its run, and has no # and no control characters",
            where=repr(str(path)),
            fix="Use names such as plots/roc.png.",
        )
    return str(path)
