"""Tracking beside a real MLflow server: the same requests to both in one run, and how ours grows.

    python benchmarks/tracking.py --mlflow .peers/mlflow-…/bin/python [--database sqlite|postgresql] [--rounds 5]
                                  [--growth 1000,10000,100000]

Both servers listen on this machine, MLflow's with one worker, which on SQLite is its fastest. The client is the
same for both: prepared bodies over one kept connection. The last row says what the client itself costs. Medians of
all rounds; the servers take turns, so that what else the machine does falls on both.
"""

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table
from servers import mlflow_server, postgresql

from headrace.testing.platform import temporary_platform

API = "/api/2.0/mlflow/"
LARGE_BYTES = 256_000_000
AIMS = {
    "one metric": 10,
    "batch of 1,000 points of 1 metric": 30,
    "batch of 1,000 points of 10 metrics": 30,
    "batch of 1,000 metrics": 30,
    "eight writers, batches of 100": 50,
    "a run with 10 params, 10 metrics, a tag": 30,
    "search: metric and param, by a metric, 100 rows": 20,
    "a page of 1,000 runs": 30,
    "history of 3,000 points": 20,
}


class Connection:
    """A kept connection that does as little as a client can, so that what is measured is the server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open()

    def _open(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=600)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, sent: bytes) -> tuple[int, bytes]:
        """Send a whole request and read the whole answer: its status and its body."""
        try:
            self._socket.sendall(sent)
            received = self._socket.recv(1 << 18)
        except ConnectionError:
            received = b""
        if not received:  # the server let go of a connection that was idle for long
            self._open()
            self._socket.sendall(sent)
            received = self._socket.recv(1 << 18)
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._socket.recv(1 << 18)
        head = received[:end].lower()
        length = head.find(b"content-length:")
        if b"transfer-encoding: chunked" in head:
            return int(head[9:12]), self._chunked(received[end + 4 :])
        if length < 0:
            raise RuntimeError(f"an answer without a length: {head[:300]!r}")
        size = int(head[length + 15 : (head + b"\r\n").find(b"\r\n", length)])
        chunks, missing = [received[end + 4 :]], size - (len(received) - end - 4)
        while missing > 0:
            chunk = self._socket.recv(1 << 18)
            chunks.append(chunk)
            missing -= len(chunk)
        return int(head[9:12]), b"".join(chunks)

    def _chunked(self, received: bytes) -> bytes:
        """The rest of an answer that tells no length; its chunks as they came, unread."""
        chunks = [received]
        while not chunks[-1].endswith(b"0\r\n\r\n"):
            chunks.append(self._socket.recv(1 << 18))
            if len(chunks[-1]) < 5:  # the end may come in pieces
                chunks[-2:] = [b"".join(chunks[-2:])]
        return b"".join(chunks)


def message(method: str, path: str, body: bytes | None = None) -> bytes:
    """A request as it goes over the wire."""
    content = body or b""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


class Server:
    """A server under load, and what it was given so far."""

    def __init__(self, name: str, port: int, pid: int) -> None:
        self.name = name
        self.port = port
        self.process = psutil.Process(pid)
        self.connection = Connection(port)
        self.step = 0
        self.experiment = self.call("experiments/create", {"name": f"benchmark {time.time_ns()}"})["experiment_id"]
        self.run = self.create_run()

    def send(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Send a request and read the answer; anything but 200 ends the benchmark."""
        status, content = self.connection.ask(message(method, path, body))
        if status != 200:
            raise RuntimeError(f"{self.name}: {path} {status} {content[:300]!r}")
        return content

    def call(self, path: str, fields: dict[str, Any]) -> dict[str, Any]:
        """POST an object, read an object."""
        found: dict[str, Any] = json.loads(self.send("POST", API + path, json.dumps(fields).encode()))
        return found

    def create_run(self, number: int = 0) -> str:
        """Begin a run; returns its id."""
        fields = {"experiment_id": self.experiment, "start_time": 1_790_000_000_000 + number}
        return str(self.call("runs/create", fields)["run"]["info"]["run_id"])

    def whole_run(self, number: int, experiment: str | None = None) -> None:
        """Begin a run and log 10 params, 10 metrics and a tag to it."""
        fields = {"experiment_id": experiment or self.experiment, "start_time": 1_790_000_000_000 + number}
        run_id = self.call("runs/create", fields)["run"]["info"]["run_id"]
        self.send("POST", f"{API}runs/log-batch", whole_batch(run_id, number))

    def memory_mb(self) -> float:
        """Resident memory of the server and its children."""
        processes = [self.process, *self.process.children(recursive=True)]
        return sum(each.memory_info().rss for each in processes) / 1e6


def whole_batch(run_id: str, number: int) -> bytes:
    batch = {
        "run_id": run_id,
        "metrics": [
            {"key": f"m{key}", "value": number * (key + 1) * 7919 % 1000 / 1000, "timestamp": 1, "step": 0}
            for key in range(10)
        ],
        "params": [{"key": f"p{key}", "value": str(number % (key + 2))} for key in range(10)],
        "tags": [{"key": "t", "value": "x"}],
    }
    return json.dumps(batch).encode()


def points(run_id: str, first: int, count: int, keys: int) -> bytes:
    metrics = [
        {
            "key": f"k{keys}.{place % keys}",
            "value": place / 3,
            "timestamp": first + place,
            "step": first + place // keys,
        }
        for place in range(count)
    ]
    return json.dumps({"run_id": run_id, "metrics": metrics}).encode()


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def one_metric(server: Server) -> list[float]:
    found = []
    for _ in range(40):
        server.step += 1
        point = {"run_id": server.run, "key": "m", "value": 0.5, "timestamp": server.step, "step": server.step}
        body = json.dumps(point).encode()
        found.append(timed(lambda body=body: server.send("POST", f"{API}runs/log-metric", body)))  # type: ignore[misc]
    return found


def batches(keys: int) -> Callable[[Server], list[float]]:
    def run(server: Server) -> list[float]:
        found = []
        for _ in range(5):
            server.step += 1000
            body = points(server.run, server.step, 1000, keys)
            found.append(timed(lambda body=body: server.send("POST", f"{API}runs/log-batch", body)))  # type: ignore[misc]
        return found

    return run


def _write(port: int, bodies: list[bytes], begin: Any, ended: Any) -> None:
    connection = Connection(port)
    messages = [message("POST", f"{API}runs/log-batch", body) for body in bodies]
    begin.wait()
    for each in messages:
        status, content = connection.ask(each)
        assert status == 200, (status, content[:300])
    ended.put(time.perf_counter())


def eight_writers(server: Server) -> list[float]:
    """Seconds for one batch of 100 points, when eight processes send ten batches each at once."""
    begin, ended, each = multiprocessing.Event(), multiprocessing.Queue(), 10
    writers = []
    for _ in range(8):
        run_id = server.create_run()
        bodies = [points(run_id, number * 100, 100, 10) for number in range(each)]
        writers.append(multiprocessing.Process(target=_write, args=(server.port, bodies, begin, ended)))
    for writer in writers:
        writer.start()
    time.sleep(0.5)
    start = time.perf_counter()
    begin.set()
    last = max(ended.get() for _ in writers)
    for writer in writers:
        writer.join()
    return [(last - start) / (8 * each)]


def creating(server: Server) -> list[float]:
    found = []
    for _ in range(15):
        server.step += 1
        found.append(timed(lambda: server.whole_run(server.step)))
    return found


def searching(server: Server, experiment: str | None = None, times: int = 5) -> list[float]:
    body = json.dumps(
        {
            "experiment_ids": [experiment or server.experiment],
            "filter": "metrics.m1 > 0.3 and params.p1 = '1'",
            "order_by": ["metrics.m2 DESC"],
            "max_results": 100,
        }
    ).encode()
    return [timed(lambda: server.send("POST", f"{API}runs/search", body)) for _ in range(times)]


def paging(server: Server, experiment: str | None = None, times: int = 3) -> list[float]:
    body = json.dumps({"experiment_ids": [experiment or server.experiment], "max_results": 1000}).encode()
    return [timed(lambda: server.send("POST", f"{API}runs/search", body)) for _ in range(times)]


def history(server: Server) -> list[float]:
    path = f"{API}metrics/get-history?run_id={server.run}&metric_key=k1.0&max_results=3000"
    return [timed(lambda: server.send("GET", path)) for _ in range(5)]


def file_of(server: Server) -> str:
    return f"/api/2.0/mlflow-artifacts/artifacts/{server.experiment}/{server.run}/artifacts/large.bin"


def uploading(server: Server) -> list[float]:
    content = bytes(LARGE_BYTES)
    return [timed(lambda: server.send("PUT", file_of(server), content))]


def downloading(server: Server) -> list[float]:
    return [timed(lambda: server.send("GET", file_of(server)))]


WORK: dict[str, Callable[[Server], list[float]]] = {
    "one metric": one_metric,
    "batch of 1,000 points of 1 metric": batches(1),
    "batch of 1,000 points of 10 metrics": batches(10),
    "batch of 1,000 metrics": batches(1000),
    "eight writers, batches of 100": eight_writers,
    "a run with 10 params, 10 metrics, a tag": creating,
    "search: metric and param, by a metric, 100 rows": searching,
    "a page of 1,000 runs": paging,
    "history of 3,000 points": history,
    "a file of 256 MB, up": uploading,
    "a file of 256 MB, down": downloading,
    "(the client: a request that does nothing)": lambda server: [
        timed(lambda: server.send("GET", "/version")) for _ in range(20)
    ],
}


@contextmanager
def our_server(database: str | None, folder: Path) -> Iterator[Server]:
    if database is not None:
        os.environ["HEADRACE_DATABASE"] = database
    with temporary_platform(folder / "home") as platform:
        port = int(platform.url.rpartition(":")[2])
        yield Server("ours", port, control_pid(port))


def control_pid(port: int) -> int:
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "headrace.server.process" in words and words[-2:] == ["control", str(port)]:
            return int(process.pid)
    raise RuntimeError("there is no control process")


def milliseconds(taken: float) -> str:
    return f"{taken * 1000:,.2f}" if taken < 0.1 else f"{taken * 1000:,.0f}"


def compare(theirs: Server, ours: Server, rounds: int, console: Console) -> None:
    taken: dict[tuple[str, str], list[float]] = {}
    for number in range(950):  # so that a page is full
        ours.whole_run(number)
        theirs.whole_run(number)
    with console.status("measuring"):
        for _ in range(rounds):
            for name, work in WORK.items():
                for server in (theirs, ours):
                    taken.setdefault((name, server.name), []).extend(work(server))
    table = Table("work", "MLflow ms", "ours ms", "ratio", "aim", title="Medians")
    for name in WORK:
        mlflow, mine = (statistics.median(taken[name, server.name]) for server in (theirs, ours))
        aim = f"{AIMS[name]}x" if name in AIMS else ""
        table.add_row(name, milliseconds(mlflow), milliseconds(mine), f"{mlflow / mine:.1f}x", aim)
    console.print(table)
    console.print(
        f"memory: MLflow {theirs.memory_mb():.0f} MB, our control {ours.memory_mb():.0f} MB (RSS, after load)"
    )


def grow(ours: Server, sizes: list[int], console: Console) -> None:
    table = Table("runs", "a new run ms", "search ms", "page of 1,000 ms", title="Ours as it grows")
    experiment = ours.call("experiments/create", {"name": "growing"})["experiment_id"]
    made = 0
    for size in sizes:
        with console.status(f"growing to {size:,} runs"):
            spent = []
            while made < size:
                spent.append(timed(lambda number=made: ours.whole_run(number, experiment)))  # type: ignore[misc]
                made += 1
        search, page = searching(ours, experiment, 9), paging(ours, experiment, 5)
        last = statistics.median(spent[-500:])
        table.add_row(f"{size:,}", *map(milliseconds, (last, statistics.median(search), statistics.median(page))))
    console.print(table)


def wide(ours: Server, console: Console) -> None:
    """One experiment of 1,500 metrics a run."""
    experiment = ours.call("experiments/create", {"name": "wide"})["experiment_id"]
    taken = []
    for number in range(100):
        run_id = ours.call("runs/create", {"experiment_id": experiment, "start_time": number})["run"]["info"][
            "run_id"
        ]
        for part in range(2):
            metrics = [
                {"key": f"w{key}", "value": key / (number + 1), "timestamp": 1, "step": 0}
                for key in range(part * 750, part * 750 + 750)
            ]
            body = json.dumps({"run_id": run_id, "metrics": metrics}).encode()
            taken.append(timed(lambda body=body: ours.send("POST", f"{API}runs/log-batch", body)))  # type: ignore[misc]
    whole = json.dumps({"experiment_ids": [experiment], "max_results": 100}).encode()
    some = json.dumps(
        {
            "experiment_ids": [experiment],
            "order_by": ["metrics.w3 DESC"],
            "select": {"metrics": ["w3"]},
            "limit": 100,
        }
    ).encode()
    pages = [timed(lambda: ours.send("POST", f"{API}runs/search", whole)) for _ in range(3)]
    chosen = [timed(lambda: ours.send("POST", "/api/v1/runs/search", some)) for _ in range(5)]
    console.print(
        f"100 runs of 1,500 metrics: a batch of 750 {milliseconds(statistics.median(taken))} ms,"
        f" all of it {milliseconds(statistics.median(pages))} ms,"
        f" one metric selected {milliseconds(statistics.median(chosen))} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--mlflow", type=Path, help="the Python of an environment that has MLflow; none: ours alone"
    )
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--growth", default="1000,10000", help="numbers of runs, ascending; empty for none")
    options = parser.parse_args()
    console = Console(width=110)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        theirs, mine = "sqlite:///mlflow.db", None
        if options.database == "postgresql":
            theirs, mine = stack.enter_context(postgresql()), stack.enter_context(postgresql())
        ours = stack.enter_context(our_server(mine, folder))
        time.sleep(3)
        console.print(f"{options.database}; our control process idle: {ours.memory_mb():.0f} MB (RSS)")
        if options.mlflow:
            port, pid = stack.enter_context(mlflow_server(options.mlflow.absolute(), theirs, folder))
            compare(Server("MLflow", port, pid), ours, options.rounds, console)
        sizes = [int(size) for size in options.growth.split(",") if size]
        if sizes:
            grow(ours, sizes, console)
            wide(ours, console)


if __name__ == "__main__":
    main()
