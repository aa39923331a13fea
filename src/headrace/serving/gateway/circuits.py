"""Switches off a version that fails again and again, where another can take over, and tries it again later.

A challenger is judged by its release's own test, and by the breaker of `counters` while nobody can run that. This
is for the version in production and the one before it: without it every request would wait for a model that hangs
before it falls back.
"""

from typing import NamedTuple

FAULTS_TO_OPEN = 5
"""Requests that failed one after another."""
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 60.0
PROBE_S = 60.0
"""A probe whose outcome nobody told after so long is taken for lost."""

Key = tuple[str, int]


class OpenCircuit(NamedTuple):
    """A version that is not asked now."""

    model: str
    version: int


class _State:
    __slots__ = ("faults", "next_probe_s", "pause_s", "probing")

    def __init__(self) -> None:
        self.faults = 0
        self.pause_s = FIRST_PAUSE_S
        self.next_probe_s: float | None = None  # None while it is closed
        self.probing = False


class Circuits:
    """Used from the gateway's event loop. A version that has not failed lately costs nothing."""

    def __init__(self) -> None:
        self._states: dict[Key, _State] = {}
        self.opened = 0
        """How often one was opened since the process began."""

    @property
    def quiet(self) -> bool:
        """Whether no version has failed lately."""
        return not self._states

    def lets_through(self, model: str, version: int, now_s: float) -> bool:
        """Whether the version may be asked; of those who ask for one that is open, one now and then as a probe."""
        if not self._states:
            return True
        state = self._states.get((model, version))
        if state is None or state.next_probe_s is None:
            return True
        if now_s < state.next_probe_s:
            return False
        state.probing = True
        state.next_probe_s = now_s + PROBE_S
        return True

    def observe(self, model: str, version: int, *, fault: bool, now_s: float) -> None:
        """Take note of how a request ended that was let through."""
        key = (model, version)
        if not fault:
            if self._states:
                self._states.pop(key, None)
            return
        state = self._states.setdefault(key, _State())
        state.faults += 1
        if state.probing:
            state.probing = False
            state.pause_s = min(2 * state.pause_s, LONGEST_PAUSE_S)
            state.next_probe_s = now_s + state.pause_s
        elif state.next_probe_s is None and state.faults >= FAULTS_TO_OPEN:
            self.opened += 1
            state.next_probe_s = now_s + state.pause_s

    def forget(self, model: str) -> None:
        """The model's route was set anew."""
        for key in [key for key in self._states if key[0] == model]:
            del self._states[key]

    def open(self) -> tuple[OpenCircuit, ...]:
        """Versions that are not asked now."""
        return tuple(OpenCircuit(*key) for key, state in self._states.items() if state.next_probe_s is not None)
