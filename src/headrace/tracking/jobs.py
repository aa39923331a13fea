"""The kind of work that tracking asks of workers, and what control does with its outcome."""

import msgspec

from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.kernel.jobs import Handling, Job, JobKind


class RemoveFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Files that clients wrote themselves, of a run or a logged model that is gone for good.

    Attributes:
        owner: whose they were: `run/<id>` or `logged-model/<id>`.
        place: the location that is removed with all below it.
    """

    owner: str
    place: str


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed."""

    files: int
    bytes: int


REMOVE_FILES: JobKind[RemoveFiles, Removed] = JobKind(
    name="tracking.remove_files", payload=RemoveFiles, result=Removed, lease_s=60.0
)


def settle_removal(tx: Tx, job: Job, result: Removed) -> None:
    """Tell that the files are gone."""
    payload = msgspec.json.decode(job.payload, type=RemoveFiles)
    told = {"place": payload.place, "files": result.files, "bytes": result.bytes}
    events.append(tx, "tracking.files_removed", payload.owner, told)


def failed_removal(tx: Tx, job: Job, error: str) -> None:
    """Tell that the files are still there, for whoever looks after the root."""
    payload = msgspec.json.decode(job.payload, type=RemoveFiles)
    events.append(tx, "tracking.files_not_removed", payload.owner, {"place": payload.place, "error": error[:500]})


HANDLINGS = [Handling(kind=REMOVE_FILES, settle=settle_removal, failed=failed_removal)]
