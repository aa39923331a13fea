"""From the body of a request to its answer: units, arms, features, predictions, counts and log; no HTTP here.

Each row is a unit of its own and gets its own arm. When a version fails on any row the whole answer is an error,
since half an answer is none; every row still counts for its version, as a fault only where the version failed.
A version is not to blame for failing on a null where its signature promises none: that is the caller's error, or
anybody could have a release taken back by sending nulls or unknown entities.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from datetime import datetime
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from headrace.errors import InvalidInput, ModelFault, NotFound, SchemaMismatch, TooLarge, Unavailable
from headrace.kernel.ids import new_id
from headrace.serving.assignment import Assignment, assign
from headrace.serving.counters import Breaker, Counted, Counters
from headrace.serving.inputs import Array
from headrace.serving.nouns import Arm, PredictionRecord, Purpose, ServedVersion
from headrace.serving.prediction_log import PredictionLog
from headrace.serving.predictor import Answer, Fault, Predictor
from headrace.serving.residency import Active, Residency
from headrace.serving.signature import NAME_LENGTH

ROW_LIMIT = 10_000
ISOLATED_ROWS = 1_000
"""Up to so many rows are asked again one by one to find those that a version fails on."""

EntityValue = str | int
Rows = npt.NDArray[np.intp]
"""Indexes of rows, shape (rows,)."""

_Given = tuple[str | None, dict[str, EntityValue] | None, msgspec.Raw | None]
_FORMS = 'Send {"entities": {"<key>": [...]}} or {"dataframe_records": [{...}]}.'


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A request, as far as HTTP is concerned with it."""

    model: str
    number: int | None
    """The version that the caller named; None goes through the rollout."""
    body: bytes
    unit: str | None
    """What the caller wants to stick to a version, when there is no entity key."""
    purpose: Purpose


class Invocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body: entities whose features we look up, or rows of features."""

    entities: dict[str, list[EntityValue]] | None = None
    dataframe_records: list[msgspec.Raw] | None = None


class Reply(msgspec.Struct, frozen=True):
    """The answer, one item a row in each list."""

    predictions: list[Answer]
    prediction_ids: list[str]
    versions: list[int]


class FeatureReader(Protocol):
    """Reads features of entities as a version was trained on them."""

    def read(
        self, version: ServedVersion, names: Sequence[str], keys: Sequence[EntityValue], at: datetime
    ) -> Array:
        """Values of shape (keys, names), NaN for null, as of business time `at`.

        Raises:
            Unavailable: the online store cannot answer.
        """
        ...


class _Row(msgspec.Struct, gc=False):
    place: int
    id: str
    unit: str | None
    entity: dict[str, EntityValue] | None
    record: msgspec.Raw | None
    assignment: Assignment


class _Group(msgspec.Struct):
    """The rows that one version answers."""

    predictor: Predictor
    rows: list[_Row]
    features: Array
    answers: list[Answer] = []
    faults: dict[int, str] = {}
    """Kind of fault by index into `rows`."""
    unfit: list[int] = []
    """Indexes of the rows that the version could not answer, and need not by its signature."""
    latency_us: int = 0


class Moment(msgspec.Struct, frozen=True):
    """When a request came, by both clocks, and whether control was away."""

    at: datetime
    business_at: datetime
    control_away: bool


class Answering:
    """Answers requests from the versions that are loaded; used from the gateway's event loop.

    Args:
        residency: what is loaded and in force.
        features: looks up features of entities.
        counters: counts each row.
        breaker: the local guard on challengers.
        log: takes every prediction.
        moment: tells the clocks.
        pool: predicts what would hold up the event loop.
    """

    def __init__(
        self,
        *,
        residency: Residency,
        features: FeatureReader,
        counters: Counters,
        breaker: Breaker,
        log: PredictionLog,
        moment: Callable[[], Moment],
        pool: Executor,
    ) -> None:
        self._residency = residency
        self._features = features
        self._counters = counters
        self._breaker = breaker
        self._log = log
        self._moment = moment
        self._pool = pool
        self._decoder = msgspec.json.Decoder(Invocation)
        self._encoder = msgspec.json.Encoder()

    async def answer(self, question: Question) -> bytes:
        """The answer as JSON.

        Raises:
            InvalidInput: the body is not one of the two forms.
            SchemaMismatch: a field is missing, unknown or of another type, or null for a model that cannot take
                it; `where` names it.
            NotFound: the model or the version is not served here.
            Unavailable: it is still being loaded, or features cannot be looked up.
            ModelFault: a version failed on a row; `where` names both.
        """
        ticket = self._log.begin(self._moment().business_at)
        try:
            # Read again: the log may have looked between the clock and the ticket, with a clock that had moved on.
            moment = self._moment()
            active, rows = self._rows(question)
            groups = self._groups(question, active, rows, moment)
            for group in groups:
                await self._predict(group)
            if not any(group.faults for group in groups):
                _require_fit(groups)
            self._record(question, active, groups, moment)
        finally:
            self._log.end(ticket)
        return self._reply(rows, groups)

    def _rows(self, question: Question) -> tuple[Active | None, list[_Row]]:
        """Decode the body and give every row its version."""
        try:
            body = self._decoder.decode(question.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _not_a_body(error) from None
        active = self._residency.active(question.model)
        if question.number is None and active is None:
            raise self._not_served(question.model)
        rows = []
        for place, (unit, entity, record) in enumerate(_given(body, question.unit)):
            prediction_id = new_id("prd")
            assignment = self._assign(question, active, prediction_id if unit is None else unit)
            rows.append(_Row(place, prediction_id, unit, entity, record, assignment))
        return active, rows

    def _assign(self, question: Question, active: Active | None, unit: str) -> Assignment:
        if question.number is not None:
            return Assignment(question.number, Arm.PINNED, 1.0)
        assert active is not None
        route = active.route
        tripped = route.challenger is not None and self._breaker.is_open(
            Counted(route.model, route.challenger, route.release_id, route.step)
        )
        found = assign(route, unit, without_challenger=tripped)
        if found is None:
            raise self._not_served(question.model)
        return found

    def _groups(self, question: Question, active: Active | None, rows: list[_Row], moment: Moment) -> list[_Group]:
        """The rows by version, with their features; everything that a caller can get wrong shows here."""
        by_number: dict[int, list[_Row]] = {}
        for row in rows:
            by_number.setdefault(row.assignment.number, []).append(row)
        groups = []
        for number, members in by_number.items():
            predictor = active.predictors.get(number) if active is not None else None
            predictor = predictor or self._residency.predictor(question.model, number)
            if predictor is None:
                raise NotFound(
                    f"version {number} of model {question.model!r} is not loaded here",
                    where=f"version/{question.model}/{number}",
                    fix="Ask for the model without a version, or wait until a release brings it here.",
                )
            groups.append(_Group(predictor, members, self._read_features(predictor, members, moment)))
        return groups

    def _read_features(self, predictor: Predictor, rows: list[_Row], moment: Moment) -> Array:
        version = predictor.version
        if rows[0].entity is None:
            decode = predictor.signature.decode_row
            values = [decode(row.record, row.place) for row in rows if row.record is not None]
            try:
                return np.array(values, dtype=np.float64)
            except OverflowError:
                raise SchemaMismatch("a number is too large", where="dataframe_records") from None
        (key,) = rows[0].entity
        if version.entity_key is None or not version.views:
            raise SchemaMismatch(
                "the model does not look up features",
                where="entities",
                fix="Send the features as dataframe_records.",
            )
        if key != version.entity_key:
            raise SchemaMismatch(
                "this is not the key of the model's entity",
                where=f"entities.{key[:64]}",
                fix=f"Name the entities by {version.entity_key}.",
            )
        keys = [row.entity[key] for row in rows if row.entity is not None]
        return self._features.read(version, predictor.names, keys, moment.business_at)

    async def _predict(self, group: _Group) -> None:
        started = time.perf_counter_ns()
        if group.predictor.inline(len(group.rows)):
            _ask(group)
        else:
            await asyncio.get_running_loop().run_in_executor(self._pool, _ask, group)
        group.latency_us = (time.perf_counter_ns() - started) // 1000

    def _record(self, question: Question, active: Active | None, groups: list[_Group], moment: Moment) -> None:
        """Count every row. Log the answers, or only the faults when nobody will get the answers."""
        refused = any(group.faults for group in groups)
        pinned = question.number is not None
        release_id = None if pinned or active is None else active.route.release_id
        step = None if pinned or active is None else active.route.step
        for group in groups:
            counted = Counted(question.model, group.predictor.version.number, release_id, step)
            for index, row in enumerate(group.rows):
                if index in group.unfit:
                    continue
                kind = group.faults.get(index)
                fault = kind is not None
                self._counters.count(counted, unit=row.unit, fault=fault, latency_us=group.latency_us)
                if row.assignment.arm is Arm.CHALLENGER:
                    self._breaker.observe(counted, fault=fault, control_away=moment.control_away, now=moment.at)
                if fault or not refused:
                    self._log.append(_log_line(question, group, index, counted, moment))

    def _reply(self, rows: list[_Row], groups: list[_Group]) -> bytes:
        predictions: list[Answer] = [0.0] * len(rows)
        for group in groups:
            for index in sorted(group.faults):
                version = group.predictor.version
                raise ModelFault(
                    f"version {version.number} of model {version.model!r} failed on row {group.rows[index].place}",
                    where=f"version/{version.model}/{version.number}",
                    fix="The fault counts against this version; a rollout takes it back by itself.",
                )
            for row, answer in zip(group.rows, group.answers, strict=True):
                predictions[row.place] = answer
        return self._encoder.encode(
            Reply(predictions, [row.id for row in rows], [row.assignment.number for row in rows])
        )

    def _not_served(self, model: str) -> NotFound | Unavailable:
        if self._residency.wants(model):
            return Unavailable(
                "the model is being loaded, or could not be", where=f"route/{model}", fix="See /api/v1/gateway."
            )
        return NotFound("no such model is served", where=f"route/{model[:256]}", fix="Release a version of it.")


def _given(body: Invocation, unit: str | None) -> list[_Given]:
    """Unit, entity and record of each row, from either form of the body."""
    if (body.entities is None) == (body.dataframe_records is None):
        raise InvalidInput("the body needs exactly one of its two forms", where="body", fix=_FORMS)
    given: list[_Given]
    if body.entities is not None:
        if len(body.entities) != 1:
            raise SchemaMismatch("entities are named by exactly one key", where="entities", fix=_FORMS)
        ((key, values),) = body.entities.items()
        given = [(str(value), {key: value}, None) for value in values]
    else:
        given = [(unit, None, record) for record in body.dataframe_records or ()]
    if not given:
        raise InvalidInput("a request has at least one row", where="body")
    if len(given) > ROW_LIMIT:
        raise TooLarge(f"a request has at most {ROW_LIMIT} rows", where="body", fix="Send them in parts.")
    return given


def _ask(group: _Group) -> None:
    """Predict a group; when the version fails on it, find the rows that it fails on and whose fault they are."""
    try:
        group.answers = group.predictor.predict(group.features)
    except Fault as fault:
        group.unfit = group.predictor.unfit(group.features)
        fit = np.setdiff1d(np.arange(len(group.rows)), group.unfit)
        group.faults = _faults(group, fit, fault.kind)


def _faults(group: _Group, fit: Rows, kind: str) -> dict[int, str]:
    """Kinds of fault by index, of those rows that the signature lets the caller send."""
    if group.unfit:
        try:
            if len(fit):
                group.predictor.predict(group.features[fit])
        except Fault as fault:
            kind = fault.kind
        else:
            return {}
    kinds = {}
    if 1 < len(fit) <= ISOLATED_ROWS:
        for index in fit.tolist():
            try:
                group.predictor.predict(group.features[index : index + 1])
            except Fault as alone:
                kinds[index] = alone.kind
    return kinds or dict.fromkeys(fit.tolist(), kind)


def _require_fit(groups: Sequence[_Group]) -> None:
    for group in groups:
        for index in group.unfit:
            row, column = group.rows[index], group.predictor.null_in(group.features[index])
            if row.entity is None:
                raise SchemaMismatch(
                    "the model cannot take null here",
                    where=f"dataframe_records[{row.place}].{column}"[:NAME_LENGTH],
                    fix="Send a number; the model was trained without nulls in this column.",
                )
            (key,) = row.entity
            raise SchemaMismatch(
                f"feature {column} of this entity is null, which the model cannot take",
                where=f"entities.{key}[{row.place}]",
                fix="Nothing is known of the entity yet; train on rows with nulls if the model should answer.",
            )


def _log_line(question: Question, group: _Group, index: int, counted: Counted, moment: Moment) -> PredictionRecord:
    row = group.rows[index]
    fault = group.faults.get(index)
    return PredictionRecord(
        prediction_id=row.id,
        business_at=moment.business_at,
        at=moment.at,
        model=question.model,
        version=counted.version,
        arm=row.assignment.arm,
        propensity=row.assignment.propensity,
        release_id=counted.release_id,
        step=counted.step,
        entity=row.entity,
        names=group.predictor.names,
        features=tuple(group.features[index].tolist()),
        output=None if fault else group.answers[index],
        latency_us=group.latency_us,
        fault=fault,
        purpose=question.purpose,
    )


def _not_a_body(error: Exception) -> InvalidInput:
    """Say what is wrong with a body without quoting it."""
    shape = isinstance(error, msgspec.ValidationError)
    return InvalidInput(
        "the body has not the form of a request" if shape else "the body is not JSON",
        where="body",
        fix=_FORMS,
    )
