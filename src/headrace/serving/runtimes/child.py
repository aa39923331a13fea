"""The inside of a process that answers messages over its pipes, until its input ends: so it outlives nobody."""

import atexit
import os
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Any

from headrace.serving.forms.inputs import Inputs
from headrace.serving.runtimes import wire

LOOK_AT_PARENT_S = 0.5


class _InputEnded(Exception):
    """Whoever started this process has gone, or has no more questions."""


def piped(parent: int) -> tuple[IO[bytes], IO[bytes]]:
    """Make this process one that answers, and end with its parent.

    Returns:
        Where messages come from, and where answers go. What is printed goes among the errors.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the caller's data
    atexit.register(_end_what_was_started)
    threading.Thread(target=_end_with, args=(parent,), name="lifeline", daemon=True).start()
    frames = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what is printed must not land among the messages
    return sys.stdin.buffer, frames


def converse(
    source: IO[bytes],
    target: IO[bytes],
    answer_to: Callable[[dict[str, Any], Inputs | None], list[bytes | memoryview]],
) -> None:
    """Answer message by message until the input ends.

    Args:
        source: messages come from here.
        target: answers go there.
        answer_to: makes the answer to a message; whatever it raises ends the process.
    """

    def read(size: int) -> bytes:
        content = source.read(size)
        if len(content) < size:
            raise _InputEnded
        return content

    try:
        while True:
            for piece in answer_to(*wire.decode(read)):
                target.write(piece)
            target.flush()
    except _InputEnded:
        return


def _end_with(parent: int) -> None:
    """End this process soon after its parent.

    The kernel's own way ends it with the thread that started it, and a gateway's threads come and go.
    """
    while os.getppid() == parent:
        time.sleep(LOOK_AT_PARENT_S)
    _end_group()
    os._exit(1)


def _end_what_was_started() -> None:
    """A parent ends whatever a model has started; where it has gone itself, this process has to."""
    poll = select.poll()
    poll.register(0, 0)
    if any(event & select.POLLHUP for _, event in poll.poll(0)):
        _end_group()


def _end_group() -> None:
    if os.getpgrp() == os.getpid():  # it was made for this process alone
        os.killpg(os.getpgrp(), signal.SIGKILL)
