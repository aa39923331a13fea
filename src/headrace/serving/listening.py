"""Listens on a port with Granian, in the event loop of the process, until a signal asks to stop."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress

from granian.constants import Interfaces
from granian.server.embed import Server

from headrace.serving.gateway import Gateway

DRAIN_S = 10.0


async def listen(gateway: Gateway, *, host: str, port: int, began: Callable[[], None] = lambda: None) -> None:
    """Answer until SIGTERM or SIGINT, then what is under way, for at most `DRAIN_S` seconds.

    Args:
        gateway: what answers.
        host: address to bind to.
        port: where.
        began: called as the server starts.
    """
    server = Server(
        gateway,
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        websockets=False,
        log_enabled=False,
        backlog=1024,
    )
    server.workers_kill_timeout = DRAIN_S  # type: ignore[assignment]

    def drain() -> None:
        gateway.draining = True
        server.stop()  # type: ignore[no-untyped-call]

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, drain)
    began()
    with suppress(TimeoutError):  # a request that took longer than DRAIN_S was given up
        await server.serve()
