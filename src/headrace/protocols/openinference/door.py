"""The gateway's door for the Open Inference Protocol, `/v2/…`, with its binary, repository and statistics parts.

Versioned paths pin a version, unversioned ones go through the rollout. What is loaded is decided by the registry:
`load` only says whether a model is there, and `unload` is refused.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import numpy as np

from headrace.errors import HeadraceError, NotFound, PolicyRefused, SchemaMismatch
from headrace.protocols.openinference import tables, wire
from headrace.protocols.openinference.reading import is_aside, read_aside, takes_long
from headrace.serving.forms.inputs import Columns
from headrace.serving.forms.json_forms import Asked
from headrace.serving.gateway.answering import Answered, Answering, Question
from headrace.serving.gateway.asking import DEFAULT
from headrace.serving.gateway.doors import Handler, Incoming, Response
from headrace.serving.gateway.headers import FALLBACK, purpose_of, timeout_of, unit_of
from headrace.serving.gateway.reading import LARGE_BYTES, VALUES_HERE
from headrace.serving.loading.predictor import Predictor
from headrace.serving.nouns import VersionCounts

EXTENSIONS = ("binary_tensor_data", "model_repository", "statistics")
_MODEL = re.compile(
    r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<verb>ready|infer|stats))?/?"
)
_REPOSITORY = re.compile(r"/v2/repository/models/(?P<model>[^/]+)/(?P<verb>load|unload)")


class OpenInference:
    """The door.

    Args:
        answering: answers what is asked.
        ready: whether requests can be answered.
        version: the platform's version.
    """

    def __init__(self, answering: Answering, *, ready: Callable[[], bool], version: str) -> None:
        self._answering = answering
        self._ready = ready
        self._version = version

    def find(self, method: str, path: str) -> Handler | None:
        """What answers at this path."""
        if not path.startswith("/v2"):
            return None
        fixed: dict[tuple[str, str], Handler] = {
            ("GET", "/v2"): self._server,
            ("GET", "/v2/health/live"): self._live,
            ("GET", "/v2/health/ready"): self._is_ready,
            ("GET", "/v2/models/stats"): partial(self._statistics, None, None),
            ("POST", "/v2/repository/index"): self._index,
        }
        known = fixed.get((method, path.rstrip("/")))
        if known is not None:
            return known
        found = _REPOSITORY.fullmatch(path)
        if found is not None and method == "POST":
            return partial(self._load if found["verb"] == "load" else self._unload, found["model"])
        found = _MODEL.fullmatch(path)
        if found is None:
            return None
        verb = found["verb"] or "metadata"
        handler = {
            ("GET", "metadata"): self._metadata,
            ("GET", "ready"): self._model_ready,
            ("GET", "stats"): self._statistics,
            ("POST", "infer"): self._infer,
        }.get((method, verb))
        return None if handler is None else partial(handler, found["model"], found["version"])

    def problem(self, error: HeadraceError) -> Response:
        """An error in the protocol's shape."""
        words = " ".join(part for part in (error.message, error.where and f"({error.where})", error.fix) if part)
        return _json({"error": words}, error.status)

    async def _server(self, _: Incoming) -> Response:
        return _json({"name": "headrace", "version": self._version, "extensions": EXTENSIONS})

    async def _live(self, _: Incoming) -> Response:
        return _json({"live": True})

    async def _is_ready(self, _: Incoming) -> Response:
        # The protocol says `live` here; the client of KServe reads `ready`.
        ready = self._ready()
        return _json({"live": ready, "ready": ready}, 200 if ready else 503)

    async def _metadata(self, model: str, version: str | None, _: Incoming) -> Response:
        predictor = self._answering.predictor(model, _number(version))
        numbers = sorted(
            number
            for active in self._answering.served()
            if active.route.model == model
            for number in active.predictors
        )
        return _json(
            {
                "name": model,
                "versions": [str(number) for number in numbers],
                "platform": "headrace_mlflow",
                "inputs": tables.describe(predictor.signature),
                "outputs": tables.describe_outputs(predictor.sample),
            }
        )

    async def _model_ready(self, model: str, version: str | None, _: Incoming) -> Response:
        self._answering.predictor(model, _number(version))
        return _json({"name": model, "ready": True})

    async def _index(self, _: Incoming) -> Response:
        return _json(
            [
                {"name": active.route.model, "version": str(number), "state": "READY", "reason": ""}
                for active in self._answering.served()
                for number in sorted(active.predictors)
            ]
        )

    async def _load(self, model: str, _: Incoming) -> Response:
        self._answering.predictor(model, None)
        return _json({})

    async def _unload(self, model: str, _: Incoming) -> Response:
        raise PolicyRefused(
            "the registry decides what is loaded",
            where=f"model/{model}"[:200],
            fix="Archive the version that is in production, or release another one.",
        )

    async def _statistics(self, model: str | None, version: str | None, _: Incoming) -> Response:
        number = _number(version)
        if model is not None:
            self._answering.predictor(model, number)
        totals: dict[tuple[str, int], list[VersionCounts]] = {}
        for counts in self._answering.counted():
            if model in {None, counts.model} and number in {None, counts.version}:
                totals.setdefault((counts.model, counts.version), []).append(counts)
        return _json({"model_stats": [_stats(name, number, counts) for (name, number), counts in totals.items()]})

    async def _decode(
        self, body: bytes, header_length: str | None, deadline_s: float
    ) -> tuple[wire.InferRequest, Columns]:
        reading = self._answering.reading
        read = partial(read_aside, reading, body, header_length)
        if is_aside(body, header_length):
            return await reading.aside(read, deadline_s)
        request, end = wire.described(body, header_length)
        if len(body) > LARGE_BYTES and takes_long(request):
            return await reading.aside(read, deadline_s)
        return request, wire.tensors_of(request, memoryview(body)[end:])

    async def _infer(self, model: str, version: str | None, incoming: Incoming) -> Response:
        headers = incoming.headers
        timeout_s = timeout_of(headers)
        deadline_s = self._answering.deadline_s(timeout_s)
        request, tensors = await self._decode(incoming.body, headers.get(wire.HEADER_LENGTH), deadline_s)
        number = _number(version)

        rows = max((len(values) for values in tensors.values()), default=0)

        def spreads(predictor: Predictor) -> bool:
            return rows * predictor.forms.optional > VALUES_HERE

        def aside(predictor: Predictor) -> bool:
            return len(incoming.body) > LARGE_BYTES or spreads(predictor)

        def read(predictor: Predictor) -> Asked:
            params = {
                name: value for name, value in request.parameters.items() if name in predictor.signature.params
            }
            given = predictor.signature.check_params(params) if params else None
            inputs = tables.to_inputs(predictor, tensors)
            if spreads(predictor):
                arrays = inputs.values() if isinstance(inputs, dict) else [inputs]
                self._answering.reading.hold(inputs, sum(array.nbytes for array in arrays))
            return Asked(inputs, given)

        answered = await self._answering.answer(
            Question(
                model=model,
                number=number,
                read=read,
                unit=unit_of(headers),
                purpose=purpose_of(headers, pinned=number is not None),
                timeout_s=timeout_s,
                deadline_s=deadline_s,
                aside=aside,
                trace=incoming.trace,
            )
        )
        return _answer(model, request, answered)


def _answer(model: str, request: wire.InferRequest, answered: Answered) -> Response:
    (part,) = answered.parts
    outputs = part.outputs
    assert outputs is not None
    named = outputs if isinstance(outputs, dict) else {tables.OUTPUT: np.asarray(outputs)}
    wanted = request.outputs or tuple(wire.RequestedOutput(name) for name in named)
    every = request.parameters.get("binary_data_output") is True
    described, contents = [], []
    for output in wanted:
        if output.name not in named:
            raise SchemaMismatch(
                "the model has no such output",
                where=f"outputs.{output.name}"[:200],
                fix=f"It has: {', '.join(named)[:200]}.",
            )
        binary = output.parameters.get("binary_data", every) is True
        tensor, content = wire.output(output.name, named[output.name], binary=binary)
        described.append(tensor)
        if content is not None:
            contents.append(content)
    response = wire.InferResponse(
        model_name=model,
        model_version="" if part.fallback == DEFAULT else str(part.assignment.number),
        outputs=described,
        id=request.id,
        parameters={"prediction_id": answered.id} | ({} if part.fallback is None else {"fallback": part.fallback}),
    )
    marks = () if part.fallback is None else ((FALLBACK, part.fallback),)
    body, length = wire.encode(response, contents)
    if length is None:
        return Response(body, headers=marks)
    return Response(body, "application/octet-stream", headers=((wire.HEADER_LENGTH, str(length)), *marks))


def _stats(model: str, number: int, counts: list[VersionCounts]) -> dict[str, Any]:
    good = sum(each.requests - each.faults for each in counts)
    failed = sum(each.faults for each in counts)
    nanoseconds = 1_000 * sum(each.latency_us_sum for each in counts)
    share = good / (good + failed) if good + failed else 1.0
    return {
        "name": model,
        "version": str(number),
        "inference_count": good,
        "execution_count": good,
        "inference_stats": {
            "success": {"count": good, "ns": int(nanoseconds * share)},
            "fail": {"count": failed, "ns": int(nanoseconds * (1 - share))},
        },
    }


def _number(version: str | None) -> int | None:
    if version is None:
        return None
    if not version.isascii() or not version.isdigit() or len(version) > 9:
        raise NotFound("versions are numbers", where=f"versions/{version[:50]}")
    return int(version)


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status=status)
