"""The door for predictions: `POST /models/NAME/invocations`, for one version `/models/NAME/versions/N/invocations`.

The forms of the body are those of MLflow's scoring protocol, and entities whose features are looked up.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from headrace.errors import HeadraceError, InvalidInput, TooLarge
from headrace.serving import doors
from headrace.serving.answering import Answered, Answering, Question
from headrace.serving.doors import Handler, Headers, Incoming, Response
from headrace.serving.forms import Asked
from headrace.serving.nouns import Purpose
from headrace.serving.predictor import Predictor

UNIT_LENGTH = 1_000
_PATH = re.compile(r"/models/(?P<model>[^/]+)(?:/versions/(?P<number>[0-9]{1,9}))?/invocations")
_PATHS_LIMIT = 10_000


class Reply(msgspec.Struct, frozen=True):
    """The answer, one item a row in each list."""

    predictions: list[Any]
    prediction_ids: list[str]
    versions: list[int]


class Invocations:
    """The door.

    Args:
        answering: answers what is asked.
    """

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._handlers: dict[str, Handler] = {}
        self._encode = msgspec.json.Encoder().encode

    def find(self, method: str, path: str) -> Handler | None:
        """What answers at this path."""
        if method != "POST":
            return None
        known = self._handlers.get(path)
        if known is not None:
            return known
        found = _PATH.fullmatch(path)
        if found is None:
            return None
        number = found["number"]
        handler = partial(self._answer, found["model"], None if number is None else int(number))
        if len(self._handlers) < _PATHS_LIMIT:
            self._handlers[path] = handler
        return handler

    def problem(self, error: HeadraceError) -> Response:
        """An error in the platform's own shape."""
        return doors.problem(error)

    async def _answer(self, model: str, number: int | None, incoming: Incoming) -> Response:
        headers = incoming.headers
        question = Question(
            model=model,
            number=number,
            read=_reader(headers, incoming.body),
            unit=_unit(headers),
            purpose=_purpose(headers, pinned=number is not None),
        )
        answered: Answered = await self._answering.answer(question)
        return Response(self._encode(Reply(answered.answers, answered.ids, answered.versions)))


def _reader(headers: Headers, body: bytes) -> Callable[[Predictor], Asked]:
    given = headers.get("content-type") or ""
    if given != doors.JSON and given.partition(";")[0].strip().lower() != doors.JSON:
        raise InvalidInput(
            "the body must be JSON", where="Content-Type", fix="Send Content-Type: application/json."
        )
    return lambda predictor: predictor.forms.decode(body)


def _unit(headers: Headers) -> str | None:
    unit = headers.get("x-unit") or None
    if unit is not None and len(unit) > UNIT_LENGTH:
        raise TooLarge(f"a unit has at most {UNIT_LENGTH} characters", where="X-Unit")
    return unit


def _purpose(headers: Headers, *, pinned: bool) -> Purpose:
    given = headers.get("x-headrace-purpose")
    if given is None:
        return Purpose.LIVE
    try:
        purpose = Purpose(given)
    except ValueError:
        raise InvalidInput(
            "there is no such purpose", where="X-Headrace-Purpose", fix=f"Use one of {', '.join(Purpose)}."
        ) from None
    if purpose is Purpose.STAGING and not pinned:
        raise InvalidInput(
            "a staging request names its version, or it would count for the rollout",
            where="X-Headrace-Purpose",
            fix="Send it to /models/<name>/versions/<number>/invocations.",
        )
    return purpose
