"""The door for explanations: `POST /models/NAME/explain`, for one version `/models/NAME/versions/N/explain`.

Bodies are those of `invocations`. An explanation is no prediction: it is not counted in a rollout and not logged.
So it must not tell which version a unit would get, or callers could choose by it whom to predict for: a request
that names no version is answered by that of a unit which nobody else has.
"""

import asyncio
import re
import time
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import numpy as np

from headrace.errors import HeadraceError, InvalidInput, TooLarge
from headrace.kernel.ids import new_hex
from headrace.serving.explanation_nouns import Explanation, Explanations, Method
from headrace.serving.forms.inputs import row_answers, row_values, rows_of
from headrace.serving.forms.signature import Kind
from headrace.serving.gateway import doors
from headrace.serving.gateway.answering import Answering, Question
from headrace.serving.gateway.asking import Part
from headrace.serving.gateway.doors import Handler, Incoming, Response
from headrace.serving.gateway.explaining import Explained, Explaining
from headrace.serving.gateway.headers import timeout_of
from headrace.serving.gateway.invocations import reader
from headrace.serving.gateway.measures import Measures

ROW_LIMIT = 1_000
CONTRIBUTIONS_LIMIT = 100_000
"""In one answer, which is put together in memory."""
_PATH = re.compile(r"/models/(?P<model>[^/]+)(?:/versions/(?P<number>[0-9]{1,9}))?/explain")
_WORDS = "top and output"


class Wanted(msgspec.Struct, frozen=True):
    """What the query asks for."""

    top: int | None = None
    """How many contributions to keep."""
    output: str | None = None
    """The class or output that is explained."""


class ExplanationDoor:
    """The door.

    Args:
        answering: answers what is explained.
        explaining: explains it.
        measures: how requests ended, by method in the place of the arm.
        alone: the only model, which is explained at `/explain` too.
    """

    def __init__(
        self,
        answering: Answering,
        explaining: Explaining,
        measures: Measures | None = None,
        *,
        alone: str | None = None,
    ) -> None:
        self._answering = answering
        self._explaining = explaining
        self._measures = Measures() if measures is None else measures
        self._alone = alone

    def find(self, method: str, path: str) -> Handler | None:
        """What answers at this path."""
        if method != "POST" or not path.endswith("/explain"):
            return None
        if path == "/explain":
            return None if self._alone is None else partial(self._answer, self._alone, None)
        found = _PATH.fullmatch(path)
        if found is None:
            return None
        number = found["number"]
        return partial(self._answer, found["model"], None if number is None else int(number))

    def problem(self, error: HeadraceError) -> Response:
        """An error in the platform's own shape."""
        return doors.problem(error)

    async def _answer(self, model: str, number: int | None, incoming: Incoming) -> Response:
        began_s = time.perf_counter()
        served: tuple[int | None, str] = (None, "")
        known, status = False, 500
        try:
            wanted = wanted_of(incoming.query)
            deadline_s = self._answering.deadline_s(timeout_of(incoming.headers))
            predictor = self._answering.predictor(model, number, unit=f"prd_{new_hex()}")
            read, aside = reader(incoming.headers, incoming.body, self._answering.reading)
            question = Question(
                model=model,
                number=predictor.version.number,
                read=read,
                aside=aside,
            )
            known, served = True, (predictor.version.number, "")
            with self._explaining.place(predictor):
                answered = await self._answering.unrecorded(question, deadline_s, row_limit=ROW_LIMIT)
            _require_short(answered.parts, wanted.top)
            found: list[Explanation | None] = [None] * answered.rows
            methods: dict[str, Method] = {}
            for part in answered.parts:
                explained = await self._explain(part, wanted, deadline_s)
                method = msgspec.convert(explained.method, Method)
                methods[str(part.assignment.number)] = method
                served = (part.assignment.number, method.name)
                rows = await asyncio.to_thread(explanations, part, explained, wanted.top)
                for place, each in zip(part.places or range(part.size), rows, strict=True):
                    found[place] = each
                if incoming.trace is not None:
                    incoming.trace.tell(model, part.assignment.number, part.assignment.arm)
            told = [each for each in found if each is not None]
            content = Explanations(model=model, explanations=told, methods=methods)
            body = await asyncio.to_thread(msgspec.json.encode, content)
            status = 200
            return Response(body)
        except HeadraceError as problem:
            status = problem.status
            raise
        except asyncio.CancelledError:
            status = 499  # the caller has gone away
            raise
        finally:
            version, name = served
            self._measures.observe(model if known else "", version, name, status, time.perf_counter() - began_s)

    async def _explain(self, part: Part, wanted: Wanted, deadline_s: float) -> Explained:
        assert part.outputs is not None
        return await self._explaining.explain(
            part.predictor,
            part.inputs,
            part.outputs,
            params=part.params,
            output=wanted.output,
            deadline_s=deadline_s,
        )


def wanted_of(query: str) -> Wanted:
    """What a query asks for.

    Raises:
        InvalidInput: it asks for something else, or for no number of contributions.
    """
    given = parse_qsl(query, keep_blank_values=True, max_num_fields=10) if query.count("&") < 10 else [("", "")]
    values = dict(given)
    if len(values) != len(given) or not set(values) <= {"top", "output"}:
        raise InvalidInput(
            "the query asks for what is not known, or twice", where="query", fix=f"Ask for {_WORDS} only."
        )
    top = values.get("top")
    if top is not None and not (top.isascii() and top.isdigit() and int(top[:9]) >= 1 and len(top) <= 9):
        raise InvalidInput("top is how many contributions to keep", where="top", fix="Send a number, such as 5.")
    return Wanted(None if top is None else int(top), values.get("output"))


def _require_short(parts: list[Part], top: int | None) -> None:
    """Before anything is computed for it.

    Raises:
        TooLarge: the answer would have too many contributions.
    """
    features = [len(feature_names(part)) for part in parts]
    kept = [width if top is None else min(width, top) for width in features]
    wanted = sum(part.size * width for part, width in zip(parts, kept, strict=True))
    if wanted > CONTRIBUTIONS_LIMIT:
        raise TooLarge(
            f"this asks for {wanted:,} contributions, and an answer has at most {CONTRIBUTIONS_LIMIT:,}",
            where="top",
            fix="Keep the largest of each row with ?top=N, or send fewer rows.",
        )


def explanations(part: Part, explained: Explained, top: int | None) -> list[Explanation]:
    """One a row."""
    assert part.outputs is not None
    names = feature_names(part)
    predictions, values = row_answers(part.outputs), _values(part, names)
    contributions = explained.contributions
    if contributions.shape[1] != len(names):
        raise InvalidInput("the model has other features than its signature", where="signature")
    sums = explained.base + contributions.sum(axis=1)
    orders = np.argsort(-np.abs(contributions), axis=1, kind="stable")
    found = []
    for row in range(rows_of(part.inputs)):
        kept, rest = orders[row][:top].tolist(), orders[row][len(names) if top is None else top :]
        errors = explained.errors
        found.append(
            Explanation(
                version=part.assignment.number,
                prediction=predictions[row],
                of=explained.labels[explained.chosen[row]],
                scale=explained.scale,
                base=float(explained.base[row]),
                sum=float(sums[row]),
                contributions={names[place]: float(contributions[row, place]) for place in kept},
                values={names[place]: values[row][place] for place in kept},
                others=float(contributions[row, rest].sum()),
                standard_errors=None
                if errors is None
                else {names[place]: float(errors[row, place]) for place in kept},
                registered_prediction=explained.native.get(row),
            )
        )
    return found


def _values(part: Part, names: list[str]) -> list[list[Any]]:
    """What the model was given, a list a row; of tensors, place by place."""
    inputs = part.inputs
    if not isinstance(inputs, dict):
        return row_values(inputs, names)
    of_tensors = part.predictor.signature.kind is Kind.TENSORS
    columns: list[list[Any]] = []
    for column in inputs.values() if of_tensors else (inputs[name] for name in names):
        flat = column.reshape(len(column), -1)
        if flat.dtype.kind == "M":  # finer than microseconds they would be bare numbers
            flat = flat.astype("datetime64[us]")
        columns += flat.T.tolist()
    return [list(row) for row in zip(*columns, strict=True)]


def feature_names(part: Part) -> list[str]:
    """Of the columns, or of the places in the tensors; only rows of one are explained."""
    signature = part.predictor.signature
    if signature.kind is not Kind.TENSORS or not isinstance(part.inputs, dict):
        return list(signature.names)
    widths = {name: tensor.shape[1] if tensor.ndim > 1 else 1 for name, tensor in part.inputs.items()}
    return [f"{name}[{place}]" for name, width in widths.items() for place in range(width)]
