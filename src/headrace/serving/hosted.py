"""A model that answers from a process of its own for as long as a gateway wants it, also after that process died.

Asking it takes as long as the model takes, so it is asked on a thread and never on the event loop. A process that
died is started again beside the questions: who asks meanwhile is told at once.
"""

import threading
import time
import weakref
from typing import Any

import structlog

from headrace.errors import HeadraceError, ModelFault
from headrace.serving.host import START_TIMEOUT_S, HostOrder, HostProcess
from headrace.serving.inputs import Inputs, Outputs

log = structlog.get_logger()

ASK_TIMEOUT_S = 30.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 30.0
SOUND_AFTER_S = 60.0
"""A process that lived so long was sound; the next death begins anew with a short pause."""


class HostedModel:
    """A model in a process of its own. It ends when nobody holds it any more, or when it is told to.

    Args:
        order: the model.
        timeout_s: seconds for one answer; a process that takes longer is ended.
        start_timeout_s: seconds for starting and loading.
        first_pause_s: seconds before a process that died is started again, doubled each time up to half a minute.

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
            ModelFault: the model raised, died, took too long, or is being started again.
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


class _Seat:
    """Where the process sits; another takes it when one has died."""

    def __init__(self, order: HostOrder, start_timeout_s: float, first_pause_s: float) -> None:
        self._order = order
        self._start_timeout_s = start_timeout_s
        self._first_pause_s = first_pause_s
        self._pause_s = first_pause_s
        self._asking = threading.Lock()
        self._closed = threading.Event()
        self._taken = threading.Event()
        self._taken.set()
        self._process: HostProcess | None = HostProcess(order, start_timeout_s=start_timeout_s)
        self._since_s = time.monotonic()

    @property
    def pid(self) -> int | None:
        process = self._process
        return None if process is None or process.ended else process.pid

    def ask(
        self, header: dict[str, Any], inputs: Inputs, timeout_s: float
    ) -> tuple[dict[str, Any], Outputs | None]:
        with self._asking:
            process = self._process
            if process is None:
                raise ModelFault(
                    "the model's process died and is being started again", where=str(self._order.files.directory)
                )
            try:
                return process.ask(header, inputs, timeout_s=timeout_s)
            finally:
                if process.ended:
                    self._taken.clear()
                    self._process = None
                    self._revive()

    def await_process(self, timeout_s: float) -> bool:
        return self._taken.wait(0.0 if self._closed.is_set() else timeout_s)

    def close(self) -> None:
        self._closed.set()
        process = self._process
        if process is not None:
            process.end()

    def _revive(self) -> None:
        if time.monotonic() - self._since_s > SOUND_AFTER_S:
            self._pause_s = self._first_pause_s
        if not self._closed.is_set():
            threading.Thread(target=self._start_again, name="model-host", daemon=True).start()

    def _start_again(self) -> None:
        while not self._closed.wait(self._pause_s):
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            try:
                process = HostProcess(self._order, start_timeout_s=self._start_timeout_s)
            except HeadraceError as problem:
                log.warning("model host could not be started again", problem=str(problem))
            except OSError as error:  # no memory, no processes left
                log.warning("model host could not be started again", problem=str(error))
            else:
                self._since_s = time.monotonic()
                self._process = process
                self._taken.set()
                if self._closed.is_set():
                    process.end()
                return
