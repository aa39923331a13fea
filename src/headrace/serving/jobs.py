"""The kind of work that serving asks of workers, and what control does with its outcome."""

from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.kernel.jobs import Handling, Job, JobKind
from headrace.serving.nouns import Compaction, CompactRequest

COMPACT: JobKind[CompactRequest, Compaction] = JobKind(
    name="serving.compact", payload=CompactRequest, result=Compaction, lease_s=60.0
)


def settle_compaction(tx: Tx, job: Job, result: Compaction) -> None:
    """Record that predictions have reached the lake; a compaction that found nothing changed nothing."""
    if result.segments:
        moved = {"job": job.id, "segments": result.segments, "rows": result.rows, "unreadable": result.unreadable}
        events.append(tx, "serving.predictions_compacted", f"model/{result.model}", moved)


HANDLINGS = [Handling(kind=COMPACT, settle=settle_compaction)]
