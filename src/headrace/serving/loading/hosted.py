"""A model that answers from a process of its own for as long as a gateway wants it, also after that process died.

Asking it takes as long as the model takes, so it is asked on a thread and never on the event loop. A process that
died is started again beside the questions: who asks meanwhile is told at once. A row that ends a process may come
again, so for a while after a death a spare process stands by, which takes over without a pause. Not so where the
system has killed it: that is how it makes room where memory is short.
"""

import threading
import time
import weakref
from typing import Any

import structlog

from headrace.errors import HeadraceError, ModelFault, Overloaded
from headrace.serving.forms.inputs import Inputs, Outputs
from headrace.serving.loading.host import START_TIMEOUT_S, HostOrder, HostProcess

log = structlog.get_logger()

ASK_TIMEOUT_S = 30.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 30.0
SOUND_AFTER_S = 60.0
"""A process that lived so long, or has answered, was sound; its death begins anew with a short pause."""
JUST_NOW_S = 0.001
"""Whoever waits for the process looks whether it lives, and need not look again to ask it right afterwards."""
SPARE_S = 600.0
"""So long after a death a spare process stands by."""


class HostedModel:
    """A model in a process of its own. It ends when nobody holds it any more, or when it is told to.

    Args:
        order: the model.
        timeout_s: seconds for one answer; a process that takes longer is ended.
        start_timeout_s: seconds for starting and loading.
        first_pause_s: seconds before a process that died is started again, doubled up to half a minute each time
            that one dies before it has answered.

    Raises:
        ModelFault: the process died while it loaded, or did not load in time.
        HeadraceError: what loading says.
    """

    def __init__(
        self,
        order: HostOrder,
        *,
        timeout_s: float = ASK_TIMEOUT_S,
        start_timeout_s: float = START_TIMEOUT_S,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self._timeout_s = timeout_s
        self._seat = _Seat(order, start_timeout_s, first_pause_s)
        self._end = weakref.finalize(self, self._seat.close)

    def predict(self, inputs: Inputs, params: dict[str, Any] | None = None) -> Outputs:
        """The model's answers; one question at a time.

        Raises:
            ModelFault: the model raised, died, or took too long.
            Overloaded: it is being started again; nothing was asked.
        """
        _, found = self._seat.ask({"ask": "predict", "params": params}, inputs, self._timeout_s)
        if found is None:
            raise ModelFault("the model did not answer")
        return found

    def await_process(self, timeout_s: float) -> bool:
        """Wait for a process that is being started again; whether there is one."""
        return self._seat.await_process(timeout_s)

    def close(self) -> None:
        """End the process."""
        self._end()

    @property
    def pid(self) -> int | None:
        """The process's id; None while it is being started again."""
        return self._seat.pid

    @property
    def spare_pid(self) -> int | None:
        """The id of the process that stands by, if there is one."""
        return self._seat.spare_pid


class _Seat:
    """Where the process sits; another takes it when one has died, at once if a spare one stands by.

    One thread starts whatever processes are missing, from the first to the last: who makes them die often makes
    no more threads, and where the system gives none the model is started again all the same.
    """

    def __init__(self, order: HostOrder, start_timeout_s: float, first_pause_s: float) -> None:
        self._order = order
        self._start_timeout_s = start_timeout_s
        self._first_pause_s = first_pause_s
        self._pause_s = first_pause_s
        self._asking = threading.Lock()
        self._changing = threading.Condition()
        self._closed = threading.Event()
        self._taken = threading.Event()
        self._taken.set()
        self._process: HostProcess | None = HostProcess(order, start_timeout_s=start_timeout_s)
        self._spare: HostProcess | None = None
        self._spare_until_s = 0.0
        self._looked_s = -JUST_NOW_S
        self._since_s = time.monotonic()
        self._has_answered = False
        self._keeper = threading.Thread(target=self._keep, name="model-host", daemon=True)
        try:
            self._keeper.start()
        except BaseException:
            self._process.end()
            raise

    @property
    def pid(self) -> int | None:
        process = self._process
        return None if process is None or process.ended else process.pid

    @property
    def spare_pid(self) -> int | None:
        spare = self._spare
        return None if spare is None else spare.pid

    def ask(
        self, header: dict[str, Any], inputs: Inputs, timeout_s: float
    ) -> tuple[dict[str, Any], Outputs | None]:
        with self._asking:
            if time.monotonic() - self._looked_s > JUST_NOW_S:
                self._look_after()
            process = self._process
            if process is None:
                raise Overloaded(
                    "the model's process died and is being started again",
                    where=str(self._order.files.directory),
                    fix="Ask again in a moment.",
                )
            try:
                answered = process.ask(header, inputs, timeout_s=timeout_s)
            finally:
                if process.ended:
                    self._replace(with_spare=not process.was_killed)
            self._has_answered = True
            return answered

    def await_process(self, timeout_s: float) -> bool:
        if self._asking.acquire(blocking=False):  # whoever is asking finds out himself
            try:
                self._look_after()
                self._looked_s = time.monotonic()
            finally:
                self._asking.release()
        return self._taken.wait(0.0 if self._closed.is_set() else timeout_s)

    def close(self) -> None:
        self._closed.set()
        with self._changing:
            process, spare, self._spare = self._process, self._spare, None
            self._changing.notify()
        for each in (process, spare):
            if each is not None:
                each.end()

    def _look_after(self) -> None:
        """Replace a process that has died since it was last asked, which is no fault on the next question."""
        process = self._process
        if process is not None and not process.ended and process.has_died():
            self._replace(with_spare=not process.was_killed)

    def _replace(self, *, with_spare: bool) -> None:
        """Another process in the place of the one that has died, and a spare one for the next time."""
        sound = self._has_answered or time.monotonic() - self._since_s > SOUND_AFTER_S
        if sound:  # so the row was at fault, and others shall not wait for it
            self._pause_s = self._first_pause_s
        with self._changing:
            self._spare_until_s = time.monotonic() + SPARE_S if with_spare else 0.0
            spare, self._spare = self._spare, None
            self._seat(None if spare is None or spare.has_died() else spare)
            self._changing.notify()

    def _seat(self, process: HostProcess | None) -> None:
        self._process = process
        self._since_s, self._has_answered = time.monotonic(), False
        if process is None:
            self._taken.clear()
        else:
            self._taken.set()

    def _keep(self) -> None:
        """Start what is missing, one after another, until the seat is closed."""
        while self._await_lack():
            process = self._started()
            with self._changing:
                wanted = process is not None and not self._closed.is_set()
                if wanted and self._process is None:
                    self._seat(process)
                elif wanted:
                    self._spare = process
            if process is not None and not wanted:
                process.end()

    def _await_lack(self) -> bool:
        """Wait until a process is missing; meanwhile a spare one ends when none has died for a while."""
        while not self._closed.is_set():
            with self._changing:
                rest_s = self._spare_until_s - time.monotonic()
                if self._process is None or (self._spare is None and rest_s > 0):
                    return not self._closed.is_set()
                surplus = self._spare if rest_s <= 0 else None
                if surplus is None and not self._closed.is_set():
                    self._changing.wait(None if self._spare is None else rest_s)
                    continue
                self._spare = None
            if surplus is not None:
                surplus.end()
        return False

    def _started(self) -> HostProcess | None:
        """Another process, however often it takes; None when none is wanted any more."""
        while not self._closed.wait(self._pause_s):
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            try:
                return HostProcess(self._order, start_timeout_s=self._start_timeout_s)
            except HeadraceError as problem:
                log.warning("model host could not be started again", problem=str(problem))
            except OSError as error:  # no memory, no processes left
                log.warning("model host could not be started again", problem=str(error))
        return None
