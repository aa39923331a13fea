"""Which versions this gateway holds and which route is in force: wanted by control, applied only once loaded.

Loading happens beside serving. A model's route changes in one assignment, when every version that it sends
requests to is ready; until then the former route goes on answering, so that a switch fails no request.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from itertools import islice
from typing import NamedTuple

import msgspec
import structlog

from headrace.errors import HeadraceError, NotServed, PermissionRefused, PolicyRefused
from headrace.kernel.spelling import NAME_LIMIT, did_you_mean
from headrace.serving.loading.predictor import Predictor
from headrace.serving.nouns import LoadedVersion, Route, ServedVersion

log = structlog.get_logger()

RETRY_S = 5.0
FINAL = (NotServed, PermissionRefused)
"""Errors that loading again would only repeat."""

NAMES_COMPARED = 200
"""Models that are looked at when one is asked for that is not served: it takes time of the loop."""
QUESTIONS_KEPT = 256
"""Names that are not served and whose likeness is remembered: who asks for one asks for it again."""

Key = tuple[str, int, str]


class Active(NamedTuple):
    """A model's route in force and the versions that it may send requests to, by number."""

    route: Route
    predictors: dict[int, Predictor]
    provisional: bool
    """Without its challenger, because that is not here and nothing was in force before."""


class _Failure(NamedTuple):
    error: str
    retry_at_s: float | None


class Residency:
    """Versions and routes of one gateway; used from its event loop only.

    Args:
        load: makes a version ready; called on a thread of `pool`.
        pool: where loading happens.
        changed: called after each change of what is in force or loaded.
    """

    def __init__(
        self, load: Callable[[ServedVersion], Predictor], pool: Executor, *, changed: Callable[[], None]
    ) -> None:
        self._load = load
        self._pool = pool
        self._changed = changed
        self._wanted: dict[str, Route] = {}
        self._active: dict[str, Active] = {}
        self._ready: dict[Key, Predictor] = {}
        self._failed: dict[Key, _Failure] = {}
        self._loading: dict[Key, asyncio.Task[None]] = {}
        self._sequence = 0
        self._known = False
        self._near: dict[str, str] = {}

    def active(self, model: str) -> Active | None:
        """The model's route in force."""
        return self._active.get(model)

    def all_active(self) -> tuple[Active, ...]:
        """Every model's route in force."""
        return tuple(self._active.values())

    def wanted_sequence(self, model: str) -> int | None:
        """Sequence number of the route that control wants for the model."""
        wanted = self._wanted.get(model)
        return None if wanted is None else wanted.sequence

    def predictor(self, model: str, number: int) -> Predictor | None:
        """A version that is loaded, whether or not the route in force sends requests to it."""
        return next(
            (ready for (name, found, _), ready in self._ready.items() if (name, found) == (model, number)), None
        )

    def wants(self, model: str) -> bool:
        """Whether control wants the model served, be it ready or not."""
        return model in self._wanted

    def near(self, model: str) -> str:
        """Which of the served models somebody may have meant, as a question."""
        if len(model) > NAME_LIMIT:
            return ""
        if model not in self._near:
            if len(self._near) >= QUESTIONS_KEPT:
                self._near.clear()
            self._near[model] = did_you_mean(model, islice(self._wanted, NAMES_COMPARED))
        return self._near[model]

    def replace(self, routes: Iterable[Route], sequence: int) -> None:
        """Take all routes at once; models that are not among them are served no more."""
        wanted = {route.model: route for route in routes}
        self._known = True
        for model in list(self._wanted):
            if model not in wanted:
                self.remove(model, sequence)
        for route in wanted.values():
            self.set(route, route.sequence)
        self._sequence = sequence
        self._changed()

    def set(self, route: Route, sequence: int) -> None:
        """Take one model's route."""
        self._sequence = max(self._sequence, sequence)
        if route.model not in self._wanted:
            self._near.clear()
        self._wanted[route.model] = route
        for version in route.versions:
            self._start(version)
        self._apply(route.model)

    def remove(self, model: str, sequence: int) -> None:
        """Stop serving a model."""
        self._sequence = max(self._sequence, sequence)
        self._wanted.pop(model, None)
        self._near.clear()
        self._active.pop(model, None)
        self._release()
        self._changed()

    def retry(self) -> None:
        """Load again what failed for a reason that may have passed; called now and then."""
        for route in self._wanted.values():
            for version in route.versions:
                failure = self._failed.get(_key(version))
                if failure and failure.retry_at_s is not None and time.monotonic() >= failure.retry_at_s:
                    self._start(version, again=True)

    def settled(self) -> bool:
        """Whether the routes are known and every version of them is loaded or has failed to."""
        return self._known and not self._pending(self._wanted.values())

    def applied_sequence(self) -> int:
        """Every route up to this sequence is in force, or has a version that failed to load."""
        waiting = [route.sequence for route in self._wanted.values() if self._pending([route])]
        return min([self._sequence, *(sequence - 1 for sequence in waiting)])

    def loaded(self) -> tuple[LoadedVersion, ...]:
        """Every version that is loaded or failed to."""
        ready = [
            LoadedVersion(model=model, number=number, runtime=predictor.runtime)
            for (model, number, _), predictor in self._ready.items()
        ]
        failed = [
            LoadedVersion(model=model, number=number, error=failure.error)
            for (model, number, _), failure in self._failed.items()
        ]
        return (*ready, *failed)

    def close(self) -> None:
        """Stop loading."""
        for task in self._loading.values():
            task.cancel()

    def _pending(self, routes: Iterable[Route]) -> bool:
        return any(
            _key(version) not in self._ready and _key(version) not in self._failed
            for route in routes
            for version in route.versions
        )

    def _start(self, version: ServedVersion, *, again: bool = False) -> None:
        key = _key(version)
        if key in self._ready or key in self._loading or (key in self._failed and not again):
            return
        self._loading[key] = asyncio.get_running_loop().create_task(self._bring(version))

    async def _bring(self, version: ServedVersion) -> None:
        key = _key(version)
        try:
            predictor = await asyncio.get_running_loop().run_in_executor(self._pool, self._load, version)
        except Exception as error:  # noqa: BLE001 - a version that cannot be loaded must not stop the others
            final = isinstance(error, FINAL)
            reason = str(error) if isinstance(error, HeadraceError) else f"loading raised {type(error).__name__}"
            self._failed[key] = _Failure(reason, None if final else time.monotonic() + RETRY_S)
            if isinstance(error, PolicyRefused):
                self._let_go(version.model, version.number)
            log.warning("version could not be loaded", model=version.model, version=version.number, reason=reason)
        else:
            self._failed.pop(key, None)
            self._ready[key] = predictor
        finally:
            del self._loading[key]
        self._apply(version.model)

    def _let_go(self, model: str, number: int) -> None:
        """Stop serving a version that may not be loaded any more, at the price of having no answer."""
        self._ready = {key: ready for key, ready in self._ready.items() if key[:2] != (model, number)}
        active = self._active.get(model)
        if active is None or number not in active.predictors:
            return
        if active.route.champion == number:
            del self._active[model]
            return
        predictors = {other: predictor for other, predictor in active.predictors.items() if other != number}
        challenger = None if active.route.challenger == number else active.route.challenger
        route = msgspec.structs.replace(active.route, challenger=challenger)
        self._active[model] = Active(route, predictors, provisional=True)

    def _apply(self, model: str) -> None:
        """Put the wanted route in force if its versions are ready."""
        route = self._wanted.get(model)
        if route is not None:
            ready = {
                version.number: self._ready[_key(version)]
                for version in route.versions
                if _key(version) in self._ready
            }
            present = self._active.get(model)
            if _asked(route) <= set(ready):
                self._active[model] = Active(route, ready, provisional=False)
            elif route.champion in ready and (present is None or present.provisional):
                without = msgspec.structs.replace(route, challenger=None)
                self._active[model] = Active(without, ready, provisional=True)
        self._release()
        self._changed()

    def _release(self) -> None:
        """Let go of versions that neither a wanted route nor one in force names."""
        routes = [*self._wanted.values(), *(active.route for active in self._active.values())]
        needed = {_key(version) for route in routes for version in route.versions}
        self._ready = {key: ready for key, ready in self._ready.items() if key in needed}
        self._failed = {key: failure for key, failure in self._failed.items() if key in needed}


def _asked(route: Route) -> set[int]:
    return {number for number in (route.champion, route.challenger) if number is not None}


def _key(version: ServedVersion) -> Key:
    """What is decided about loading a version is part of what is held: another decision is loaded beside it."""
    decided = msgspec.json.encode((version.loading, version.fields)).decode()
    return (version.model, version.number, f"{version.digest} {decided}")
