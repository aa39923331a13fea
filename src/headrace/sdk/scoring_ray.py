"""Batch scoring on Ray: the parts of a run, answered by as many processes as the cluster has cores.

Workers only answer. Rows are read and answers are written where the run was started, under the lock of its folder,
so a worker that dies doubles nothing, and a run may go on with Ray where it was begun without, or the reverse. A
worker fetches the version itself, once, and verifies it against the digest that the run has; no model is pickled.
"""

import importlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from headrace.errors import HeadraceError, InvalidInput, MissingExtra, ModelFault, Unavailable
from headrace.sdk.connect import connect
from headrace.sdk.model_uris import digest_of, fetch_model
from headrace.serving.batch.scoring import Part, Scored, Taken, score_part
from headrace.serving.loading.loader import load_alone, open_environments
from headrace.serving.loading.predictor import Predictor
from headrace.serving.nouns import FieldPolicy, ServedVersion
from headrace.serving.runtimes.files import ModelFiles
from headrace.serving.runtimes.loaders import prepare_thread

RAY = "ray"
PARTS_FOR_A_WORKER = 2
"""One that is answered and one that waits."""
TRIES_AFTER_A_DEATH = 3
LOOK_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a worker needs to answer.

    Attributes:
        model: its address, the same for all: a directory that every machine sees, or a version by number.
        name: of the model.
        number: of the version.
        digest: of its files.
        url: the platform's address, as the workers reach it; None when the model is a directory.
        token: for it.
        home: folder for environments that a model needs.
        fields: what becomes of unknown and missing ones.
        allow_pickle: whether the model may run code when it is loaded.
        logging: whether the rows as the model took them are to come back, too.
    """

    model: str
    name: str
    number: int
    digest: str
    url: str | None
    token: str | None
    home: Path
    fields: FieldPolicy
    allow_pickle: bool
    logging: bool


class Worker:
    """Lives in a process of Ray's. It gives errors back as values, for Ray would wrap them in its own."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._folder = TemporaryDirectory()
        self._predictor: Predictor | None = None

    def answer(self, part: Part, columns: list[str], reject: bool) -> Scored | HeadraceError:
        """What comes of a part."""
        try:
            if self._predictor is None:
                self._predictor = self._load()
            scored = score_part(self._predictor, part, columns, reject=reject)
        except HeadraceError as problem:
            return problem
        if not self._order.logging:
            scored.inputs.clear()
        return scored

    def _load(self) -> Predictor:
        order = self._order
        prepare_thread()
        fetched = fetch_model(order.model, Path(self._folder.name), lambda: connect(order.url, token=order.token))
        if digest_of(fetched) != order.digest:
            raise InvalidInput(
                "a worker finds another model than the run was started with",
                where=order.model,
                fix="Name a directory that all machines share, or a registered version.",
            )
        files = ModelFiles(fetched.directory, fetched.digests)
        loaded = load_alone(files, open_environments(order.home), allow_code=order.allow_pickle)
        version = ServedVersion(model=order.name, number=order.number, digest="", files=(), fields=order.fields)
        return Predictor(version, loaded)


class OnRay:
    """Answers on a cluster; see `Scorer`. To be closed.

    Args:
        address: `ray` for the cluster of RAY_ADDRESS or of this machine, else for one that is started here and ends
            with the run; or `ray://HOST:PORT`.
        order: for the workers.
        taken: what the version takes.

    Raises:
        MissingExtra: Ray is not installed.
        Unavailable: the cluster is not reached.
    """

    def __init__(self, address: str, order: Order, taken: Taken) -> None:
        self.taken = taken
        self._order = order
        self._ray = ray = _library()
        self._began = not ray.is_initialized()
        if self._began:
            _join(ray, address)

    def close(self) -> None:
        """Let go of the cluster; one that was started here ends."""
        if self._began:
            self._ray.shutdown()

    def answer(
        self, parts: Iterator[Part], columns: list[str], *, reject: bool, told: Callable[[int, int], None]
    ) -> Iterator[tuple[Part, Scored]]:
        """Answer parts, a few for each core at once."""
        ray = self._ray
        # A process that dies is started again and asked again, elsewhere if its machine is gone.
        made = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=TRIES_AFTER_A_DEATH)(Worker)
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        workers: list[_Asked] = []
        waiting: deque[tuple[Part, Any]] = deque()
        try:
            for part in parts:
                if len(workers) < cores:
                    workers.append(_Asked(made.remote(self._order)))
                least = min(workers, key=lambda worker: worker.asked(ray))
                waiting.append((part, least.ask(part, columns, reject=reject)))
                while len(waiting) >= PARTS_FOR_A_WORKER * cores:
                    yield self._taken(*waiting.popleft(), told)
            while waiting:
                yield self._taken(*waiting.popleft(), told)
        finally:
            for worker in workers:
                ray.kill(worker.actor)

    def _taken(self, part: Part, reference: Any, told: Callable[[int, int], None]) -> tuple[Part, Scored]:
        ray = self._ray
        while not ray.wait([reference], timeout=LOOK_S)[0]:
            told(0, 0)
        try:
            found = ray.get(reference)
        except ray.exceptions.RayActorError:
            raise ModelFault(
                f"{TRIES_AFTER_A_DEATH + 1} workers died over the same rows",
                where=f"rows {part.start} to {part.start + len(part.rows) - 1}",
                fix="They may lack memory: try a smaller --part-rows. The same command goes on from here.",
            ) from None
        except ray.exceptions.RayTaskError as error:
            raise ModelFault(
                f"a worker failed: {str(error).splitlines()[-1][:300]}",
                where=self._order.model,
                fix="Is the same headrace installed on all machines of the cluster?",
            ) from error
        if isinstance(found, HeadraceError):
            raise found
        told(len(part.rows), len(found.rejects))
        return part, found


def _library() -> Any:
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError:
        raise MissingExtra("scoring on Ray needs Ray", where="on", fix="Run: pip install 'headrace[ray]'") from None


def _join(ray: Any, address: str) -> None:
    try:
        if address == RAY:
            try:
                ray.init(address="auto", log_to_driver=False)
            except ConnectionError:
                own = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
                ray.init(address="local", log_to_driver=False, **own)
        else:
            ray.init(address=address, log_to_driver=False)
    except (ConnectionError, RuntimeError, OSError) as error:
        raise Unavailable(f"the Ray cluster is not reached ({type(error).__name__})", where=address) from error


class _Asked:
    """A worker, and what it has been asked and has not answered."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self._open: list[Any] = []

    def ask(self, part: Part, columns: list[str], *, reject: bool) -> Any:
        reference = self.actor.answer.remote(part, columns, reject)
        self._open.append(reference)
        return reference

    def asked(self, ray: Any) -> int:
        """How many parts it has before it."""
        if self._open:
            _, self._open = ray.wait(self._open, num_returns=len(self._open), timeout=0)
        return len(self._open)
