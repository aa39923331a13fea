"""The kind of work that serving asks of workers, and what control does with its outcome."""

from headrace.kernel import events, jobs
from headrace.kernel.database import Tx
from headrace.kernel.jobs import Handling, Job, JobKind
from headrace.serving import routing
from headrace.serving.nouns import Compaction, CompactRequest

COMPACT: JobKind[CompactRequest, Compaction] = JobKind(
    name="serving.compact", payload=CompactRequest, result=Compaction, lease_s=60.0
)


def settle_compaction(tx: Tx, job: Job, result: Compaction) -> None:
    """Record that predictions have reached the lake; a compaction that found nothing changed nothing."""
    if result.segments or result.set_aside:
        counted = ("segments", "rows", "unreadable", "set_aside")
        moved = {"job": job.id} | {name: getattr(result, name) for name in counted}
        events.append(tx, "serving.predictions_compacted", f"model/{result.model}", moved)


def compaction_is_due(tx: Tx) -> bool:
    """Whether a served model has not been asked this hour to bring its log into the lake."""
    return any(jobs.by_key(tx, _key(tx, route.model)) is None for route in routing.every(tx))


def ask_for_compactions(tx: Tx) -> None:
    """Ask for one compaction of each served model an hour (wall time), so that logs do not pile up in files.

    Monitoring compacts what a window needs by itself; this is for the time between windows.
    """
    for route in routing.every(tx):
        request = CompactRequest(model=route.model)
        jobs.enqueue(tx, COMPACT, request, key=_key(tx, route.model), lane=f"{COMPACT.name}/{route.model}")


def _key(tx: Tx, model: str) -> str:
    return f"{COMPACT.name}/{model}/{tx.now:%Y-%m-%dT%H}"


HANDLINGS = [Handling(kind=COMPACT, settle=settle_compaction)]
