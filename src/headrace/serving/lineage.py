"""Predictions in the graph of lineage: the answers of a version come from the release that gave it traffic."""

from headrace.kernel import lineage, lineage_walks
from headrace.kernel.database import Tx
from headrace.kernel.lineage import Link
from headrace.registry.lineage import version_subject
from headrace.serving.nouns import RouteChange


def predictions_subject(model: str, number: int) -> str:
    """The name in the graph of all that a version answers."""
    return f"predictions/{model}/{number}"


def connect(tx: Tx, change: RouteChange) -> None:
    """Have the versions of a route answer from now on: the released one by its release, any other by itself."""
    released = change.challenger if change.challenger is not None else change.champion
    for number in {change.champion, change.challenger}:
        if number is None:
            continue
        version = version_subject(change.model, number)
        subject = predictions_subject(change.model, number)
        above = lineage_walks.above(tx, subject)
        if above and version not in above:  # those of a version that was deleted, and whose name came again
            lineage.put_aside(tx, subject, ended_only=False)
        if change.release_id is not None and number == released:
            lineage.connect(tx, [Link(f"release/{change.release_id}", "answered with", subject)])
        if version not in lineage_walks.above(tx, subject):
            lineage.connect(tx, [Link(version, "answered with", subject)])
