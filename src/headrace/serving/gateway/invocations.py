"""The door for predictions: `POST /models/NAME/invocations`, for one version `/models/NAME/versions/N/invocations`.

The forms of the body are those of MLflow's scoring protocol, and entities whose features are looked up.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from headrace.errors import HeadraceError, UnsupportedMediaType
from headrace.serving.forms.json_forms import Asked
from headrace.serving.gateway.answering import Answered, Answering, Question
from headrace.serving.gateway.body_forms import HERE, KINDS, is_aside, read_aside, spreads
from headrace.serving.gateway.doors import Handler, Headers, Incoming, Response
from headrace.serving.gateway.headers import FALLBACK, purpose_of, timeout_of, unit_of
from headrace.serving.gateway.reading import Reading
from headrace.serving.loading.predictor import Predictor

_PATH = re.compile(r"/models/(?P<model>[^/]+)(?:/versions/(?P<number>[0-9]{1,9}))?/invocations")
_MLFLOW_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    413: "BAD_REQUEST",
    415: "BAD_REQUEST",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_PATHS_LIMIT, _PATH_LENGTH = 10_000, 200


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer, one item a row in each list."""

    predictions: list[Any]
    prediction_ids: list[str]
    versions: list[int | None]
    """None where no version answered."""
    fallbacks: list[str | None] | None = None
    """What answered in the place of the version that should have: `champion`, `previous` or `default`."""


class Invocations:
    """The door.

    Args:
        answering: answers what is asked.
        alone: the only model, which answers at `/invocations` too, as MLflow's scoring server does.
    """

    def __init__(self, answering: Answering, *, alone: str | None = None) -> None:
        self._answering = answering
        self._alone = alone
        self._handlers: dict[str, Handler] = {}
        self._encode = msgspec.json.Encoder().encode

    def find(self, method: str, path: str) -> Handler | None:
        """What answers at this path."""
        if method != "POST":
            return None
        known = self._handlers.get(path)
        if known is not None:
            return known
        if path == "/invocations" and self._alone is not None:
            return partial(self._answer, self._alone, None)
        found = _PATH.fullmatch(path)
        if found is None:
            return None
        number = found["number"]
        handler = partial(self._answer, found["model"], None if number is None else int(number))
        if len(self._handlers) < _PATHS_LIMIT and len(path) <= _PATH_LENGTH:
            self._handlers[path] = handler
        return handler

    def problem(self, error: HeadraceError) -> Response:
        """An error in the platform's own shape, and beside it the two fields that MLflow's clients read."""
        about = {"code": error.code, "message": error.message, "where": error.where, "fix": error.fix}
        words = " ".join(part for part in (error.message, error.where and f"({error.where})", error.fix) if part)
        code = _MLFLOW_CODES.get(error.status, "INTERNAL_ERROR")
        body = {"error_code": code, "message": words, "error": about}
        return Response(msgspec.json.encode(body), status=error.status)

    async def _answer(self, model: str, number: int | None, incoming: Incoming) -> Response:
        headers = incoming.headers
        read, aside = reader(headers, incoming.body, self._answering.reading)
        question = Question(
            model=model,
            number=number,
            read=read,
            aside=aside,
            unit=unit_of(headers),
            purpose=purpose_of(headers, pinned=number is not None),
            timeout_s=timeout_of(headers),
            trace=incoming.trace,
        )
        answered: Answered = await self._answering.answer(question)
        fallbacks = answered.fallbacks
        reply = Reply(answered.answers, answered.ids, answered.versions, fallbacks)
        if fallbacks is None:
            return Response(self._encode(reply))
        return Response(self._encode(reply), headers=((FALLBACK, answered.fallback_words),))


def reader(
    headers: Headers, body: bytes, reading: Reading
) -> tuple[Callable[[Predictor], Asked], Callable[[Predictor], bool]]:
    """What decodes a body, by its kind, and whether that takes too long for the event loop.

    Raises:
        UnsupportedMediaType: it is of none that is read.
    """
    given = headers.get("content-type") or ""
    kind = given if given in KINDS else _media_type(given)
    if is_aside(kind, len(body)):
        return lambda predictor: read_aside(reading, kind, body, predictor.forms), lambda _: True
    read_here = HERE[kind]

    def read(predictor: Predictor) -> Asked:
        forms = predictor.forms
        return read_aside(reading, kind, body, forms) if spreads(forms, kind, body) else read_here(forms, body)

    return read, lambda predictor: spreads(predictor.forms, kind, body)


def _media_type(given: str) -> str:
    """The kind of the body, without its charset.

    Raises:
        UnsupportedMediaType: it is none that is read, or has parameters other than charset=utf-8.
    """
    kind, *parameters = (part.strip().lower() for part in given.split(";"))
    for parameter in parameters:
        if parameter.replace('"', "") not in {"charset=utf-8", "charset=utf8", ""}:
            raise UnsupportedMediaType("only UTF-8 is read", where="Content-Type", fix="Leave the parameter out.")
    if kind not in KINDS:
        raise UnsupportedMediaType(
            "the body is of a kind that is not read",
            where="Content-Type",
            fix=f"Send one of {', '.join(KINDS)}.",
        )
    return kind
