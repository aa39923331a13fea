"""Listens on a port with Granian, in the event loop of the process, until a signal asks to stop."""

import asyncio
import resource
import signal
from collections.abc import Callable
from contextlib import suppress

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from headrace.serving.gateway.app import Gateway

DRAIN_S = 10.0
HEADERS_TIMEOUT_S = 30.0
"""A connection on which no request has come by then is closed, whether it is new or has had answers before."""
CONNECTIONS = 65_536
FILES_BESIDE = 256
"""Files that a process opens for other things than connections."""


def _connections() -> int:
    """How many connections are held at once: as many as the system lets this process have, up to a limit.

    Granian's own limit is the backlog, so that a thousand callers who keep a connection and ask nothing would shut
    out all others. How many requests are under way at once, the intake says.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + FILES_BESIDE
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
            soft = allowed
    found = wanted if soft == resource.RLIM_INFINITY else soft
    return max(64, min(CONNECTIONS, found - FILES_BESIDE))


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
        http=HTTPModes.http1,  # else Granian waits for the first bytes without end, to tell HTTP/1 from HTTP/2
        http1_settings=HTTP1Settings(header_read_timeout=round(HEADERS_TIMEOUT_S * 1_000)),
        websockets=False,
        log_enabled=False,
        backlog=1024,
        backpressure=_connections(),
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
