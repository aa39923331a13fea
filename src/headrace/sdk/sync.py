"""Sending the runs that were left behind: those whose platform was away, and those whose process has died."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from headrace.client.transport import Transport
from headrace.errors import HeadraceError, Unavailable
from headrace.sdk.delivery import Delivery
from headrace.sdk.records import Ending
from headrace.sdk.spool import SpooledRun, spooled_runs
from headrace.tracking.nouns import RunStatus


class Synced(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one run of the spool.

    Attributes:
        folder: where it lies or lay.
        name: as the platform knows it; the id when it does not.
        bytes_sent: of the journal and of files.
        rejected: how many lines the platform refused.
        in_progress: a process that lives is logging it, and sends it itself.
        problem: why it was not sent; None when it was.
    """

    run_id: str
    folder: Path
    name: str
    bytes_sent: int = 0
    rejected: int = 0
    in_progress: bool = False
    problem: HeadraceError | None = None


def sync(
    spool: Path, transport: Transport, told: Callable[[str, int, int], None] = lambda _run, _sent, _total: None
) -> Iterator[Synced]:
    """Send each run of a spool; what was sent is deleted there.

    A run whose process has died without an end is ended as KILLED, at the time of the last thing it logged.

    Args:
        spool: the folder.
        transport: the platform.
        told: from time to time, the run's id, the bytes sent and the bytes in all.

    Yields:
        What became of each run, in the order in which they began. Once the platform does not answer, the rest is
        not tried.
    """
    away: Unavailable | None = None
    for spooled in spooled_runs(spool):
        if not spooled.take():
            yield Synced(run_id=spooled.run_id, folder=spooled.folder, name=spooled.run_id, in_progress=True)
            continue
        try:
            one = _outcome(spooled, None, 0, away) if away else _send(spooled, transport, told)
            away = one.problem if isinstance(one.problem, Unavailable) else away
            yield one
        finally:
            spooled.release()


def _send(spooled: SpooledRun, transport: Transport, told: Callable[[str, int, int], None]) -> Synced:
    delivery: Delivery | None = None
    sent = 0
    try:
        ending = spooled.ending() or Ending(at=spooled.last_written_at(), status=RunStatus.KILLED)
        delivery = Delivery(spooled, spooled.beginning(), transport)
        delivery.ending = ending
        total = delivery.unread_bytes()
        while not delivery.finished:
            delivery.step()
            sent = total - delivery.unread_bytes()
            told(spooled.run_id, sent, total)
        spooled.delete()
    except HeadraceError as problem:
        return _outcome(spooled, delivery, sent, problem)
    return _outcome(spooled, delivery, sent, None)


def _outcome(spooled: SpooledRun, delivery: Delivery | None, sent: int, problem: HeadraceError | None) -> Synced:
    run = None if delivery is None else delivery.run
    return Synced(
        run_id=spooled.run_id,
        folder=spooled.folder,
        name=spooled.run_id if run is None else run.name,
        bytes_sent=sent,
        rejected=0 if delivery is None else delivery.rejected,
        problem=problem,
    )
