"""The inside of a process that reads bodies for a gateway, see `reading`: a body may end it and nothing else.

It has a bound on its memory, sees no secrets, and knows of no model more than its signature.
"""

import argparse
import importlib
import os
import resource
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from headrace.errors import HeadraceError, InternalError, TooLarge
from headrace.serving.forms.inputs import Columns, Inputs
from headrace.serving.runtimes import wire
from headrace.serving.runtimes.child import converse, piped

MEMORY_BYTES = 1 << 30
"""For a body and what it is read into, above what the process has from its start."""
SPENT_BYTES = 256 << 20
"""A process that has grown by so much makes room for a new one."""
BEHIND = 5
"""How far this process stands behind those that predict, where they want the same core."""
FRAMES = 10
"""Of a defect that are told."""
MOST_KILLABLE = "1000"
PAGE_BYTES = resource.getpagesize()

Read = Callable[[Any, bytes], tuple[dict[str, Any], Columns | None]]
"""From what there is to know of a body, and the body, to what it holds; raises the caller's errors."""


@cache
def _reader(name: str) -> Read:
    module, _, function = name.partition(":")
    found: Read = getattr(importlib.import_module(module), function)
    return found


def _answer(header: dict[str, Any], values: Inputs | None) -> list[bytes | memoryview]:
    if values is None or isinstance(values, dict):
        return wire.encode({"known": None})  # whoever starts this process waits until it can answer
    try:
        known, arrays = _reader(header["reader"])(header["about"], values.tobytes())
        return wire.encode({"known": known, "spent": _is_spent()}, arrays)
    except HeadraceError as problem:
        return _told(problem)
    except MemoryError:
        return _told(TooLarge("the body takes too much memory to be read", where="body", fix="Send it in parts."))
    except Exception as error:  # noqa: BLE001 - a defect of ours; the gateway logs it
        return _told(InternalError(f"a body could not be read ({type(error).__name__})"), _where(error))


def _told(problem: HeadraceError, defect: list[str] | None = None) -> list[bytes | memoryview]:
    told = {"code": problem.code, "message": problem.message, "where": problem.where, "fix": problem.fix}
    return wire.encode({**told, "defect": defect, "spent": _is_spent()})


def _where(error: Exception) -> list[str]:
    """Which lines failed, without the error's words, which may quote the body."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


def _is_spent() -> bool:
    size = _sizes()
    return size is not None and size[1] > SPENT_BYTES


def _sizes() -> tuple[int, int] | None:
    """Bytes of addresses and of memory that this process has; None where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()
    except OSError:
        return None
    return int(pages[0]) * PAGE_BYTES, int(pages[1]) * PAGE_BYTES


def _bound() -> None:
    """Bound what this process takes, and let it be the first to go where the machine has no memory left."""
    os.nice(BEHIND)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(MOST_KILLABLE, "ascii")
    sizes = _sizes()
    if sizes is not None:
        limit = sizes[0] + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> None:
    """Answer for whoever started this process."""
    parser = argparse.ArgumentParser(prog="headrace-body-reader", description="Read bodies of requests.")
    parser.add_argument("parent", type=int, help="process id of who starts it; it ends with it")
    source, target = piped(parser.parse_args().parent)
    _bound()
    converse(source, target, _answer)


if __name__ == "__main__":
    main()
