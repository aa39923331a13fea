"""Requests that are made from the description of our API, to a real control: each answer is one that is described.

Each operation gets requests that fit its description and requests that do not, some of them about things that there
are; always the same ones. No answer may be a defect, have a status or a body that is not described, or refuse in
another shape than ours.
"""

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks
from tests.loop import small_shop
from tests.loop.wire import CONTROL_ALONE

from headrace.errors import every_error
from headrace.kernel.access import Role
from headrace.sdk.connect import connect
from headrace.server import composition
from headrace.testing.platform import TemporaryPlatform, temporary_platform

pytestmark = pytest.mark.loop

EXAMPLES = 20
FEW = {"POST /api/v1/plan": 4, "POST /api/v1/apply": 4}
"""Whole projects, of which each takes most of a second to be made."""

EXCLUDED = {"GET /api/v1/routes/stream": "it has no end", "GET /metrics": "its text is that of Prometheus"}
ROUTES = {route: role for route, role in composition.authorization().items() if "/api/v1/" in route}
OPERATIONS = sorted(["GET /health", *(ROUTES.keys() - EXCLUDED.keys())])
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
KINDS = every_error()
WITHOUT_BODY = {416}

Known = dict[str, Any]


class Shop:
    """A control without workers, on which a project was applied; makes things that requests can be about."""

    def __init__(self, platform: TemporaryPlatform) -> None:
        self.url = platform.url
        self.schema = schemathesis.openapi.from_url(f"{platform.url}/api/openapi.json")
        self.system = platform.launched.processes()["control"].environ()["HEADRACE_SYSTEM_TOKEN"]
        self._transport = platform.local.transport
        self._worker = connect(platform.url, token=self.system).transport
        self._numbers = itertools.count(1)

    def close(self) -> None:
        self._worker.close()

    def get(self, path: str) -> Any:
        return self._transport.call("GET", path, returns=list)

    def post(self, path: str, body: Any = None) -> Any:
        return self._transport.call("POST", path, body, returns=dict)

    def claim(self) -> Known:
        """A job that a worker has just taken."""
        claim = {"worker": "worker", "kinds": ["delivery.train", "delivery.gates", "features.ingest"]}
        self._worker.call("POST", "/api/v1/jobs/abandon", claim, returns=dict)
        return self._worker.call("POST", "/api/v1/jobs/claim", claim, returns=dict)

    def approval(self, number: int) -> Known:
        """A request for approval of a version of a model of its own, and who may decide on it."""
        model, principal = f"governed-{number}", f"ravi-{number}"
        file = {"path": "MLmodel", "digest": "sha256:" + "a" * 64, "size_bytes": 3}
        version = {"model": model, "run_id": "r", "files": [file]}
        self.post(f"/api/v1/models/{model}/versions", version)
        policy = {"model": model, "stage": "Production", "approvals": 1}
        self._transport.call("PUT", "/api/v1/policies", policy, returns=dict)
        self.post("/api/v1/access/principals", {"name": principal, "roles": ["approver"]})
        asked = self.post("/api/v1/approvals", {"model": model, "number": 1, "target": "stage/Production"})
        return {"approval_id": asked["id"], "model": model, "number": 1, "principal": principal}

    def known(self, path: str) -> Known:
        """One thing of each kind, for one operation alone, by the names of the fields that mean it."""
        number = next(self._numbers)
        run = self.post("/api/v1/runs", {"experiment": "churn"})
        points = [{"key": "loss", "value": 0.5}, {"key": "loss", "value": "NaN", "step": 1}]
        batch = {"metrics": points, "params": {"a": 1}, "tags": {"t": "v"}}
        self.post(f"/api/v1/runs/{run['id']}/batch", batch)
        address = f"/api/v1/runs/{run['id']}/artifacts/a/b.txt"
        blob = self._transport.upload(address, f"text {number}".encode(), returns=dict)
        file = {"path": "MLmodel", "digest": blob["digest"], "size_bytes": blob["size_bytes"]}
        version = {"model": "small", "run_id": run["id"], "files": [file]}
        version = self.post("/api/v1/models/small/versions", version)
        releases = [release["id"] for release in self.get("/api/v1/releases?model=small&open_only=true")]
        if not releases:
            releases = [self.post("/api/v1/releases", {"model": "small", "number": version["number"]})["id"]]
        principal = f"dana-{number}"
        self.post("/api/v1/access/principals", {"name": principal, "roles": ["developer"]})
        self.post("/api/v1/features/refresh")
        pipeline = self.post("/api/v1/train", {"model": "small", "params": {"strength": 1.0}})
        job = self.claim()
        known = {
            "run_id": run["id"],
            "experiment_id": run["experiment_id"],
            "owner": f"run/{run['id']}",
            "key": "loss",
            "path": "a/b.txt",
            "digest": blob["digest"],
            "size_bytes": blob["size_bytes"],
            "model": "small",
            "name": "small",
            "number": version["number"],
            "pipeline_id": pipeline["id"],
            "release_id": releases[0],
            "job_id": job["id"],
            "lease": job["lease"],
            "token_id": self.post(f"/api/v1/access/principals/{principal}/tokens")["id"],
            "role": "viewer",
            "kind": "entity",
        }
        if "/principals/" in path:
            known["name"] = principal
        if "/features/" in path:
            known["name"] = "customer"
        if "/policies" in path:  # what is set on the model of the other operations could keep them from it
            known["model"] = "other"
        if "/approvals/" in path:
            known |= self.approval(number)
        if "/bundles/" in path:
            known["digest"] = self.get("/api/v1/projects")[0]["bundle_digest"]
        return known


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    with temporary_platform(folder / "home", CONTROL_ALONE) as platform:
        platform.local.move_clock(small_shop.NOW)
        platform.local.apply(*platform.local.plan(small_shop.write(folder / "project")))
        with closing(Shop(platform)) as shop:
            yield shop
        assert "request failed" not in (folder / "home" / "logs" / "control.log").read_text()


def cases(operation: Any, known: Known) -> st.SearchStrategy[Case[Any]]:
    """Requests that fit and requests that do not, about nothing in particular and about what is known."""
    named = [each["name"] for each in operation.definition.raw.get("parameters", []) if each["in"] == "path"]
    fixed: dict[str, Any] = {"path_parameters": {name: known[name] for name in named if name in known}}
    fixed = fixed if fixed["path_parameters"] else {}
    fitting, unfit = (
        operation.as_strategy(generation_mode=mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    )
    real = operation.as_strategy(generation_mode=GenerationMode.POSITIVE, **fixed)
    ways = [fitting, unfit, real, real.map(lambda case: about(case, known))]
    if fixed and "requestBody" in operation.definition.raw:  # else there is nothing left that could be unfit
        ways.append(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE, **fixed))
    return st.one_of(ways)


def about(case: Case[Any], known: Known) -> Case[Any]:
    """The same request with each field that names something naming what there is."""

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: known[key] if key in known and isinstance(each, str | int) else filled(each)
                for key, each in value.items()
            }
        return [filled(each) for each in value] if isinstance(value, list) else value

    case.body = filled(case.body)
    case.query = filled(case.query)
    return case


@pytest.mark.parametrize("route", OPERATIONS)
def test_answers_are_as_described(shop: Shop, route: str) -> None:
    method, path = route.split()
    operation = shop.schema[path][method]
    headers = {"Authorization": f"Bearer {shop.system}"} if ROUTES.get(route) is Role.SYSTEM else {}

    @settings(
        max_examples=FEW.get(route, EXAMPLES),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases(operation, shop.known(path)))
    def send(case: Case[Any]) -> None:
        if isinstance(case.body, dict) and "wait_s" in case.body:
            case.body["wait_s"] = 0  # a claim waits for half a minute, if it is asked to
        answer = case.call(base_url=shop.url, headers=headers)
        case.validate_response(answer, checks=CHECKS)
        if answer.status_code >= 400 and answer.status_code not in WITHOUT_BODY:
            problem = answer.json()["error"]
            assert {*problem} == {"code", "message", "where", "fix"}
            assert KINDS[problem["code"]].status == answer.status_code
            assert problem["message"]

    send()


def test_what_is_not_tried_is_described_all_the_same(shop: Shop) -> None:
    described = {
        f"{method.upper()} {path}" for path, found in shop.schema.raw_schema["paths"].items() for method in found
    }
    assert described == {*OPERATIONS, *EXCLUDED}
