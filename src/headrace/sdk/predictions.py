"""Predictions over HTTP, by entity: a kept connection to one gateway."""

import http.client
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from headrace.client.transport import problem_from
from headrace.errors import InvalidInput, Unavailable
from headrace.serving.explanation_nouns import Explanations


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
        self._model = quote(model, safe="")
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
        content = self._post("invocations", {"entities": entities})
        return msgspec.json.decode(content, type=Predictions)

    def explain(
        self,
        *,
        entities: Mapping[str, Sequence[Any]] | None = None,
        rows: Sequence[Mapping[str, Any]] | None = None,
        version: int | None = None,
        top: int | None = None,
        output: str | None = None,
    ) -> Explanations:
        """Which features brought predictions to their value.

        Args:
            entities: key column to values, or
            rows: features by name.
            version: which is explained, such as the one that made a prediction; None draws one of those in force.
            top: how many contributions to keep of each row; None for all.
            output: the class or output that is explained; None for the second of two classes, the likeliest of
                several, or the first output.

        Raises:
            NotServed: the version cannot be explained; the error says what it lacks.
            ModelFault: the model failed on a row.
            InvalidInput: the request cannot be meant.
            Unavailable: the gateway does not answer, or explains too much already.
        """
        if (entities is None) == (rows is None):
            raise InvalidInput("either entities or rows are explained", where="explain")
        asked = {name: str(value) for name, value in (("top", top), ("output", output)) if value is not None}
        path = "explain" if version is None else f"versions/{version}/explain"
        body = {"entities": entities} if rows is None else {"dataframe_records": rows}
        content = self._post(f"{path}?{urlencode(asked)}" if asked else path, body)
        return msgspec.json.decode(content, type=Explanations)

    def _post(self, what: str, asked: Mapping[str, Any]) -> bytes:
        path = f"/models/{self._model}/{what}"
        try:
            self._connection.request("POST", path, msgspec.json.encode(asked), self._headers)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Unavailable(f"the gateway at {self._url} does not answer ({type(error).__name__})") from error
        if response.status != 200:
            raise problem_from(response.status, content, self._url + path)
        return content

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()
