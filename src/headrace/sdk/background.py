"""The delivery of a run while it goes on: a thread that sends the journal, and waits while nobody answers."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from headrace.client.journal import Journal
from headrace.errors import HeadraceError
from headrace.sdk.delivery import AWAY, Delivery
from headrace.tracking.nouns import Run

EVERY_S = 0.25
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0

T = TypeVar("T")

logger = logging.getLogger("headrace")


class Background:
    """Sends a run in a thread of its own.

    Args:
        delivery: what is sent.
        journal: the writing end, kept safe from a loss of power while nobody answers.
        began: told of the run once the platform knows it.
        kept_in: where the run waits; for the words of a warning.

    Attributes:
        problem: why nothing can be sent at present; None while it can.
    """

    def __init__(
        self,
        delivery: Delivery,
        journal: Journal,
        *,
        began: Callable[[Run], None],
        kept_in: str,
    ) -> None:
        self.problem: HeadraceError | None = None
        self._delivery = delivery
        self._journal = journal
        self._began = began
        self._kept_in = kept_in
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._work, name="headrace-delivery", daemon=True)
        self._warned = False

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def close(self, patience_s: float, waiting: Callable[[int], None]) -> bool:
        """Send what is left, and end; whether all of it was sent.

        Args:
            patience_s: seconds to go on trying a platform that does not answer. One that answers is waited for.
            waiting: told from time to time how many bytes are left.
        """
        self._closing.set()
        silent_since: float | None = None
        while self._thread.is_alive():
            self._wake.set()
            self._thread.join(timeout=0.1)
            waiting(self._delivery.unread_bytes())
            if self.problem is None:
                silent_since = None
                continue
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > patience_s:
                self._given_up.set()
                self._wake.set()
                self._thread.join(timeout=1.0)
                return False
        return self._delivery.finished

    def _work(self) -> None:
        run = self._attempt(self._delivery.begin)  # so that the run is seen at once
        if run is not None:
            self._began(run)
        wait_s = FIRST_WAIT_S
        while not self._delivery.finished and not self._given_up.is_set():
            sent = self._attempt(self._delivery.step)
            if self.problem is None:
                wait_s = FIRST_WAIT_S
                if not sent:
                    self._pause(EVERY_S)
            elif isinstance(self.problem, AWAY):
                self._pause(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            else:  # the run itself is refused
                return

    def _pause(self, seconds: float) -> None:
        """Wait, but not for long when somebody waits for the end."""
        self._wake.wait(seconds)
        self._wake.clear()
        if self._closing.is_set() and self.problem is not None:
            time.sleep(0.2)

    def _attempt(self, call: Callable[[], T]) -> T | None:
        try:
            answer = call()
        except HeadraceError as problem:
            self._note(problem)
            return None
        self.problem = None
        return answer

    def _note(self, problem: HeadraceError) -> None:
        self.problem = problem
        try:
            self._journal.flush()
        except OSError:
            self._kept_in = "memory, the disk being out of reach"
        if not self._warned:
            self._warned = True
            what = f"{problem.where}: {problem.message}" if problem.where else problem.message
            logger.warning("%s; the run goes on and is kept in %s. %s", what, self._kept_in, problem.fix or "")
