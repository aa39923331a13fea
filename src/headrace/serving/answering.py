"""From what a request asks for to its answers: versions, features, predictions, counts and log; no wire format.

A request is one unit, and one version answers all of it, unless it names entities, each of which is a unit. When a
version fails on any row the whole answer is an error, since half an answer is none; every row still counts for its
version, as a fault only where the version failed. A version is not to blame for failing on a null where its
signature promises none: that is the caller's error, or anybody could have a release taken back by sending nulls or
unknown entities.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from headrace.errors import ModelFault, NotFound, SchemaMismatch, Unavailable
from headrace.kernel.ids import new_hex
from headrace.serving.asking import Asking, Part, part_of
from headrace.serving.assignment import Assignment, assign
from headrace.serving.counters import Breaker, Counted, Counters, Seen
from headrace.serving.forms import NAME_LENGTH, Asked, Entities, EntityValue
from headrace.serving.inputs import Array, row_answers
from headrace.serving.nouns import Arm, Purpose, ServedVersion, VersionCounts
from headrace.serving.prediction_log import Era
from headrace.serving.predictor import INVALID_OUTPUTS, Predictor
from headrace.serving.residency import Active, Residency
from headrace.serving.segments import Logged
from headrace.serving.shadowing import Note, Shadowing, shadow_part


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


class Answered(msgspec.Struct, kw_only=True):
    """The answers to a request."""

    id: str
    """Names the request; each row's id follows from it."""
    rows: int
    parts: list[Part]

    @property
    def ids(self) -> list[str]:
        """The prediction's id of each row."""
        return _ids(self.id, self.rows)

    @property
    def versions(self) -> list[int]:
        """The number of the version that answered each row."""
        return self._spread([[part.assignment.number] * part.size for part in self.parts])

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
    ) -> None:
        self._residency = residency
        self._features = features
        self._counters = counters
        self._breaker = breaker
        self._log = log
        self._moment = moment
        self._asking = asking
        self._shadowing = shadowing

    async def answer(self, question: Question) -> Answered:
        """The answers, and with them a line of log and a count for each row.

        Raises:
            InvalidInput: what `question.read` says of the body.
            SchemaMismatch: a field is missing, unknown or of another type, or null for a model that cannot take
                it; `where` names it.
            NotFound: the model or the version is not served here.
            Unavailable: it is still being loaded, or features cannot be looked up.
            ModelFault: a version failed on a row; `where` names both.
        """
        era = self._log.begin()
        try:
            moment = self._moment()
            active = self._residency.active(question.model)
            answered = Answered(id=f"prd_{new_hex()}", rows=0, parts=[])
            self._divide(answered, question, active, moment)
            for part in answered.parts:
                await self._asking.ask(part)
            faulty = any(part.faults for part in answered.parts)
            if not faulty:
                _require_fit(answered.parts)
            self._record(question, active, answered, moment)
        finally:
            self._log.end(era)
        if faulty:
            raise _fault(answered.parts)
        return answered

    def served(self) -> tuple[Active, ...]:
        """Every model's route in force, with the versions that are loaded for it."""
        return self._residency.all_active()

    def counted(self) -> tuple[VersionCounts, ...]:
        """What was counted since this gateway began."""
        return self._counters.totals()

    def predictor(self, model: str, number: int | None) -> Predictor:
        """The version that answers those who name no unit, or the one that is named.

        Raises:
            NotFound: the model or the version is not served here.
            Unavailable: it is still being loaded.
        """
        active = self._residency.active(model)
        if number is None:
            number = self._assign(model, None, active, "").number
        return self._loaded(model, number, active)

    def _divide(self, answered: Answered, question: Question, active: Active | None, moment: Moment) -> None:
        """The rows by version, with their features; everything that a caller can get wrong shows here."""
        unit = answered.id if question.unit is None else question.unit
        assignment = self._assign(question.model, question.number, active, unit)
        predictor = self._loaded(question.model, assignment.number, active)
        asked = question.read(predictor)
        if not isinstance(asked.rows, Entities):
            part = part_of(predictor, assignment, asked.rows)
            part.params = asked.params
            answered.rows = part.size
            answered.parts.append(part)
            return
        entities = asked.rows
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

    def _record(self, question: Question, active: Active | None, answered: Answered, moment: Moment) -> None:
        """Count every row. Log the answers, or only the faults when nobody will get the answers."""
        refused = any(part.faults for part in answered.parts)
        # while a challenger is not here yet, what its champion answers is no half of a comparison
        alone = question.number is not None or active is None or active.provisional
        release_id = None if alone or active is None else active.route.release_id
        step = None if alone or active is None else active.route.step
        slow_us = None if alone or active is None else active.route.slow_us
        ids = answered.ids
        if (
            active is not None
            and active.route.shadow is not None
            and not (not alone and self._shadow(question, active, answered, moment))
        ):
            release_id = step = None  # what has no copy is no half of a comparison either
        for part in answered.parts:
            counted = Counted(question.model, part.assignment.number, release_id, step)
            self._count(part, counted, question.unit, slow_us)
            if part.assignment.arm is Arm.CHALLENGER and part.size > len(part.unfit):
                fault = bool(part.faults)
                self._breaker.observe(counted, fault=fault, control_away=moment.control_away, now=moment.at)
            if not refused or part.faults:
                self._log.append(_logged(question, part, counted, ids, moment, silent=refused))

    def _shadow(self, question: Question, active: Active, answered: Answered, moment: Moment) -> bool:
        """Leave a copy of a request for the version that is tried; whether there is one."""
        route, part = active.route, answered.parts[0]
        predictor = None if route.shadow is None else active.predictors.get(route.shadow)
        if self._shadowing is None or predictor is None or question.purpose is not Purpose.LIVE:
            return False
        entities = part.entities
        unit = question.unit if entities is None else str(entities[0])
        if not self._shadowing.takes(route, answered.id if unit is None else unit, answered.rows):
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

        note = Note(
            counted=counted,
            predictor=predictor,
            rows=answered.rows,
            unit=question.unit,
            entities=entities,
            prepare=prepare,
            answers=None if part.faults else answered.answers,
            keep=keep,
        )
        self._shadowing.put(note)
        return True

    def _count(self, part: Part, counted: Counted, unit: str | None, slow_us: int | None) -> None:
        slow = slow_us is not None and part.latency_us > slow_us
        if part.entities is None:
            rows = part.size - len(part.unfit)
            if rows:
                invalid = sum(kind in INVALID_OUTPUTS for kind in part.faults.values())
                seen = Seen(part.latency_us, rows, faults=len(part.faults), invalid=invalid, slow=slow)
                self._counters.count(counted, unit=unit, seen=seen)
            return
        unfit = set(part.unfit)
        for place, value in enumerate(part.entities):
            if place not in unfit:
                kind = part.faults.get(place)
                invalid = int(kind in INVALID_OUTPUTS)
                seen = Seen(part.latency_us, faults=int(kind is not None), invalid=invalid, slow=slow)
                self._counters.count(counted, unit=str(value), seen=seen)

    def _not_served(self, model: str) -> NotFound | Unavailable:
        if self._residency.wants(model):
            return Unavailable(
                "the model is being loaded, or could not be", where=f"route/{model}", fix="See /api/v1/gateway."
            )
        return NotFound("no such model is served", where=f"route/{model[:256]}", fix="Release a version of it.")


def _ids(request: str, rows: int) -> list[str]:
    return [request] if rows == 1 else [f"{request}.{row}" for row in range(rows)]


def _fault(parts: Sequence[Part]) -> ModelFault:
    part = next(part for part in parts if part.faults)
    version, index = part.predictor.version, min(part.faults)
    row = index if part.places is None else part.places[index]
    return ModelFault(
        f"version {version.number} of model {version.model!r} failed on row {row}",
        where=f"version/{version.model}/{version.number}",
        fix="The fault counts against this version; a rollout takes it back by itself.",
    )


def _require_fit(parts: Sequence[Part]) -> None:
    for part in parts:
        for index in part.unfit:
            column = part.predictor.null_in(part.inputs, index)
            if part.entities is None:
                raise SchemaMismatch(
                    "the model cannot take null here",
                    where=f"dataframe_records[{index}].{column}"[:NAME_LENGTH],
                    fix="Send a number; the model was trained without nulls in this column.",
                )
            key = part.predictor.version.entity_key
            place = index if part.places is None else part.places[index]
            raise SchemaMismatch(
                f"feature {column} of this entity is null, which the model cannot take",
                where=f"entities.{key}[{place}]",
                fix="Nothing is known of the entity yet; train on rows with nulls if the model should answer.",
            )


def _logged(
    question: Question, part: Part, counted: Counted, ids: list[str], moment: Moment, *, silent: bool
) -> Logged:
    signature = part.predictor.signature
    return Logged(
        ids=ids if part.places is None else [ids[place] for place in part.places],
        business_at=moment.business_at,
        at=moment.at,
        model=question.model,
        version=counted.version,
        arm=part.assignment.arm,
        propensity=part.assignment.propensity,
        release_id=counted.release_id,
        step=counted.step,
        entity_key=None if part.entities is None else part.predictor.version.entity_key,
        entities=part.entities,
        names=signature.names,
        texts=part.predictor.texts,
        inputs=part.inputs,
        outputs=None if silent else part.outputs,
        faults=part.faults,
        latency_us=part.latency_us,
        purpose=question.purpose,
    )
