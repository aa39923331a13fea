"""How much one gateway answers for a model, measured, and what follows from that for a cluster of them."""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import uvloop

from headrace.errors import StartError
from headrace.kernel.settings import inherited_environment
from headrace.server import load
from headrace.server.load import Load
from headrace.server.processes import choose_port, spawn, stop
from headrace.server.supervisor import ONE_THREAD, healthy
from headrace.serving.forms.signature import Kind, Signature, read_signature
from headrace.serving.loading.description import Description, describe
from headrace.serving.loading.example import example_rows
from headrace.serving.runtimes.files import ModelFiles

CONNECTIONS = (1, 2, 4, 8, 16, 32, 64)
BODIES = 200
START_PATIENCE_S = 300.0
STOP_PATIENCE_S = 15.0
GAIN = 1.05
"""More connections that do not bring so much more are too many."""
HEADROOM = 0.7
"""Share of its capacity that a gateway is planned for: above it, lines grow long at every little burst."""
FEWEST = 2
"""Gateways, so that one may end."""
_SAMPLES = {"string": "", "binary": "", "datetime": "1970-01-01T00:00:00", "boolean": False}


class Step(NamedTuple):
    """What was measured with so many connections."""

    load: Load
    cpu_cores: float
    """Cores that the gateway kept busy, its model's own processes too."""


class Advice(NamedTuple):
    """What follows from the steps.

    Attributes:
        capacity_per_s: requests that one gateway answers in a second, at most.
        connections: how many callers at once that took.
        planned_per_s: requests that one gateway should be given.
        cpu_millicores: CPU that it should be given.
        utilization_percent: average of it at which a cluster should grow.
        gateways: how many the wanted rate takes; None where none was named.
    """

    capacity_per_s: float
    connections: int
    planned_per_s: float
    cpu_millicores: int
    utilization_percent: int
    gateways: int | None


def advise(steps: Sequence[Step], *, p99_ms: float | None = None, rate_per_s: float | None = None) -> Advice:
    """What one gateway can do, and how many of them a rate takes.

    Args:
        steps: what was measured.
        p99_ms: steps that are slower are left out, unless all are.
        rate_per_s: requests in a second that all gateways together shall answer.
    """
    good = [step for step in steps if not step.load.failed and (p99_ms is None or step.load.p99_ms <= p99_ms)]
    best = max(good or steps[:1], key=lambda step: step.load.requests_per_s)
    planned = best.load.requests_per_s * HEADROOM
    return Advice(
        capacity_per_s=best.load.requests_per_s,
        connections=best.load.connections,
        planned_per_s=planned,
        cpu_millicores=max(100, math.ceil(best.cpu_cores * 10) * 100),
        utilization_percent=round(100 * HEADROOM),
        gateways=None if rate_per_s is None else max(FEWEST, math.ceil(rate_per_s / max(planned, 1e-9))),
    )


def bodies(files: ModelFiles) -> tuple[list[bytes], str]:
    """Requests for one row each, and where the rows are from.

    Raises:
        HeadraceError: the directory describes no model that is served.
    """
    description = describe(files)
    signature = read_signature(description.signature)
    if signature.kind is Kind.TENSORS:
        return [_body({"inputs": _zero_tensors(signature)})], "zeros"
    rows, told = _rows(files, description, signature)
    return [_body({"dataframe_split": {"columns": signature.names, "data": [row]}}) for row in rows], told


def measure(
    directory: Path,
    requests: Sequence[bytes],
    *,
    allow_code: bool,
    seconds: float,
    log: Path,
    told: Callable[[Step], None] = lambda _: None,
) -> list[Step]:
    """Serve a model in a process of its own and ask it with more and more connections, as long as that brings more.

    Args:
        directory: of the model.
        requests: bodies.
        allow_code: whether it may run code of its author's when it is loaded.
        seconds: for each step.
        log: file for what the process says.
        told: called with each step.

    Raises:
        StartError: the model could not be served; names the log.
    """
    steps: list[Step] = []
    with served(directory, allow_code=allow_code, log=log) as (port, server):
        for connections in CONNECTIONS:
            busy_s, began_s = _cpu_s(server), time.monotonic()
            found = uvloop.run(load.run(port, "/invocations", requests, connections=connections, seconds=seconds))
            cores = (_cpu_s(server) - busy_s) / (time.monotonic() - began_s)
            steps.append(Step(found, cores))
            told(steps[-1])
            rates = [step.load.requests_per_s for step in steps]
            if len(rates) > 2 and rates[-1] < GAIN * rates[-3]:
                break
    return steps


@contextmanager
def served(directory: Path, *, allow_code: bool, log: Path) -> Iterator[tuple[int, psutil.Process]]:
    """A model served alone in a process of its own: its port, and the process.

    Args:
        directory: of the model.
        allow_code: whether it may run code of its author's when it is loaded.
        log: file for what the process says.

    Raises:
        StartError: it could not be served; names the log.
    """
    port = choose_port("127.0.0.1", 0)
    command = [sys.executable, "-P", "-m", "headrace", "serve", str(directory.resolve()), "--port", str(port)]
    process = spawn(
        [*command, "--allow-pickle"] if allow_code else command,
        environment={**ONE_THREAD, **inherited_environment(), "HEADRACE_HOST": "127.0.0.1"},
        log=log,
    )
    try:
        deadline = time.monotonic() + START_PATIENCE_S
        while not healthy(f"http://127.0.0.1:{port}"):
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace").strip() or "it said nothing"
                raise StartError(f"the model could not be served: {said[-1000:]}", where=str(log))
            time.sleep(0.05)
        yield port, psutil.Process(process.pid)
    finally:
        stop(process, STOP_PATIENCE_S)


def _cpu_s(process: psutil.Process) -> float:
    """CPU that a process and those that it started have used."""
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system
    return total


def _rows(files: ModelFiles, description: Description, signature: Signature) -> tuple[list[list[object]], str]:
    if signature.kind is Kind.MATRIX:
        example = example_rows(files, description, signature.names)
        if example is not None and len(example):
            whole = [
                [_value(value, column.type) for value, column in zip(row, signature.columns, strict=True)]
                for row in example[:BODIES].tolist()
            ]
            return whole, f"{len(whole)} of its input example"
    return [[_SAMPLES.get(column.type, 0) for column in signature.columns]], "zeros"


def _value(value: float, kind: str) -> object:
    if math.isnan(value):
        return None
    return int(value) if kind in {"integer", "long"} else bool(value) if kind == "boolean" else value


def _zero_tensors(signature: Signature) -> dict[str, object]:
    found: dict[str, object] = {}
    for tensor in signature.tensors:
        values: object = 0
        for size in reversed(tensor.shape[1:]):
            values = [values] * max(size, 1)
        found[tensor.name] = [values]
    return found


def _body(content: object) -> bytes:
    return json.dumps(content).encode()


def cores() -> int:
    """Cores of this machine, which the client that measures needs a share of."""
    return os.cpu_count() or 1
