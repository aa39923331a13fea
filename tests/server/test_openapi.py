"""The description of our API is valid, complete, and good enough to make a client from."""

import re
from typing import Any

import pytest
import schemathesis
from litestar import Litestar
from litestar.testing import TestClient

from headrace.errors import HeadraceError, StartError, every_error
from headrace.server import composition, openapi
from headrace.server.authorization import registered

Document = dict[str, Any]


@pytest.fixture
def document(client: TestClient[Litestar]) -> Document:
    answer = client.get("/api/openapi.json")
    assert answer.headers["content-type"] == "application/vnd.oai.openapi+json"
    found: Document = answer.json()
    return found


def operations(document: Document) -> dict[str, Document]:
    return {
        f"{method.upper()} {path}": operation
        for path, found in document["paths"].items()
        for method, operation in found.items()
    }


def test_the_document_is_valid(document: Document) -> None:
    schemathesis.openapi.from_dict(document).validate()
    document["paths"]["/health"]["get"]["responses"]["200"]["description"] = 5
    with pytest.raises(ValueError, match="is not of type"):
        schemathesis.openapi.from_dict(document).validate()


def test_every_reference_leads_somewhere(document: Document) -> None:
    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*map(references, node.values()))
        return set().union(*map(references, node)) if isinstance(node, list) else set()

    found = references(document)
    for reference in found:
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
        assert place
    named = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert named <= found  # and nothing is described that nobody asks for


def test_every_route_of_ours_is_described(app: Litestar, document: Document) -> None:
    ours = {route for route in registered(app) if "/api/v1/" in route}
    assert ours | {"GET /health", "GET /metrics"} == operations(document).keys()


def test_operations_are_named_for_a_client(document: Document) -> None:
    found = operations(document)
    names = [operation["operationId"] for operation in found.values()]
    assert len(set(names)) == len(names)
    for route, operation in found.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+|whoami", operation["operationId"]), route
        assert re.fullmatch(r"\S.{4,118}[^.\s]", operation["summary"]), route
        assert operation["description"].startswith(operation["summary"].split("\n")[0]), route
        assert len(operation["tags"]) == 1, route
        assert operation["tags"][0], route
        for parameter in operation.get("parameters", []):
            assert parameter["description"].endswith("."), (route, parameter["name"])


def test_what_is_said_of_parameters_is_of_use(document: Document) -> None:
    used = {each["name"] for found in operations(document).values() for each in found.get("parameters", [])}
    assert used == set(openapi.PARAMETERS)
    assert openapi.BODIES.keys() | openapi.ANSWERS.keys() <= operations(document).keys()


def test_the_role_that_is_needed_is_told(document: Document) -> None:
    for route, role in composition.authorization().items():
        if route in operations(document):
            operation = operations(document)[route]
            assert ("Needs the role" in operation["description"]) is (role is not None)
            if role is not None:
                assert f"`{role.value}`" in operation["description"]
                assert {"token": []} in operation["security"]


def test_refusals_are_told_from_the_classes_of_errors(document: Document) -> None:
    refusals = document["components"]["responses"]
    for kind in every_error().values():
        if kind is not HeadraceError and not issubclass(kind, StartError):
            assert sum(f"`{kind.code}`" in each["description"] for each in refusals.values()) == 1, kind
    for route, operation in operations(document).items():
        refused = {status for status in operation["responses"] if status >= "400" and status != "416"}
        assert {"401", "403", "500", "503"} <= refused, route
        for status in refused:
            name = operation["responses"][status]["$ref"].rpartition("/")[2]
            assert refusals[name]["content"]["application/json"]["schema"] == {
                "$ref": "#/components/schemas/ErrorBody"
            }


def test_integers_have_64_bits_and_unions_are_no_riddles(document: Document) -> None:
    step = document["components"]["schemas"]["MetricPoint"]["properties"]["step"]
    assert (step["minimum"], step["maximum"]) == (-(2**63), 2**63 - 1)
    assert "oneOf" not in str(document)  # 3 is an integer, and a number: it would be none of both
