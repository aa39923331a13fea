"""Who answers when a version cannot: another version, and at last the answer that the project declares.

The champion takes over from a challenger, the version before from a champion. A version cannot answer when it fails
on a row, is too slow, has a line that is too long, or is switched off; what the caller got wrong is none of these.
Who names a version gets that one or an error. Where another version can take over, it is left a part of the
request's time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from headrace.errors import DeadlineExceeded, HeadraceError, Overloaded
from headrace.serving.assignment import Assignment
from headrace.serving.gateway.asking import DEFAULT, Asking, Part
from headrace.serving.gateway.circuits import Circuits
from headrace.serving.gateway.residency import Active
from headrace.serving.nouns import Arm, Route

FIRST_SHARE = 0.7
"""Of the time that a request has, when another version could take over."""
CHAMPION, PREVIOUS = "champion", "previous"
OVERDUE = "DeadlineExceeded"
"""Kind of fault of a version that was asked and did not answer in the gateway's own time."""


@dataclass(slots=True)
class Tried:
    """What an attempt goes by.

    Attributes:
        question: what was asked.
        moment: when.
        active: what is in force and loaded.
        route: the model's route; None when the caller named the version.
        deadline_s: by the event loop's clock.
        may_blame: whether a version that is late has failed; a caller with little patience must not have a release
            taken back.
    """

    question: Any
    moment: Any
    active: Active | None
    route: Route | None
    deadline_s: float
    may_blame: bool


class Attempts:
    """Asks a version, and after it whoever takes over; used from the gateway's event loop.

    Args:
        asking: asks a version.
        circuits: which versions are switched off.
        in_place_of: the rows of a part for another version; raises the caller's errors where it takes other inputs.
    """

    def __init__(
        self, asking: Asking, circuits: Circuits, in_place_of: Callable[[Part, Tried, Assignment], Awaitable[Part]]
    ) -> None:
        self._asking = asking
        self._circuits = circuits
        self._in_place_of = in_place_of

    async def quickly(self, part: Part) -> bool:
        """Ask a quick version that nothing is wrong with, as nearly all are; whether it has answered."""
        if not self._circuits.quiet or not part.predictor.inline(part.size):
            return False
        await self._asking.ask(part)
        return not part.faults

    async def make(self, part: Part, tried: Tried) -> tuple[Part, list[Part], HeadraceError | None]:
        """Ask until there is an answer; a part that was asked at once, and failed, is not asked again.

        Returns:
            The part that was answered, or the first one if none was; the parts in whose place it was; and what
            stopped the version if it was not a fault of the version.
        """
        route = tried.route
        others = [] if route is None else list(_others(route, part.assignment))
        if route is None or (not others and route.default is None):
            part, problem = await self._ask(part, tried, tried.deadline_s, guarded=False)
            return part, [], problem
        deadline_s = tried.deadline_s
        if others and not part.predictor.inline(part.size):
            now_s = asyncio.get_running_loop().time()
            deadline_s = now_s + FIRST_SHARE * (deadline_s - now_s)
        guarded = part.assignment.arm is not Arm.CHALLENGER
        part, problem = await self._ask(part, tried, deadline_s, guarded=guarded)
        if problem is None and not part.faults:
            return part, [], None
        failed = [part]
        for number, word in others:
            other = await self._replace(part, tried, number, word)
            if other is not None and other.outputs is not None:
                return other, failed, None
            if other is not None:
                failed.append(other)
        if route.default is not None:
            return _by_default(part, route.default), failed, None
        return part, failed[1:], problem

    async def _replace(self, part: Part, tried: Tried, number: int, word: str) -> Part | None:
        """The part as another version answers it, or fails to; None where it cannot be asked."""
        if tried.active is None or number not in tried.active.predictors:
            return None
        try:
            given = Assignment(number, Arm.FALLBACK, part.assignment.propensity)
            other = await self._in_place_of(part, tried, given)
        except HeadraceError:
            return None
        other.fallback = word
        other, _ = await self._ask(other, tried, tried.deadline_s, guarded=True)
        return other

    async def _ask(
        self, part: Part, tried: Tried, deadline_s: float, *, guarded: bool
    ) -> tuple[Part, HeadraceError | None]:
        """Ask one version, or not if it is switched off; and what stopped it, other than a fault."""
        version = part.predictor.version
        loop = asyncio.get_running_loop()
        if (
            guarded
            and not part.begun
            and not self._circuits.lets_through(version.model, version.number, loop.time())
        ):
            return part, _switched_off(part)
        problem: HeadraceError | None = None
        try:
            if not part.begun:
                await self._asking.ask(part, deadline_s)
        except Overloaded as overload:
            problem = overload
        except DeadlineExceeded as late:
            problem = late
            part = msgspec.structs.replace(part, outputs=None)  # a thread may still write to the one that it has
            if part.begun and tried.may_blame:
                part.faults = dict.fromkeys(range(part.size), OVERDUE)
        if guarded and part.begun and (part.faults or problem is None):
            self._circuits.observe(version.model, version.number, fault=bool(part.faults), now_s=loop.time())
        return part, problem


def _others(route: Route, given: Assignment) -> Iterator[tuple[int, str]]:
    """Versions that take over, in their order, each with its word."""
    if given.arm is Arm.CHALLENGER and route.champion is not None:
        yield route.champion, CHAMPION
    if route.previous is not None and route.previous != given.number:
        yield route.previous, PREVIOUS


def _by_default(part: Part, default: float) -> Part:
    given = Assignment(part.assignment.number, Arm.DEFAULT, part.assignment.propensity)
    return msgspec.structs.replace(
        part,
        assignment=given,
        outputs=np.full(part.size, default),
        faults={},
        unfit=[],
        fallback=DEFAULT,
    )


def _switched_off(part: Part) -> Overloaded:
    version = part.predictor.version
    return Overloaded(
        "the version failed again and again and is not asked for a while",
        where=f"version/{version.model}/{version.number}",
        fix="Ask again in a moment.",
    )
