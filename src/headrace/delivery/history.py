"""A release told again from its events, so that an auditor need not believe the row that says where it stands."""

import msgspec

from headrace.delivery import releases
from headrace.delivery.machine import Happened, ReleaseState, evolve
from headrace.delivery.nouns import ReleaseHistory, ReleaseStep
from headrace.errors import Conflict
from headrace.kernel import events
from headrace.kernel.database import Tx
from headrace.kernel.events import Event

PAGE = 1000


def of_release(tx: Tx, release_id: str) -> ReleaseHistory:
    """Every event of a release with the state after it, and whether the last one is the state that is stored.

    Raises:
        NotFound: there is no such release.
        Conflict: the payload of an event was erased, so that the rest cannot be told.
    """
    release = releases.get(tx, release_id)
    steps: list[ReleaseStep] = []
    state: ReleaseState | None = None
    for event in _events(tx, f"release/{release_id}"):
        happened = _happened(event)
        state = evolve(state, happened)
        steps.append(ReleaseStep(seq=event.seq, at=event.at, actor=event.actor, happened=happened, state=state))
    return ReleaseHistory(release_id=release_id, steps=tuple(steps), agrees=state == release.state)


def _events(tx: Tx, subject: str) -> list[Event]:
    found = page = events.of_subject(tx, subject, limit=PAGE)
    while len(page) == PAGE:
        page = events.of_subject(tx, subject, after=page[-1].seq, limit=PAGE)
        found = found + page
    return found


def _happened(event: Event) -> Happened:
    if "happening" not in event.payload:
        raise Conflict("what this event said was erased", where=f"event/{event.seq}")
    return msgspec.convert(event.payload["happening"], type=Happened)
