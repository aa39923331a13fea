"""How many requests, and how many bytes of their bodies, a gateway holds at once; what is more is turned away.

Without it, callers that send faster than models answer fill the memory of the process until it is killed, and all
of them lose their answers.
"""

from headrace.errors import Overloaded

REQUESTS_LIMIT = 1_000
BYTES_LIMIT = 256 << 20


class Intake:
    """Used from the gateway's event loop.

    Args:
        requests: how many at once.
        size_bytes: how much of bodies that are large enough to be announced to it, together.
    """

    def __init__(self, *, requests: int = REQUESTS_LIMIT, size_bytes: int = BYTES_LIMIT) -> None:
        self._requests = requests
        self._size_bytes = size_bytes
        self.requests = 0
        """Requests under way."""
        self.size_bytes = 0
        """Bytes of large bodies under way."""
        self.turned_away = 0

    def is_crowded(self) -> bool:
        """Whether more than one request is under way."""
        return self.requests > 1

    def enter(self) -> None:
        """A request begins; `leave` is called at its end.

        Raises:
            Overloaded: there are too many.
        """
        if self.requests >= self._requests:
            self.turned_away += 1
            raise _full()
        self.requests += 1

    def leave(self) -> None:
        """A request has ended."""
        self.requests -= 1

    def hold(self, size_bytes: int) -> None:
        """A body will take so much; `release` is called at its end.

        Raises:
            Overloaded: there is too much already.
        """
        if self.size_bytes + size_bytes > self._size_bytes:
            self.turned_away += 1
            raise _full()
        self.size_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """A body is held no longer."""
        self.size_bytes -= size_bytes


def _full() -> Overloaded:
    return Overloaded(
        "this gateway has as many requests under way as it takes",
        where="gateway",
        fix="Ask again after Retry-After seconds, or run more gateways.",
    )
