"""Policies on a real control, on both databases: many callers at once, and kill -9 between any two steps."""

import http.client
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.errors import HeadraceError
from headrace.registry.approval import Approval, Decision
from headrace.sdk.platform import Platform
from headrace.testing.platform import TemporaryPlatform, temporary_platform

from .wire import CONTROL_ALONE, PATIENCE_S, Answer, port_of

pytestmark = pytest.mark.loop

CALLERS = 12
YES = Decision(grant=True, meaning="I have reviewed the evidence and accept the risk.")
MOVE = "/api/2.0/mlflow/model-versions/transition-stage"


class Shop:
    """A platform on which churn@1 needs two approvals to enter production."""

    def __init__(self, platform: TemporaryPlatform) -> None:
        self.platform = platform
        self.dana = platform.person("dana", "developer")
        self.approvers = [platform.person(name, "approver") for name in ("ravi", "rosa")]
        file = {"path": "MLmodel", "digest": "sha256:" + "a" * 64, "size_bytes": 3}
        version = {"model": "churn", "run_id": "r1", "files": [file]}
        self.dana.transport.call("POST", "/api/v1/models/churn/versions", version, returns=dict)
        platform.local.policies.set({"model": "churn", "stage": "Production", "approvals": 2})

    def move(self) -> Answer:
        """Dana's MLflow client asks for the move, once."""
        connection = http.client.HTTPConnection("127.0.0.1", port_of(self.platform.url), timeout=PATIENCE_S)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.dana.transport.token}"}
        body = json.dumps({"name": "churn", "version": "1", "stage": "Production"})
        try:
            connection.request("POST", MOVE, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
        finally:
            connection.close()

    def requests(self) -> list[Approval]:
        return self.platform.local.approving.search(model="churn")

    def kill_control(self) -> None:
        self.platform.launched.kill("control")
        self.platform.local.clock()  # answered again

    def told(self, subject: str) -> Counter[str]:
        return Counter(event.type for event in self.platform.local.events(subject=subject, limit=1000))


@pytest.fixture(params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    settings = dict(CONTROL_ALONE)
    if request.param == "postgresql":
        settings["HEADRACE_DATABASE"] = request.getfixturevalue("empty_postgresql")
    with temporary_platform(tmp_path / "home", settings) as platform:
        yield Shop(platform)


def test_many_at_once_file_one_request_count_once_each_and_move_once(shop: Shop) -> None:
    with ThreadPoolExecutor(CALLERS) as pool:
        refused = list(pool.map(lambda _: shop.move(), range(CALLERS)))
        assert {answer.status for answer in refused} == {403}
        (asked,) = shop.requests()
        assert all(asked.id in answer.json["message"] for answer in refused)

        def grant(approver: Platform) -> str:
            try:
                return approver.approving.decide(asked.id, YES).status
            except HeadraceError as problem:
                return problem.code

        list(pool.map(grant, shop.approvers * 4))
        granted = shop.platform.local.approving.get(asked.id)
        assert (granted.status, granted.granted, len(granted.decisions)) == ("granted", 2, 2)
        moved = list(pool.map(lambda _: shop.move(), range(CALLERS)))
        assert {answer.status for answer in moved} == {200}  # it is where it is to be
    assert shop.told("version/churn/1")["registry.stage_changed"] == 1
    assert shop.told(f"approval/{asked.id}") == {
        "registry.approval_requested": 1,
        "registry.approval_granted": 2,
        "registry.approval_used": 1,
    }
    assert len(shop.requests()) == 1


def test_control_may_die_between_any_two_steps(shop: Shop) -> None:
    assert shop.move().status == 403
    shop.kill_control()
    (asked,) = shop.requests()
    for approver in shop.approvers:
        approver.approving.decide(asked.id, YES)
        shop.kill_control()
        assert shop.move().status == (403 if approver is shop.approvers[0] else 200)
    shop.kill_control()
    assert shop.platform.local.approving.get(asked.id).status == "used"
    assert shop.platform.local.version("churn", 1).stage == "Production"
    report = shop.platform.local.verify_audit()
    assert report.verified, report.problems


def test_a_role_that_is_taken_away_is_seen_to_take_its_grants_along(shop: Shop) -> None:
    shop.move()
    (asked,) = shop.requests()
    for approver in shop.approvers:
        approver.approving.decide(asked.id, YES)
    shop.platform.local.access.revoke("ravi", "approver")
    assert shop.move().status == 403  # at once, whether or not anybody has heard of it

    def struck() -> Approval:
        return shop.platform.local.approving.get(asked.id)

    seen = shop.platform.local.wait_for(
        struck, lambda now: any(d.revoked_because for d in now.decisions), "the event"
    )
    assert (seen.status, seen.granted) == ("requested", 1)
    assert shop.told(f"approval/{asked.id}")["registry.approval_voided"] == 1
