"""Feedback from Python: what became of predictions, and what is known of it."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from headrace.client.transport import Transport
from headrace.errors import InvalidInput
from headrace.serving.feedback_nouns import (
    ITEMS_LIMIT,
    LABEL,
    Feedback,
    FeedbackState,
    Stored,
    Taken,
    Tally,
    Value,
)


class Feedbacks:
    """What became of predictions, on one platform."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def say(
        self,
        prediction_id: str,
        value: Value,
        *,
        name: str = LABEL,
        at: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Taken:
        """Say what became of one prediction; saying it again changes nothing, saying another value corrects it.

        Args:
            prediction_id: as the answer named it.
            value: the outcome: a number, a truth value or a text.
            name: what is told; `label` is what the model predicts.
            at: business time at which it was so; the one with the latest counts.
            metadata: what else belongs to it.

        Raises:
            InvalidInput: a field cannot be kept as it is.
        """
        item = {"prediction_id": prediction_id, "value": value, "name": name, "at": at, "metadata": metadata or {}}
        return self.send([item])

    def send(self, items: Iterable[Feedback | Mapping[str, Any]]) -> Taken:
        """Say what became of many predictions; each a `Feedback`, or a mapping with its fields.

        Raises:
            InvalidInput: an item cannot be kept as it is; those of its thousands before are.
        """
        done = Taken(accepted=0, new=0, corrections=0)
        batch: list[Feedback] = []
        for item in items:
            batch.append(item if isinstance(item, Feedback) else _read(item))
            if len(batch) == ITEMS_LIMIT // 2:
                done, batch = self._send(done, batch), []
        return self._send(done, batch) if batch else done

    def of(self, prediction_id: str) -> list[Stored]:
        """All that was said of a prediction, in the order in which it came."""
        path = f"/api/v1/feedback/predictions/{quote(prediction_id, safe='')}"
        return self._transport.call("GET", path, returns=list[Stored])

    def state(self) -> FeedbackState:
        """How much has found its predictions, and how much waits."""
        return self._transport.call("GET", "/api/v1/feedback", returns=FeedbackState)

    def tallies(self, model: str, *, release_id: str | None = None) -> list[Tally]:
        """What counts of a model's feedback, added up by version and name."""
        path = f"/api/v1/models/{quote(model, safe='')}/feedback"
        return self._transport.call("GET", path, returns=list[Tally], query={"release_id": release_id})

    def _send(self, done: Taken, items: list[Feedback]) -> Taken:
        answer = self._transport.call("POST", "/api/v1/feedback", items, returns=Taken, repeatable=True)
        return Taken(
            accepted=done.accepted + answer.accepted,
            new=(done.new or 0) + (answer.new or 0),
            corrections=(done.corrections or 0) + (answer.corrections or 0),
        )


def _read(item: Mapping[str, Any]) -> Feedback:
    try:
        return msgspec.convert(dict(item), Feedback)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"this is no feedback: {error}", where="feedback") from None
