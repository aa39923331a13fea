"""What a runner is given: work in a worker process sees the platform through this and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from headrace.kernel.blobs import BlobStore
from headrace.kernel.jobs import Job
from headrace.kernel.settings import Settings

if TYPE_CHECKING:
    from headrace.kernel.lake import Lake

T = TypeVar("T")


class Control(Protocol):
    """The control process's HTTP API, as a worker calls it."""

    def call(self, method: str, path: str, body: Any = None, *, returns: type[T]) -> T:
        """Send `body` as JSON and decode the answer.

        Raises:
            HeadraceError: the class whose code control answered with; `Unavailable` when it cannot be reached.
        """
        ...

    def upload(self, path: str, content: bytes, *, returns: type[T]) -> T:
        """PUT raw bytes and decode the answer; safe to repeat."""
        ...


@dataclass(frozen=True, kw_only=True)
class WorkContext:
    """One attempt at one job.

    Attributes:
        control: the way to write metadata.
        business_now: business time at the claim; what the work calls "now".
        directory: an empty scratch folder, removed afterwards.
        report_progress: takes a fraction from 0 to 1 and a note; cheap, may be called often.
    """

    control: Control
    blobs: BlobStore
    lake: "Lake"
    settings: Settings
    business_now: datetime
    job: Job
    directory: Path
    report_progress: Callable[[float, str], None]

    def progress(self, fraction: float, note: str = "") -> None:
        """Tell how far the work is.

        Raises:
            LeaseLost: the job has passed to another worker, so the work can stop.
        """
        self.report_progress(fraction, note)


Runner = Callable[[WorkContext, Any], Any]
