"""Control's background loops: subscriptions, schedules, lapsed leases, canary verdicts, audit checkpoints.

Each pass first looks without writing, so that an idle platform writes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

import structlog

from headrace.kernel import events, jobs, schedules, subscriptions
from headrace.kernel.database import Database, Tx
from headrace.kernel.jobs import Handling
from headrace.kernel.subscriptions import Subscriber

log = structlog.get_logger()

SYSTEM = "system"
RETRY_S = 1.0
REST = 3.0
"""How much longer than it took a pass is at rest, at least."""
EVENTS_AT_ONCE = 50


class Look(NamedTuple):
    """A piece of background work.

    Attributes:
        name: for the log.
        every_s: seconds between two passes.
        needed: a cheap read: is there anything to do?
        do: the work, in one write transaction.
        idle: known without looking into the database: nothing can have changed.
    """

    name: str
    every_s: float
    needed: Callable[[Tx], bool]
    do: Callable[[Tx], object]
    idle: Callable[[], bool] = lambda: False


class Chore(NamedTuple):
    """A piece of background work that opens its own transactions, or none."""

    name: str
    every_s: float
    do: Callable[[], None]


class Loops:
    """Runs every look and chore as a task of the event loop; a failing pass is logged and tried again."""

    def __init__(self, database: Database, looks: list[Look], chores: list[Chore]) -> None:
        self._database = database
        self._looks = looks
        self._chores = chores
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the tasks; call inside the event loop."""
        passes = [(look.name, look.every_s, partial(self._look, look)) for look in self._looks]
        passes += [(chore.name, chore.every_s, partial(asyncio.to_thread, chore.do)) for chore in self._chores]
        self._tasks = [asyncio.create_task(_repeat(*single), name=single[0]) for single in passes]

    async def stop(self) -> None:
        """Cancel the tasks and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look(self, look: Look) -> None:
        if look.idle():
            return
        if await asyncio.to_thread(self._database.read, look.needed, actor=SYSTEM):
            await asyncio.wrap_future(self._database.submit(look.do, actor=SYSTEM))


def rest_s(every_s: float, took_s: float) -> float:
    """Seconds until the next pass of what is done every so often and has just taken so long.

    The more there is to look at, the longer a pass takes; it must not keep the database's writer from others.
    """
    return max(every_s, REST * took_s)


async def _repeat(name: str, every_s: float, single: Callable[[], Awaitable[object]]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        began_s = loop.time()
        try:
            await single()
            await asyncio.sleep(rest_s(every_s, loop.time() - began_s))
        except Exception as error:
            log.error("background work failed", work=name, exc_info=error)
            await asyncio.sleep(RETRY_S)


def looks(
    subscribers: list[Subscriber],
    handlings: dict[str, Handling],
    further: list[Look],
) -> list[Look]:
    """The kernel's own background work, with that of the rooms."""
    kinds = {name: handling.kind for name, handling in handlings.items()}
    head = _Head()
    return [
        *(_listen(subscriber, head) for subscriber in subscribers),
        Look("event head", 0.1, head.follow, lambda _tx: None),
        Look("schedules", 0.5, schedules.due, lambda tx: schedules.fire_due(tx, kinds)),
        Look("lapsed leases", 1.0, jobs.lapsed, lambda tx: jobs.expire(tx, handlings)),
        *further,
    ]


class _Head:
    """The newest event, read once for all subscribers."""

    def __init__(self) -> None:
        self.seq = 0

    def follow(self, tx: Tx) -> bool:
        self.seq = events.head(tx)
        return False


def _listen(subscriber: Subscriber, head: _Head) -> Look:
    seen = -1
    failed = False

    def needed(tx: Tx) -> bool:
        nonlocal seen
        newest = events.head(tx)
        if newest == seen:
            return False
        if subscriptions.behind(tx, subscriber):
            return True
        seen = newest
        return False

    def do(tx: Tx) -> None:
        nonlocal failed
        limit = 1 if failed else EVENTS_AT_ONCE  # what cannot be handled shall not undo what came before it
        failed = True
        subscriptions.advance(tx, subscriber, limit=limit)
        failed = False

    return Look(f"subscriber {subscriber.name}", 0.1, needed, do, idle=lambda: head.seq == seen)
