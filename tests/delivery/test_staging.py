import json
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest

from headrace.delivery import staging
from headrace.delivery.evaluation_rows import Floats, Rows
from headrace.delivery.nouns import StagingRequest
from headrace.errors import Unavailable
from headrace.project.declaration import definition
from headrace.project.staging import replay
from headrace.registry.nouns import Verdict
from headrace.serving.nouns import ServedVersion

VERSION = ServedVersion(model="churn", number=2, digest="sha256:0", files=())
REQUEST = StagingRequest(release_id="rel_1", attempt=2, version=VERSION, training_set_id="ts_1", rows=250)


def rows(number: int = 250) -> Rows:
    features = np.linspace(0.0, 1.0, number)[:, None].repeat(2, axis=1)
    features[0, 1] = np.nan
    return Rows(
        keys=np.arange(number),
        labels=np.zeros(number, dtype=np.int64),
        features=features,
        names=("a", "b"),
        as_of=datetime(1997, 8, 1, tzinfo=UTC),
        training_set_id="ts_1",
    )


def offline(given: Rows) -> Floats:
    scores: Floats = given.features[:, 0] / 2.0
    return scores


def answering(shift: float = 0.0, *, fail_batch: int | None = None) -> httpx.Client:
    """A gateway that answers a / 2, as the offline scores are; it refuses what is not as agreed."""
    calls = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        assert request.url.path == "/models/churn/versions/2/invocations"
        records = json.loads(request.content)["dataframe_records"]
        assert len(records) <= staging.BATCH_ROWS
        assert all(list(record) == ["a", "b"] for record in records)
        if fail_batch == len(calls) - 1:
            return httpx.Response(500, json={"error": {"code": "MODEL_FAULT", "message": "no"}})
        return httpx.Response(200, json={"predictions": [record["a"] / 2 + shift for record in records]})

    return httpx.Client(transport=httpx.MockTransport(answer), base_url="http://gateway")


def check(client: httpx.Client) -> tuple[Verdict, str]:
    given = rows()
    found = staging.compare(REQUEST, offline(given), staging.replay(client, VERSION, given), "g1")
    assert found.sample_size == 250
    assert found.declaration == definition(replay(REQUEST.rows))
    return found.verdict, found.summary


def test_equal_answers_pass() -> None:
    assert check(answering())[0] is Verdict.PASS


def test_a_difference_beyond_the_tolerance_does_not() -> None:
    assert check(answering(shift=2e-9))[0] is Verdict.WORSE
    assert check(answering(shift=0.5e-9))[0] is Verdict.PASS


def test_rows_that_fail_are_counted() -> None:
    verdict, summary = check(answering(fail_batch=1))
    assert verdict is Verdict.WORSE
    assert summary.startswith("100 of 250 rows failed through g1: gateway: HTTP 500")


def test_no_rows_prove_nothing() -> None:
    found = staging.compare(REQUEST, np.empty(0), staging.Replayed(answers=np.empty(0), failures=0), "g1")
    assert found.verdict is Verdict.WORSE


def gateway(answer: httpx.Response | httpx.TransportError) -> httpx.Client:
    """A gateway that gives one answer to everything."""

    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, httpx.TransportError):
            raise answer
        return answer

    return httpx.Client(transport=httpx.MockTransport(handle), base_url="http://gateway")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("killed in the middle"),
        httpx.RemoteProtocolError("killed in the middle"),
        httpx.Response(503, json={"error": {"message": "not ready yet"}}),
        httpx.Response(404, json={"error": {"message": "version 2 is not loaded here"}}),
    ],
)
def test_a_gateway_that_went_away_is_no_fault_of_the_version(answer: httpx.Response | httpx.TransportError) -> None:
    with pytest.raises(Unavailable):
        staging.replay(gateway(answer), VERSION, rows())


def test_a_version_that_never_answers_is_at_fault() -> None:
    assert check(gateway(httpx.ReadTimeout("too long")))[0] is Verdict.WORSE


def test_nulls_travel_as_nulls() -> None:
    assert staging.records(rows().features[:1], ("a", "b")) == [{"a": 0.0, "b": None}]
