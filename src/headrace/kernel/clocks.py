"""Wall time as an argument, so that leases, approvals and timers can be tested without waiting."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Annotated, Protocol, runtime_checkable

import msgspec

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time in a request: with its offset from UTC, since without one it is another time at each place."""


@runtime_checkable  # Litestar checks what it injects
class Clock(Protocol):
    """Tells wall time. Thread-safe."""

    def now(self) -> datetime:
        """The current moment, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current moment, aware, in UTC."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that moves only when told; for tests."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The moment that was last set."""
        with self._lock:
            return self._now

    def advance(self, delta: timedelta) -> None:
        """Move by `delta`; a negative one is a clock that jumps back."""
        with self._lock:
            self._now += delta
