"""What the acts of the demo share."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from headrace.cli.demonstration.receiver import Receiver
from headrace.sdk.platform import Platform
from headrace.server.launch import Launched

MODEL = "churn"


@dataclass(frozen=True, kw_only=True)
class World:
    """The platform, the people at it, and the customers of the shop.

    Attributes:
        local: the connection without a token.
        dana: developer and approver; the author of every version.
        ravi: approver; the second pair of eyes.
        customers: every customer id.
        platform: its processes and its home.
    """

    local: Platform
    dana: Platform
    ravi: Platform
    platform: Launched
    project: Path
    commit: str | None
    receiver: Receiver
    customers: list[int]


def date(year: int, month: int, day: int = 1) -> datetime:
    """Midnight UTC of a day."""
    return datetime(year, month, day, tzinfo=UTC)
