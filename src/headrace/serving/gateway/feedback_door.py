"""The gateway's door for feedback: `POST /feedback`, answered once it is on the disk, with or without control."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from headrace.errors import HeadraceError, UnsupportedMediaType
from headrace.serving.feedback_form import decode_feedback
from headrace.serving.feedback_nouns import Submitted, Taken
from headrace.serving.gateway import doors
from headrace.serving.gateway.answering import Moment
from headrace.serving.gateway.doors import Handler, Incoming, Response

PATH = "/feedback"


class Journal(Protocol):
    """Where feedback is kept until control has it; see `feedback_journal`."""

    async def take(self, items: Sequence[Submitted]) -> None:
        """Return when the items are safe.

        Raises:
            Unavailable: they cannot be kept now.
        """
        ...


class FeedbackDoor:
    """The door.

    Args:
        journal: keeps what is said.
        moment: tells the clocks.
    """

    def __init__(self, journal: Journal, moment: Callable[[], Moment]) -> None:
        self._journal = journal
        self._moment = moment

    def find(self, method: str, path: str) -> Handler | None:
        """What answers at this path."""
        return self._take if method == "POST" and path == PATH else None

    def problem(self, error: HeadraceError) -> Response:
        """An error in the platform's own shape."""
        return doors.problem(error)

    async def _take(self, incoming: Incoming) -> Response:
        kind = (incoming.headers.get("content-type") or doors.JSON).partition(";")[0].strip().lower()
        if kind != doors.JSON:
            raise UnsupportedMediaType("feedback is JSON", where="Content-Type", fix=f"Send {doors.JSON}.")
        items = decode_feedback(incoming.body)
        moment = self._moment()
        await self._journal.take(
            [
                Submitted(feedback=item, business_at=moment.business_at, received_at=moment.at, by=incoming.caller)
                for item in items
            ]
        )
        return Response(msgspec.json.encode(Taken(accepted=len(items))), status=202)
