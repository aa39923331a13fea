"""Predictions over HTTP, by entity: a kept connection to one gateway."""

import http.client
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from headrace.client.transport import problem_from
from headrace.errors import Unavailable


class Predictions(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway's answer, one item a row.

    Attributes:
        predictions: the model's outputs.
        prediction_ids: what a label is joined by later.
        versions: the version that answered each row; None where none did.
        fallbacks: what answered each row in the place of the version that should have; None where all were answered
            by that.
    """

    predictions: list[float]
    prediction_ids: list[str]
    versions: list[int | None]
    fallbacks: list[str | None] | None = None


class Predictor:
    """Asks one gateway for predictions of one model. Not thread-safe: one for each thread.

    Args:
        url: the gateway's address.
        model: the model's name.
        token: bearer token; empty on a loopback platform.
    """

    def __init__(self, url: str, model: str, *, token: str = "", timeout_s: float = 10.0) -> None:
        place = urlsplit(url)
        self._connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=timeout_s)
        self._path = f"/models/{model}/invocations"
        self._url = url
        self._headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {token}"} if token else {}
        )

    def predict(self, entities: Mapping[str, Sequence[Any]]) -> Predictions:
        """Predict for entities; their features are looked up by the gateway.

        Args:
            entities: key column to values, for example `{"customer_id": [1, 2]}`.

        Raises:
            ModelFault: the model failed on a row.
            InvalidInput: the request cannot be meant.
            Unavailable: the gateway does not answer.
        """
        body = msgspec.json.encode({"entities": entities})
        try:
            self._connection.request("POST", self._path, body, self._headers)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Unavailable(f"the gateway at {self._url} does not answer ({type(error).__name__})") from error
        if response.status != 200:
            raise problem_from(response.status, content, self._url + self._path)
        return msgspec.json.decode(content, type=Predictions)

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()
