"""Listens on a port with Granian, in the event loop of the process, until a signal asks to stop."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress

from granian.constants import Interfaces
from granian.server.embed import Server

from headrace.serving.gateway import Gateway

DRAIN_S = 10.0


async def listen(
    gateway: Gateway,
    *,
    host: str,
    port: int,
    began: Callable[[], None] = lambda: None,
    drain_s: float = 0.0,
) -> None:
    """Answer until SIGTERM or SIGINT, then what is under way, for at most `DRAIN_S` seconds.

    In between, for `drain_s`, it says that it is not ready and asks callers to close their connections, but answers
    whoever still comes: a load balancer needs a moment to notice. A second signal ends that.

    Args:
        gateway: what answers.
        host: address to bind to.
        port: where.
        began: called as the server starts.
        drain_s: how long it takes requests after the signal.
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

    loop = asyncio.get_running_loop()

    def drain() -> None:
        again, gateway.draining = gateway.draining, True
        if again or not drain_s:
            server.stop()  # type: ignore[no-untyped-call]
        else:
            loop.call_later(drain_s, server.stop)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, drain)
    began()
    with suppress(TimeoutError):  # a request that took longer than DRAIN_S was given up
        await server.serve()
