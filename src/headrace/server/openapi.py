"""Our API described for machines: what holds for many routes is said here once, and not at each of them.

Litestar knows parameters, bodies and answers from the handlers' types. Added to that, from the classes of errors
and from the authorization table: how each route may refuse, what it needs, and its name in a generated client.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from headrace.errors import HeadraceError, StartError, every_error
from headrace.kernel.access import Role
from headrace.server.authorization import Table
from headrace.version import VERSION

Document = dict[str, Any]

DESCRIPTION = (
    "Everything that a Headrace platform knows and does. MLflow's protocol is served beside it, at the paths that"
    " MLflow's clients know."
)
TOKEN = "token"  # noqa: S105 - the name of the scheme
READING = frozenset({"get"})
LARGEST = 2**63 - 1

FILE: Document = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
ANY_FILE: Document = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
BODIES: Mapping[str, Document] = {
    "PUT /api/v1/blobs/{digest}": FILE,
    "PUT /api/v1/runs/{run_id}/artifacts/{path}": FILE,
}
"""What a route takes whose body is no JSON."""

ANSWERS: Mapping[str, Mapping[int, Document]] = {
    "GET /api/v1/blobs/{digest}": {200: {"description": "The bytes.", "content": FILE}},
    "GET /api/v1/runs/{run_id}/artifacts/{path}": {
        200: {"description": "The file, of the type that its name tells.", "content": ANY_FILE},
        206: {"description": "The bytes of the range that the header `Range` asks for.", "content": ANY_FILE},
        304: {"description": "`If-None-Match` names the file as it is: nothing is sent again."},
        416: {"description": "The range begins behind the end of the file."},
    },
    "GET /api/v1/models/{name}/rollback": {409: {"$ref": "#/components/responses/AlreadyExists"}},
    "GET /api/v1/routes/stream": {
        200: {
            "description": "JSON lines without end: all routes first, then each change; a heartbeat each second.",
            "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
        }
    },
}
"""What a route answers with that its type does not tell."""

PARAMETERS: Mapping[str, str] = {
    "after": "The last name of the page before; empty for the first page.",
    "alert_id": "The alert's id.",
    "alias": "The alias, or the pattern of aliases, that the policy is on.",
    "alive": "Only gateways that have reported within the last seconds.",
    "approval_id": "The id of the request for approval.",
    "at": "A moment of wall time, or a date for the end of that day in UTC; now when it is not given.",
    "batch": "The number of the batch, as the worker's job names it.",
    "before": "Only what is older than this: the last of the page before.",
    "commit": "A commit, or at least its first four digits.",
    "contains": "A part of the name; everything when it is empty.",
    "cursor": "Where the page before ended, as that page said; empty for the first page.",
    "data_class": "`predictions`, `feedback` or `labels`.",
    "depth": "How many steps away.",
    "digest": "`sha256:` and 64 hexadecimal digits.",
    "direction": "`up` to what it was made from, `down` to what came of it.",
    "down": "Whether to show what came of it.",
    "evidence_id": "The evidence's id.",
    "experiment_id": "The experiment's id, a number.",
    "feature": "`VIEW.FEATURE`.",
    "folder": "A folder, relative and with forward slashes; empty for the uppermost.",
    "job_id": "The job's id.",
    "key": "The metric's key; it may hold slashes.",
    "kind": "Which kind of object.",
    "limit": "How many at most.",
    "model": "Only those of this model.",
    "name": "The name.",
    "neighbours": "How many neighbours of each thing are shown at most.",
    "nodes": "How many things are shown at most.",
    "number": "The version's number.",
    "of": "`MODEL@3`, `MODEL@champion`, `MODEL@production`, or a name in the graph of lineage such as `run/<id>`.",
    "open_only": "Only releases that have not ended.",
    "owner": "`run/<id>` or `logged-model/<id>`.",
    "package": "A package with versions as pip writes them, such as `numpy<2.1`.",
    "path": "The file's path, relative and with forward slashes.",
    "pipeline_id": "The pipeline's id.",
    "prediction_id": "The prediction's id, as the gateway's answer named it.",
    "production": "Only what is in production now.",
    "release_id": "The release's id.",
    "role": "The role's name.",
    "run_id": "The run's id.",
    "stage": "The stage that the policy is on.",
    "state": "Only those in this state.",
    "status": "Only those of this status.",
    "subject": "Only what is about this, such as `run/<id>`: its events, oldest first, or the versions from it.",
    "table": "A source, a lake table, one of its versions such as `sources/purchases@3`, or a dataset.",
    "token_id": "The token's id, which is no secret.",
    "training_set_id": "The training set's id.",
    "unpinned": "Instead the versions that name the package without an exact version.",
    "up": "Whether to show what it was made from.",
    "view": "A feature view, or one of its versions such as `activity@2`.",
}
"""What a parameter of this name means, on every route that has it."""

ERROR: Document = {
    "type": "object",
    "title": "ErrorBody",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "title": "Error",
            "required": ["code", "message", "where", "fix"],
            "properties": {
                "code": {"type": "string", "description": "Stable; tells one kind of error from another."},
                "message": {"type": "string", "description": "What went wrong, in one sentence."},
                "where": {"type": ["string", "null"], "description": "The field, path or object it went wrong at."},
                "fix": {"type": ["string", "null"], "description": "What the caller can do about it."},
            },
        }
    },
}


def config(table: Table) -> OpenAPIConfig:
    """How the document is made and served.

    Args:
        table: which role each route needs.
    """
    return OpenAPIConfig(
        title="Headrace",
        version=VERSION,
        description=DESCRIPTION,
        path="/api",
        render_plugins=[_Renderer(table)],
        components=Components(security_schemes={TOKEN: SecurityScheme(type="http", scheme="bearer")}),
        use_handler_docstrings=True,
        operation_id_creator=_operation_id,
    )


class _Renderer(JsonRenderPlugin):
    """Serves the document, which is completed once."""

    def __init__(self, table: Table) -> None:
        super().__init__(path="/openapi.json")
        self._table = table
        self._content: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: Document) -> bytes:
        """The document as JSON."""
        if self._content is None:
            self._content = self.render_json(request, completed(openapi_schema, self._table))
        return self._content


def _operation_id(handler: HTTPRouteHandler, method: str, _path: Any) -> str:
    """The name of the handler, which Litestar insists to be no other's."""
    return f"{handler.handler_name}_headers" if method == "HEAD" else handler.handler_name


def completed(document: Document, table: Table) -> Document:
    """The document as Litestar makes it, with all that it cannot know."""
    found = deepcopy(document)
    for path, operations in found["paths"].items():
        operations.pop("head", None)  # a GET without its body
        for method, operation in operations.items():
            _complete(operation, method, path, table.get(f"{method.upper()} {path}"))
    components = found["components"]
    components["schemas"]["ErrorBody"] = ERROR
    components["responses"] = {_name(status): _refusal(status) for status in sorted(_kinds())}
    _straighten(found)
    return found


def _complete(operation: Document, method: str, path: str, role: Role | None) -> None:
    route = f"{method.upper()} {path}"
    text = operation.get("description", "").strip()
    operation["summary"] = text.split("\n\n")[0].replace("\n", " ").removesuffix(".")
    operation["description"] = f"{text}\n\nNeeds the role `{role.value}`." if role else text
    operation["tags"] = [path.removeprefix("/api/v1").strip("/").partition("/")[0]]
    operation["security"] = [{TOKEN: []}, {}] if role else [{}]
    for parameter in operation.get("parameters", []):
        parameter.setdefault("description", PARAMETERS.get(parameter["name"], ""))
    if route in BODIES:
        operation["requestBody"] = {"content": BODIES[route], "required": True}
    responses = operation["responses"]
    for status in statuses(operation, method):
        responses[str(status)] = {"$ref": f"#/components/responses/{_name(status)}"}
    responses.update({str(status): answer for status, answer in ANSWERS.get(route, {}).items()})


def statuses(operation: Document, method: str) -> list[int]:
    """With which statuses a route may refuse: each asks who calls, and what it is given may be wrong."""
    found = [401, 403, 500, 503]
    given = "parameters" in operation or "requestBody" in operation
    if given or method not in READING:
        found.append(400)
    if given:
        found.append(404)
    if method not in READING:
        found.append(409)
    if "requestBody" in operation:
        found.append(413)
    return sorted(found)


def _kinds() -> dict[int, list[type[HeadraceError]]]:
    """The errors of each status, but for those that end a process."""
    found: dict[int, list[type[HeadraceError]]] = {}
    for kind in every_error().values():
        if kind is not HeadraceError and not issubclass(kind, StartError):
            found.setdefault(kind.status, []).append(kind)
    return found


def _name(status: int) -> str:
    return _kinds()[status][0].__name__


def _refusal(status: int) -> Document:
    codes = [f"`{kind.code}`: {(kind.__doc__ or '').strip().splitlines()[0]}" for kind in _kinds()[status]]
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
    return {"description": "\n\n".join(codes), "content": content}


def _straighten(document: Document) -> None:
    """Say `anyOf` where a value may be of several types: 3 is an integer and a number, so not one of them alone.

    Bounds of integers are integers: as a float, the largest of 64 bits would be one too large.
    """
    for schema in _schemas(document):
        if "oneOf" in schema:
            schema["anyOf"] = schema.pop("oneOf")
        if schema.get("type") == "integer":
            for bound in ("minimum", "maximum"):
                if bound in schema:
                    schema[bound] = max(-LARGEST - 1, min(LARGEST, int(schema[bound])))


def _schemas(node: Any) -> Iterator[Document]:
    if isinstance(node, dict):
        yield node
        for each in node.values():
            yield from _schemas(each)
    elif isinstance(node, list):
        for each in node:
            yield from _schemas(each)
