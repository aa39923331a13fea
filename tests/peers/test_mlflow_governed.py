"""Policies hold against an unmodified MLflow client, old and new: refused, told where to look, and let through."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from headrace.registry.approval import Approval
from headrace.sdk.platform import Platform
from headrace.testing.platform import TemporaryPlatform

CLIENT = Path(__file__).with_name("mlflow_calls.py")
MEANT = "I have reviewed the evidence and accept the risk."

pytestmark = pytest.mark.loop


class Caller:
    """A process with a real client in it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def __call__(self, method: str, *args: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([method, *args]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the client has ended"
        found: dict[str, Any] = json.loads(line)
        return found

    def does(self, method: str, *args: Any) -> Any:
        """What a call is answered with, which must not be a refusal."""
        found = self(method, *args)
        assert "answer" in found, found
        return found["answer"]


@contextmanager
def caller(python: Path, url: str, token: str, folder: Path) -> Iterator[Caller]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "MLFLOW_TRACKING_TOKEN": token,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    }
    with subprocess.Popen(
        [str(python), str(CLIENT), url],
        env=environment,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Caller(process)
        assert process.stdin is not None
        process.stdin.close()


class Shop(NamedTuple):
    """A platform with a developer who has two MLflow clients, two approvers, and a model of one version."""

    platform: TemporaryPlatform
    clients: tuple[Caller, Caller]
    approvers: tuple[Platform, Platform]
    model: str

    def policy(self, **fields: Any) -> None:
        self.platform.local.policies.set({"model": self.model, **fields})

    def waiting(self) -> list[Approval]:
        found = self.platform.local.approving.search(status="requested")
        return [each for each in found if each.model.startswith(self.model)]

    def refused(self, method: str, *args: Any) -> Approval:
        """The request that a refused call leads to: by the link in its message, as a person would follow it."""
        found = self.clients[0](method, *args)
        assert found.get("code") == "PERMISSION_DENIED", found
        link = re.search(r"http://\S+/approvals/(apr_\w+)", found["message"])
        assert link is not None, found["message"]
        assert f"headrace approvals grant {link.group(1)}" in found["message"]
        assert "2 approvals of the role approver" in found["message"]
        page = httpx.get(link.group())
        assert (page.status_code, link.group(1) in page.text) == (200, True)
        return self.platform.local.approving.get(link.group(1))

    def refused_then_let_through(self, method: str, *args: Any) -> Any:
        """A call that is refused twice alike, is granted by two people, and then works; returns its answer."""
        asked = self.refused(method, *args)
        assert self.refused(method, *args).id == asked.id
        assert [each.id for each in self.waiting()] == [asked.id]
        for approver in self.approvers:
            approver.decide(asked.id, grant=True, meaning=MEANT)
        answer = self.clients[0].does(method, *args)
        assert self.platform.local.approving.get(asked.id).status == "used"
        return answer


@pytest.fixture(scope="module")
def shop(
    any_mlflow_python: Path, platform: TemporaryPlatform, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """One for each client."""
    which = any_mlflow_python.parents[1].name.replace(".", "-")
    people = [platform.person(f"{name}-{which}", role) for name, role in PEOPLE]
    token = people[0].transport.token
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("client")
        clients = [stack.enter_context(caller(any_mlflow_python, platform.url, token, folder)) for _ in range(2)]
        yield Shop(platform, (clients[0], clients[1]), (people[1], people[2]), f"governed-{which}")


PEOPLE = (("dana", "developer"), ("ravi", "approver"), ("rosa", "approver"))


def register(shop: Shop, model: str) -> str:
    """A version that the client logged and registered."""
    run_id = shop.clients[0].does("create_run", "0")["run_id"]
    shop.clients[0].does("log_text", run_id, f"flavors: {{}}\n# {run_id}\n", "model/MLmodel")
    made = shop.clients[0].does("create_model_version", model, f"runs:/{run_id}/model", run_id)
    return str(made["version"])


def test_under_the_open_policy_everything_goes_as_with_mlflow(shop: Shop) -> None:
    client, model = shop.clients[0], f"{shop.model}-open"
    client.does("create_registered_model", model)
    assert register(shop, model) == "1"
    assert shop.platform.local.policies.of(model).is_open
    client.does("set_registered_model_alias", model, "champion", "1")
    assert client.does("transition_model_version_stage", model, "1", "Production")["current_stage"] == "Production"
    assert client.does("update_model_version", model, "1", "the first")["description"] == "the first"
    client.does("set_model_version_tag", model, "1", "checked", "yes")
    client.does("update_registered_model", model, "open")
    client.does("set_registered_model_tag", model, "team", "growth")
    client.does("delete_registered_model_alias", model, "champion")
    client.does("transition_model_version_stage", model, "1", "Archived")
    client.does("rename_registered_model", model, f"{model}-2")
    client.does("delete_model_version", f"{model}-2", "1")
    client.does("delete_registered_model", f"{model}-2")
    assert not [asked for asked in shop.platform.local.approving.search() if asked.model.startswith(model)]


def test_under_a_strict_policy_every_change_is_refused_asked_for_and_then_let_through(shop: Shop) -> None:
    client, model = shop.clients[0], shop.model
    client.does("create_registered_model", model)
    register(shop, model)
    shop.policy(stage="Production", approvals=2)
    shop.policy(alias="champ*", approvals=2)

    client.does("transition_model_version_stage", model, "1", "Staging")  # which no policy governs
    client.does("update_model_version", model, "1", "not yet governed")
    moved = shop.refused_then_let_through("transition_model_version_stage", model, "1", "Production")
    assert moved["current_stage"] == "Production"
    shop.refused_then_let_through("set_registered_model_alias", model, "champion", "1")
    client.does("set_registered_model_alias", model, "best", "1")
    words = shop.refused_then_let_through("update_model_version", model, "1", "serves the shop")
    assert words["description"] == "serves the shop"
    shop.refused_then_let_through("set_model_version_tag", model, "1", "checked", "yes")
    shop.refused_then_let_through("delete_model_version_tag", model, "1", "checked")
    shop.refused_then_let_through("update_registered_model", model, "who comes back")
    shop.refused_then_let_through("set_registered_model_tag", model, "team", "growth")
    shop.refused_then_let_through("delete_registered_model_tag", model, "team")
    shop.refused_then_let_through("delete_registered_model_alias", model, "champion")

    for method, *args in (("delete_model_version", "1"), ("delete_registered_model",)):
        found = client(method, model, *args)
        assert (found["code"], "in production" in found["message"]) == ("PERMISSION_DENIED", True)
    archived = shop.refused_then_let_through("transition_model_version_stage", model, "1", "Archived")
    assert archived["current_stage"] == "Archived"
    register(shop, model)
    shop.refused_then_let_through("rename_registered_model", model, f"{model}-renamed")
    shop.refused_then_let_through("rename_registered_model", f"{model}-renamed", model)
    client.does("delete_model_version", model, "2")  # it never was anything
    shop.refused_then_let_through("delete_model_version", model, "1")
    shop.refused_then_let_through("delete_registered_model", model)

    report = shop.platform.local.verify_audit()
    assert report.verified, report.problems


def test_the_audit_trail_tells_who_moved_what_and_who_answered_for_it(shop: Shop) -> None:
    client, model = shop.clients[0], f"{shop.model}-audited"
    client.does("create_registered_model", model)
    register(shop, model)
    shop.platform.local.policies.set({"model": model, "stage": "Production", "approvals": 2})
    shop.refused_then_let_through("transition_model_version_stage", model, "1", "Production")
    told = [
        event
        for event in shop.platform.local.events(subject=f"version/{model}/1", limit=100)
        if event.type.startswith("registry.")  # a worker prepares it meanwhile
    ]
    assert [event.type for event in told] == [
        "registry.version_registered",
        "registry.change_refused",
        "registry.change_refused",
        "registry.stage_changed",
    ]
    assert {event.actor for event in told} == {told[0].actor}
    asked = told[1].payload["approval_id"]
    assert told[3].payload["grounds"] == f"approval {asked}"
    answered = shop.platform.local.events(subject=f"approval/{asked}")
    assert [event.type.removeprefix("registry.approval_") for event in answered] == [
        "requested",
        "granted",
        "granted",
        "used",
    ]
    assert {event.payload["meaning"] for event in answered[1:3]} == {MEANT}
    assert len({event.actor for event in answered[1:3]} - {told[0].actor}) == 2


def test_two_clients_at_once_file_one_request(shop: Shop) -> None:
    model = f"{shop.model}-raced"
    shop.clients[0].does("create_registered_model", model)
    register(shop, model)
    shop.platform.local.policies.set({"model": model, "stage": "Production", "approvals": 2})
    move = ("transition_model_version_stage", model, "1", "Production")
    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            found = list(pool.map(lambda client: client(*move), shop.clients))
            assert [each.get("code") for each in found] == ["PERMISSION_DENIED"] * 2
    (asked,) = shop.platform.local.approving.search(model=model)
    for approver in shop.approvers:
        approver.decide(asked.id, grant=True, meaning=MEANT)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda client: client(*move), shop.clients))
    assert all("answer" in each for each in found)  # the second finds it where it is to be
    history = shop.platform.local.events(subject=f"version/{model}/1", limit=100)
    assert [event.type for event in history].count("registry.stage_changed") == 1


def test_an_approver_s_own_client_cannot_approve_by_moving(shop: Shop, tmp_path: Path) -> None:
    """Who may approve is no developer, and so may not move; and a viewer's client may not even ask."""
    model = f"{shop.model}-own-client"
    shop.clients[0].does("create_registered_model", model)
    register(shop, model)
    answer = httpx.post(
        f"{shop.platform.url}/api/2.0/mlflow/registered-models/alias",
        json={"name": model, "alias": "mine", "version": "1"},
        headers={"Authorization": f"Bearer {shop.approvers[0].transport.token}"},
    )
    assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert "developer" in answer.json()["message"]
