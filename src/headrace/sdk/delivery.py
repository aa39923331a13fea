"""Sending a run: its journal's lines become the platform's calls, in batches, each of which may be repeated.

A run in progress and a run that was left behind are sent by the same code. What the platform cannot take, because
it is away or does not know the caller, is kept. What it refuses, it would refuse again: the line is laid aside with
the reason, and the rest goes on.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec

from headrace.client.journal import Chunk, Journal, JournalReader
from headrace.client.transport import Transport
from headrace.errors import (
    HeadraceError,
    InternalError,
    NotAuthenticated,
    NotFound,
    PermissionRefused,
    Unavailable,
)
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
from headrace.tracking.nouns import Artifact, Batch, FinishRun, Inputs, MetricPoint, Run

CHUNK_BYTES = 256 * 1024
BATCH_ENTRIES = 5_000
FILE_CHUNK_BYTES = 256 * 1024
AWAY = (Unavailable, InternalError, NotAuthenticated, PermissionRefused)
"""The platform may take the same request later: it is away, has a fault, or does not know the caller yet."""


class Rejected(msgspec.Struct, frozen=True):
    """A line that the platform refused, and why."""

    line: str
    reason: str


class Delivery:
    """Sends one run.

    Args:
        spooled: its folder.
        beginning: how it began.
        transport: the platform.
        journal: the writing end, when it is in this process.

    Attributes:
        run: the run as the platform answered its beginning; None until it has.
        ending: how the run ended; None while it goes on.
        finished: whether all of it has arrived, the end included.
        rejected: how many lines were refused.
    """

    def __init__(
        self, spooled: SpooledRun, beginning: Beginning, transport: Transport, journal: Journal | None = None
    ) -> None:
        self.run: Run | None = None
        self.ending: Ending | None = None
        self.finished = False
        self.rejected = 0
        self._sent_of_file = 0
        self._spooled = spooled
        self._beginning = beginning
        self._transport = transport
        folder = journal.folder if journal is not None else spooled.journal
        self._reader = JournalReader(folder, journal)
        self._decoder = msgspec.json.Decoder(Record)

    def unread_bytes(self) -> int:
        """How much has not arrived yet, of the journal and of files."""
        copies = self._spooled.copies
        files = sum(_size(file) for file in copies.iterdir()) if copies.is_dir() else 0
        return self._reader.unread_bytes() + max(0, files - self._sent_of_file)

    def begin(self) -> Run:
        """Create the run, or find it as an earlier try created it.

        Raises:
            HeadraceError: the platform is away, or refuses it.
        """
        if self.run is None:
            request = self._beginning.request
            if self._beginning.resumed:
                path = f"/api/v1/runs/{request.id}/resume"
                self.run = self._transport.call("POST", path, returns=Run, repeatable=True)
            else:
                self.run = self._transport.call("POST", "/api/v1/runs", request, returns=Run, repeatable=True)
        return self.run

    def step(self) -> bool:
        """Send the next lines, or the end when there are none left; whether anything was sent.

        Raises:
            HeadraceError: the platform is away, or does not know the run or the caller; nothing is lost.
        """
        self.begin()
        ending = self.ending  # looked at first: what is logged before the end is in the journal before it
        chunk = self._reader.read(CHUNK_BYTES)
        if chunk is not None:
            self._deliver(chunk)
            self._reader.acknowledge(chunk)
            return True
        if ending is None or self.finished:
            return False
        self._call("finish", FinishRun(status=ending.status, ended_at=ending.at), Run)
        self.finished = True
        return True

    def _deliver(self, chunk: Chunk) -> None:
        for records in _batches(self._records(chunk)):
            self._send(records)

    def _records(self, chunk: Chunk) -> Iterator[Record]:
        for line in chunk.lines:
            try:
                yield self._decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:  # torn by a crash of the machine
                self._reject(line, str(error))

    def _send(self, records: Sequence[Record]) -> None:
        """Send records that go together; where they are refused, find the one that is to blame."""
        try:
            self._send_at_once(records)
        except (*AWAY, NotFound):
            raise
        except HeadraceError as problem:
            if len(records) == 1:
                self._reject(msgspec.json.encode(records[0]), str(problem))
                return
            middle = len(records) // 2
            self._send(records[:middle])
            self._send(records[middle:])

    def _send_at_once(self, records: Sequence[Record]) -> None:
        match records[0]:
            case FileLogged() as file:
                self._upload(file)
            case DataRead(input=read):
                self._call("inputs", Inputs(datasets=(read,)))
            case _:
                self._call("batch", _batch(records))

    def _upload(self, file: FileLogged) -> None:
        source = self._spooled.copies / file.source if file.copied else Path(file.source)
        path = f"/api/v1/runs/{self._spooled.run_id}/artifacts/{quote(file.path, safe='/')}"
        try:
            self._transport.upload(path, self._chunks(source), returns=Artifact)
        except OSError as error:
            if not file.copied:
                reason = f"no copy could be made, and the file itself cannot be read now: {error.strerror}"
                self._reject(msgspec.json.encode(file), reason)
            elif not isinstance(error, FileNotFoundError):  # a copy is deleted when it has arrived
                raise InternalError(f"a copy cannot be read: {error.strerror}", where=str(source)) from error
            return
        finally:
            self._sent_of_file = 0
        if file.copied:
            source.unlink(missing_ok=True)

    def _chunks(self, path: Path) -> Iterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(FILE_CHUNK_BYTES):
                yield chunk
                self._sent_of_file += len(chunk)

    def _call(self, verb: str, body: msgspec.Struct, returns: type[Run] | type[dict[str, bool]] = dict) -> None:
        path = f"/api/v1/runs/{self._spooled.run_id}/{verb}"
        self._transport.call("POST", path, body, returns=returns, repeatable=True)

    def _reject(self, line: bytes, reason: str) -> None:
        self.rejected += 1
        entry = Rejected(line=line.decode(errors="backslashreplace"), reason=reason)
        try:
            with self._spooled.rejected.open("ab") as file:
                file.write(msgspec.json.encode(entry) + b"\n")
        except OSError:
            return  # it is counted, and the count is told


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    """Records that can be sent in one call: metrics, params and tags together, all else alone, in their order."""
    together: list[Record] = []
    params: dict[str, str] = {}
    entries = 0
    for record in records:
        alone = isinstance(record, FileLogged | DataRead)
        contradicts = isinstance(record, ParamsLogged) and any(
            params.get(key, value) != value for key, value in record.values.items()
        )
        if together and (alone or contradicts or entries >= BATCH_ENTRIES):
            yield together
            together, params, entries = [], {}, 0
        if alone:
            yield [record]
            continue
        together.append(record)
        if isinstance(record, MetricsLogged | ParamsLogged | TagsSet):
            entries += len(record.values)
        if isinstance(record, ParamsLogged):
            params |= record.values
    if together:
        yield together


def _batch(records: Sequence[Record]) -> Batch:
    metrics: list[MetricPoint] = []
    params: dict[str, str | int | float | bool | None] = {}
    tags: dict[str, str] = {}
    for record in records:
        match record:
            case MetricsLogged():
                metrics += [
                    MetricPoint(key=key, value=value, step=record.step, at=record.at)
                    for key, value in record.values.items()
                ]
            case ParamsLogged():
                params |= record.values
            case TagsSet():
                tags |= record.values
            case _:
                raise AssertionError("only what can be sent together comes here")
    return Batch(metrics=tuple(metrics), params=params, tags=tags)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # it has just arrived
        return 0
