"""From what a request asks for to its answers: versions, features, predictions, counts and log; no wire format.

A request is one unit, and one version answers all of it, unless it names entities, each of which is a unit. When a
version fails on any row another takes over, see `falling_back`, or the whole answer is an error, since half an
answer is none; every row still counts for its version, as a fault only where the version failed. A version is not
to blame for failing on a null where its signature promises none, or on infinity: that is the caller's error, or
anybody could have a release taken back by sending nulls or unknown entities.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Protocol

import msgspec

from headrace.errors import HeadraceError, ModelFault, NotFound, SchemaMismatch, TooLarge, Unavailable
from headrace.kernel.ids import new_hex
from headrace.serving.assignment import Assignment, Counted, assign
from headrace.serving.forms.inputs import Array, row_answers
from headrace.serving.forms.json_forms import NAME_LENGTH, Asked, Entities, EntityValue
from headrace.serving.gateway.asking import DEFAULT, Asking, Part, part_of
from headrace.serving.gateway.circuits import Circuits
from headrace.serving.gateway.counters import Breaker, Counters
from headrace.serving.gateway.counting import count_part
from headrace.serving.gateway.doors import Trace
from headrace.serving.gateway.falling_back import Attempts, Tried
from headrace.serving.gateway.measures import Measures
from headrace.serving.gateway.prediction_log import Era
from headrace.serving.gateway.reading import Reading
from headrace.serving.gateway.residency import Active, Residency
from headrace.serving.gateway.shadowing import Note, Shadowing, shadow_part
from headrace.serving.loading.predictor import Predictor
from headrace.serving.log.segments import Logged
from headrace.serving.nouns import Arm, Purpose, ServedVersion, VersionCounts

TIMEOUT_S = 60.0
"""How long a request has that says nothing of it."""


class Question(msgspec.Struct, kw_only=True):
    """A request, whatever wire format it came in."""

    model: str
    number: int | None = None
    """The version that the caller named; None goes through the rollout."""
    read: Callable[[Predictor], Asked]
    """Decodes what is asked for, as the version that answers takes it; raises the caller's errors."""
    unit: str | None = None
    """What the caller wants to stick to a version, when there is no entity key."""
    purpose: Purpose = Purpose.LIVE
    timeout_s: float | None = None
    """How long the caller will wait; None leaves it to the gateway."""
    deadline_s: float | None = None
    """When that ends, by the event loop's clock, where it began before the question; None for now."""
    aside: Callable[[Predictor], bool]
    """Whether `read` takes too long for the event loop."""
    trace: Trace | None = None


class Answered(msgspec.Struct, kw_only=True):
    """The answers to a request."""

    id: str
    """Names the request; each row's id follows from it."""
    rows: int
    parts: list[Part]
    failed: list[Part] = []
    """Attempts in whose place others of `parts` have answered."""

    @property
    def ids(self) -> list[str]:
        """The prediction's id of each row."""
        return _ids(self.id, self.rows)

    @property
    def versions(self) -> list[int | None]:
        """The number of the version that answered each row; None where none did."""
        return self._spread(
            [[None if part.fallback == DEFAULT else part.assignment.number] * part.size for part in self.parts]
        )

    @property
    def fallbacks(self) -> list[str | None] | None:
        """For each row what answered in the place of the version that should have; None where all is well."""
        if not self.failed:
            return None
        return self._spread([[part.fallback] * part.size for part in self.parts])

    @property
    def fallback_words(self) -> str:
        """The same for all rows together, without repeating."""
        return ", ".join(dict.fromkeys(part.fallback for part in self.parts if part.fallback is not None))

    @property
    def answers(self) -> list[Any]:
        """One answer a row."""
        return self._spread([row_answers(part.outputs) for part in self.parts if part.outputs is not None])

    def _spread(self, values: Sequence[list[Any]]) -> list[Any]:
        if len(values) == 1:
            return values[0]
        found: list[Any] = [None] * self.rows
        for part, mine in zip(self.parts, values, strict=True):
            for place, value in zip(part.places or range(part.size), mine, strict=True):
                found[place] = value
        return found


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


class Log(Protocol):
    """Takes what was answered; see `prediction_log`."""

    def begin(self) -> Era:
        """A request begins."""
        ...

    def end(self, era: Era) -> None:
        """It has handed in its answers."""
        ...

    def append(self, logged: Logged) -> None:
        """Take answers."""
        ...


class Moment(msgspec.Struct, frozen=True):
    """When a request came, by both clocks, and whether control was away."""

    at: datetime
    business_at: datetime
    control_away: bool


class Answering:
    """Answers requests from the versions that are loaded; used from the gateway's event loop.

    Args:
        residency: what is loaded and in force.
        features: looks up features of entities; None where there is no feature store.
        counters: counts each row.
        breaker: the local guard on challengers.
        log: takes every prediction.
        moment: tells the clocks.
        asking: asks the versions.
        shadowing: takes copies of the requests for versions that are tried; None where there are none.
        circuits: versions in production that are switched off here for a while.
        measures: how requests ended.
        reading: reads bodies beside the gateway.
        timeout_s: how long a request has that says nothing of it.
    """

    def __init__(
        self,
        *,
        residency: Residency,
        features: FeatureReader | None,
        counters: Counters,
        breaker: Breaker,
        log: Log,
        moment: Callable[[], Moment],
        asking: Asking,
        shadowing: Shadowing | None = None,
        circuits: Circuits | None = None,
        measures: Measures | None = None,
        reading: Reading | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._residency = residency
        self._features = features
        self._counters = counters
        self._breaker = breaker
        self._log = log
        self._moment = moment
        self._asking = asking
        self._shadowing = shadowing
        self._measures = Measures() if measures is None else measures
        self._attempts = Attempts(asking, Circuits() if circuits is None else circuits, self._in_place_of)
        self._timeout_s = timeout_s
        self.reading = Reading() if reading is None else reading
        """Reads bodies beside the gateway, for doors."""

    async def answer(self, question: Question) -> Answered:
        """The answers, and with them a line of log and a count for each row.

        Raises:
            InvalidInput: what `question.read` says of the body.
            SchemaMismatch: a field is missing, unknown or of another type, or null for a model that cannot take
                it; `where` names it.
            NotFound: the model or the version is not served here.
            Unavailable: it is still being loaded, or features cannot be looked up; or more is asked for than can
                be answered in time.
            DeadlineExceeded: it was not answered in time.
            ModelFault: a version failed on a row; `where` names both.
        """
        began_s = time.perf_counter()
        answered = Answered(id=f"prd_{new_hex()}", rows=0, parts=[])
        active = self._residency.active(question.model)
        status = 500
        era = self._log.begin()
        try:
            await self._answer(question, answered, active)
            status = 200
        except HeadraceError as problem:
            status = problem.status
            raise
        except asyncio.CancelledError:
            status = 499  # the caller has gone away
            raise
        finally:
            self._log.end(era)
            self._measure(question, answered, active, status, time.perf_counter() - began_s)
        return answered

    async def unrecorded(self, question: Question, deadline_s: float, *, row_limit: int) -> Answered:
        """The answers as no prediction: nothing is counted or logged, and no other version takes over.

        The question names its version: who could learn uncounted which version answers a unit could choose whom to
        predict for.

        Raises:
            TooLarge: there are more rows than `row_limit`.
            HeadraceError: what `answer` says.
        """
        assert question.number is not None
        answered = Answered(id=f"prd_{new_hex()}", rows=0, parts=[])
        active = self._residency.active(question.model)
        await self._read(question, answered, active, self._moment(), deadline_s)
        if answered.rows > row_limit:
            raise TooLarge(f"this takes at most {row_limit} rows", where="body", fix="Send them in parts.")
        for part in answered.parts:
            await self._asking.ask(part, deadline_s)
        if any(part.faults for part in answered.parts):
            raise _fault(answered.parts, fix=_UNCOUNTED)
        _require_fit(answered.parts)
        return answered

    def deadline_s(self, timeout_s: float | None) -> float:
        """When a request ends that has so many seconds, by the event loop's clock; None has the gateway's own."""
        return asyncio.get_running_loop().time() + (self._timeout_s if timeout_s is None else timeout_s)

    async def _answer(self, question: Question, answered: Answered, active: Active | None) -> None:
        deadline_s = question.deadline_s or self.deadline_s(question.timeout_s)
        moment = self._moment()
        await self._read(question, answered, active, moment, deadline_s)
        route = None if active is None or question.number is not None else active.route
        problems = []
        faulty = False
        for place, part in enumerate(answered.parts):
            if await self._attempts.quickly(part):
                continue
            tried = Tried(question, moment, active, route, deadline_s, may_blame=question.timeout_s is None)
            made, failed, problem = await self._attempts.make(part, tried)
            answered.parts[place] = made
            answered.failed += failed
            faulty = faulty or bool(made.faults)
            if problem is not None:
                problems.append(problem)
        if not faulty and not problems:
            _require_fit(answered.parts)
        self._record(question, active, answered, moment, refused=faulty or bool(problems))
        if problems:
            raise problems[0]
        if faulty:
            raise _fault(answered.parts)

    async def _read(
        self, question: Question, answered: Answered, active: Active | None, moment: Moment, deadline_s: float
    ) -> None:
        """What is asked of which version; everything that a caller can get wrong shows here."""
        unit = answered.id if question.unit is None else question.unit
        assignment = self._assign(question.model, question.number, active, unit)
        predictor = self._loaded(question.model, assignment.number, active)
        if question.aside(predictor):
            asked = await self.reading.aside(partial(question.read, predictor), deadline_s)
        else:
            asked = question.read(predictor)
        if isinstance(asked.rows, Entities):
            self._divide(answered, question, active, asked.rows, moment)
            return
        part = part_of(predictor, assignment, asked.rows)
        part.params = asked.params
        answered.rows = part.size
        answered.parts.append(part)

    def _measure(
        self, question: Question, answered: Answered, active: Active | None, status: int, took_s: float
    ) -> None:
        """One measurement for each version; a name that nobody serves would make a series of its own."""
        model = "" if active is None else question.model
        if not answered.parts:
            self._measures.observe(model, None, "", status, took_s)
        for part in answered.parts:
            number, arm, _ = part.assignment
            self._measures.observe(model, number, arm, status, took_s)
            if question.trace is not None:
                question.trace.tell(model, number, arm)

    def served(self) -> tuple[Active, ...]:
        """Every model's route in force, with the versions that are loaded for it."""
        return self._residency.all_active()

    def counted(self) -> tuple[VersionCounts, ...]:
        """What was counted since this gateway began."""
        return self._counters.totals()

    def predictor(self, model: str, number: int | None, *, unit: str = "") -> Predictor:
        """The version that is named, or else the one that answers this unit; no unit has one of its own.

        Raises:
            NotFound: the model or the version is not served here.
            Unavailable: it is still being loaded.
        """
        active = self._residency.active(model)
        if number is None:
            number = self._assign(model, None, active, unit).number
        return self._loaded(model, number, active)

    def _divide(
        self, answered: Answered, question: Question, active: Active | None, entities: Entities, moment: Moment
    ) -> None:
        """The rows by version, with their features: each entity is a unit of its own."""
        answered.rows = len(entities.values)
        found: dict[int, tuple[Assignment, list[int]]] = {}
        for place, value in enumerate(entities.values):
            given = self._assign(question.model, question.number, active, str(value))
            found.setdefault(given.number, (given, []))[1].append(place)
        for number, (given, places) in found.items():
            predictor = self._loaded(question.model, number, active)
            values = [entities.values[place] for place in places]
            part = part_of(predictor, given, self._look_up(predictor, entities.key, values, moment))
            part.places, part.entities = places, values
            answered.parts.append(part)

    def _assign(self, model: str, number: int | None, active: Active | None, unit: str) -> Assignment:
        if number is not None:
            return Assignment(number, Arm.PINNED, 1.0)
        if active is None:
            raise self._not_served(model)
        route = active.route
        tripped = route.challenger is not None and self._breaker.is_open(
            Counted(route.model, route.challenger, route.release_id, route.step)
        )
        found = assign(route, unit, without_challenger=tripped)
        if found is None:
            raise self._not_served(model)
        return found

    def _loaded(self, model: str, number: int, active: Active | None) -> Predictor:
        predictor = active.predictors.get(number) if active is not None else None
        predictor = predictor or self._residency.predictor(model, number)
        if predictor is None:
            raise NotFound(
                f"version {number} of model {model!r} is not loaded here",
                where=f"version/{model}/{number}",
                fix="Ask for the model without a version, or wait until a release brings it here.",
            )
        return predictor

    def _look_up(self, predictor: Predictor, key: str, values: list[EntityValue], moment: Moment) -> Array:
        version = predictor.version
        if self._features is None or version.entity_key is None or not version.views:
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
        return self._features.read(version, predictor.names, values, moment.business_at)

    async def _in_place_of(self, part: Part, tried: Tried, given: Assignment) -> Part:
        """The same rows, for another version to answer.

        Raises:
            HeadraceError: it takes other inputs.
        """
        question: Question = tried.question
        predictor = self._loaded(question.model, given.number, tried.active)
        if part.entities is None:
            if question.aside(predictor):
                asked = await self.reading.aside(partial(question.read, predictor), tried.deadline_s)
            else:
                asked = question.read(predictor)
            if isinstance(asked.rows, Entities):
                raise SchemaMismatch("the version takes other inputs", where="entities")
            other = part_of(predictor, given, asked.rows)
            other.params = asked.params
            return other
        key = part.predictor.version.entity_key or ""
        other = part_of(predictor, given, self._look_up(predictor, key, part.entities, tried.moment))
        other.places, other.entities = part.places, part.entities
        return other

    def _record(
        self,
        question: Question,
        active: Active | None,
        answered: Answered,
        moment: Moment,
        *,
        refused: bool,
    ) -> None:
        """Count every row. Log the answers, or only the faults when nobody will get the answers."""
        # while a challenger is not here yet, what its champion answers is no half of a comparison
        route = None if question.number is not None or active is None or active.provisional else active.route
        if route is not None and route.shadow is not None and not self._shadow(question, active, answered, moment):
            route = None  # and neither is what has no copy
        release_id = None if route is None else route.release_id
        step = None if route is None else route.step
        slow_us = None if route is None else route.slow_us
        ids = answered.ids
        # who is in a hurry shall not have a release taken back: what was only too late for them is no evidence
        hurried = question.timeout_s is not None
        for attempt, part in enumerate(answered.failed):
            own = Counted(question.model, part.assignment.number, release_id, step)
            if part.fallback is None:
                evidence = own if part.faults or not hurried else _outside(own)
                count_part(self._counters, part, evidence, question.unit, slow_us=slow_us, replaced=True)
                self._measures.fell_back(
                    question.model, part.assignment.number, _instead_of(part, answered), part.size
                )
            attempts = [f"{each}~{attempt + 1}" for each in ids]  # one prediction has one id, and this is none
            if part.fallback is None and release_id is not None:  # its units were on this arm all the same
                replaced = msgspec.structs.replace(question, purpose=Purpose.REPLACED)
                self._log.append(_logged(replaced, part, own, attempts, moment, silent=True))
            if not part.faults:
                continue
            if part.fallback is not None:
                count_part(self._counters, part, _outside(own), question.unit)
            self._observe(part, own, moment)
            self._log.append(_logged(question, part, own, attempts, moment, silent=True))
        for part in answered.parts:
            counted = Counted(question.model, part.assignment.number, release_id, step)
            if part.fallback is not None:
                counted = _outside(counted)
            if part.fallback != DEFAULT and _has_answered(part):
                count_part(self._counters, part, counted, question.unit, slow_us=slow_us)
                self._observe(part, counted, moment)
            elif part.fallback is None and not hurried:  # had no room or time: as bad where nobody takes over
                count_part(self._counters, part, counted, question.unit, slow_us=slow_us, replaced=True)
            if not refused or part.faults:
                self._log.append(_logged(question, part, counted, ids, moment, silent=refused))

    def _observe(self, part: Part, counted: Counted, moment: Moment) -> None:
        """Tell the breaker of a challenger's answer."""
        if part.assignment.arm is Arm.CHALLENGER and part.size > len(part.unfit):
            fault = bool(part.faults)
            self._breaker.observe(counted, fault=fault, control_away=moment.control_away, now=moment.at)

    def _shadow(self, question: Question, active: Active | None, answered: Answered, moment: Moment) -> bool:
        """Leave a copy of a request for the version that is tried; whether there is one."""
        own = answered.failed[0] if answered.failed else answered.parts[0]
        if own.outputs is None and not own.faults:
            return False  # it had no room or time, so nothing is known of it on this request
        shadow = None if active is None else active.route.shadow
        predictor = None if active is None or shadow is None else active.predictors.get(shadow)
        if self._shadowing is None or active is None or predictor is None or question.purpose is not Purpose.LIVE:
            return False
        route, entities = active.route, own.entities
        unit = question.unit if entities is None else str(entities[0])
        large = question.aside(predictor)  # a copy would be read on the event loop
        if not self._shadowing.takes(route, answered.id if unit is None else unit, answered.rows, large=large):
            return False
        number = predictor.version.number
        counted = Counted(route.model, number, route.release_id, route.step)
        ids = [f"{each}.shadow" for each in answered.ids]

        def prepare(predictor: Predictor) -> Part:
            asked = question.read(predictor)
            rows = asked.rows
            if isinstance(rows, Entities):
                rows = self._look_up(predictor, rows.key, rows.values, moment)
            mine = shadow_part(predictor, number, rows, route.shadow_percent)
            mine.params, mine.entities = asked.params, entities
            return mine

        def keep(mine: Part) -> None:
            era = self._log.begin()
            copied = msgspec.structs.replace(question, purpose=Purpose.SHADOW)
            self._log.append(_logged(copied, mine, counted, ids, self._moment(), silent=False))
            self._log.end(era)

        self._shadowing.put(
            Note(
                counted=counted,
                predictor=predictor,
                rows=answered.rows,
                unit=question.unit,
                entities=entities,
                prepare=prepare,
                answers=None if answered.failed or own.outputs is None or own.faults else answered.answers,
                keep=keep,
            )
        )
        return True

    def _not_served(self, model: str) -> NotFound | Unavailable:
        if self._residency.wants(model):
            return Unavailable(
                "the model is being loaded, or could not be", where=f"route/{model}", fix="See /api/v1/gateway."
            )
        fix = self._residency.near(model) or "Release a version of it."
        return NotFound("no such model is served", where=f"route/{model[:256]}", fix=fix)


def _has_answered(part: Part) -> bool:
    """Whether there is something to count: an answer, a fault, or that the rows did not fit."""
    return part.outputs is not None or bool(part.faults) or bool(part.unfit)


def _outside(counted: Counted) -> Counted:
    """What stands in for another version is no evidence in a rollout."""
    return Counted(counted.model, counted.version, None, None)


def _instead_of(part: Part, answered: Answered) -> str:
    """What answered in the place of a version; nothing, where that failed too."""
    return next((each.fallback for each in answered.parts if each.fallback and each.places == part.places), "")


def _ids(request: str, rows: int) -> list[str]:
    return [request] if rows == 1 else [f"{request}.{row}" for row in range(rows)]


_COUNTED = "The fault counts against this version; a rollout takes it back by itself."
_UNCOUNTED = "As no prediction this counts against no version; try the row as one, or explain another version."


def _fault(parts: Sequence[Part], *, fix: str = _COUNTED) -> ModelFault:
    part = next(part for part in parts if part.faults)
    version, index = part.predictor.version, min(part.faults)
    row = index if part.places is None else part.places[index]
    return ModelFault(
        f"version {version.number} of model {version.model!r} failed on row {row}",
        where=f"version/{version.model}/{version.number}",
        fix=fix,
    )


def _require_fit(parts: Sequence[Part]) -> None:
    for part in parts:
        for index in part.unfit:
            column, what = part.predictor.unfit_in(part.inputs, index)
            if part.entities is None:
                raise SchemaMismatch(
                    f"the model cannot take {what} here",
                    where=f"dataframe_records[{index}].{column}"[:NAME_LENGTH],
                    fix="Send a finite number; the model was trained without others in this column.",
                )
            key = part.predictor.version.entity_key
            place = index if part.places is None else part.places[index]
            raise SchemaMismatch(
                f"feature {column} of this entity is {what}, which the model cannot take",
                where=f"entities.{key}[{place}]",
                fix="Nothing is known of the entity yet; train on rows with nulls if the model should answer.",
            )


def _logged(
    question: Question, part: Part, counted: Counted, ids: list[str], moment: Moment, *, silent: bool
) -> Logged:
    predictor = part.predictor
    return Logged(
        counted,
        part.assignment,
        question.purpose,
        ids if part.places is None else [ids[place] for place in part.places],
        moment.business_at,
        moment.at,
        part.latency_us,
        predictor.names,
        part.inputs,
        None if silent else part.outputs,
        part.faults,
        question.unit,
        None if part.entities is None else predictor.version.entity_key,
        part.entities,
        predictor.texts,
    )
