"""From a command to the gateway that obeys it: promotion, and the way back with the old version loaded or not.

    python benchmarks/registry.py [--rounds 60] [--database sqlite|postgresql] [--connections 16] [--trees 0]

A real platform with one gateway. A command is sent to control; the same client then asks the gateway for
predictions on a kept connection, one after another, until the answer comes from the other version. Measured from
when the command is sent. Then again while other connections ask for predictions as fast as they are answered; of
those, every answer but 200 is counted.

The model is a logistic regression behind a scaler, or a forest: under load, the client's own predictions wait
behind the others', and it sees a switch no earlier than at its next answer.
"""

import argparse
import hashlib
import http.client
import json
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from servers import postgresql
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from headrace.delivery.machine import Phase
from headrace.delivery.nouns import ReleaseAction
from headrace.project.environment import capture_environment
from headrace.registry.nouns import ModelFile, RegisterVersion, Version
from headrace.sdk.platform import Platform
from headrace.testing.platform import TemporaryPlatform, temporary_platform
from headrace.training.model_directory import export_model
from tracking import Connection, message

MODEL = "measured"
NAMES = ("a", "b", "c", "d")
PATIENCE_S = 30.0
AIMS_MS = {"promotion": 1000, "rollback of an open release": 100, "rollback, version not loaded": 1000}

PROJECT = '''"""A model whose versions come from elsewhere."""

import headrace as hr

customer = hr.Entity("customer", key="customer_id")
events = hr.Source("events", "events.parquet", time="day")
activity = hr.FeatureView(
    "activity", entity=customer, source=events, ttl="365d", features={"count_60d": hr.count(window="60d")}
)
gone = hr.Label("gone", entity=customer, source=events, value=hr.none_within("30d"), matures_after="30d")


@hr.model("measured", features=[activity], label=gone, task="binary")
def measured(data: hr.TrainingSet, params: hr.Params) -> hr.Fitted:
    raise NotImplementedError


measured.delivered_by(rollout=hr.Canary([50, 100], minimum_time="1s", cooling="2s"))
'''


class Bench:
    """A platform with two versions of a model, the first in production."""

    def __init__(self, platform: TemporaryPlatform) -> None:
        self.local: Platform = platform.local
        self.control = http.client.HTTPConnection("127.0.0.1", _port(platform.url), timeout=PATIENCE_S)
        self.gateway = Connection(_port(platform.gateway_url))
        self.state = http.client.HTTPConnection("127.0.0.1", _port(platform.gateway_url), timeout=PATIENCE_S)

    def answering(self) -> int:
        """The version that answers a prediction now."""
        status, body = self.gateway.ask(PREDICTION)
        if status != http.client.OK:
            raise RuntimeError(f"a prediction was answered with {status}: {body[:300]!r}")
        return int(json.loads(body)["versions"][0])

    def timed(self, path: str, body: dict[str, Any], wanted: int) -> float:
        """Milliseconds from sending a command until the gateway answers with a version."""
        start = time.perf_counter()
        self.control.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        while self.answering() != wanted:
            if time.perf_counter() - start > PATIENCE_S:
                raise RuntimeError(f"version {wanted} does not answer: {self.control.getresponse().read()!r}")
        taken_ms = (time.perf_counter() - start) * 1000
        answer = self.control.getresponse()
        content = answer.read()
        if answer.status != http.client.OK:
            raise RuntimeError(f"{path}: {answer.status} {content[:300]!r}")
        return taken_ms

    def open(self, number: int) -> str:
        """Open a release and wait until the gateway shares the traffic; returns its id."""
        release = self.local.open_release(MODEL, number)
        self.until(lambda: self.in_force().get("challenger") == number)
        return release.id

    def in_force(self) -> dict[str, Any]:
        """The route that the gateway applies."""
        self.state.request("GET", "/api/v1/gateway")
        found = json.loads(self.state.getresponse().read())["routes"]
        return next(iter(found), {})

    def promote(self, release_id: str, number: int) -> float:
        """Promote a release now."""
        command = {"command": "promote", "reason": "measured"}
        return self.timed(f"/api/v1/releases/{release_id}/commands", command, number)

    def roll_back(self, left: int, to: int) -> float:
        """Roll back."""
        return self.timed(f"/api/v1/models/{MODEL}/rollback", {"expected": left, "to": to}, to)

    def completed(self, release_id: str) -> None:
        """Wait until the version before is not kept loaded any more."""
        self.until(lambda: self.local.release(release_id).phase is Phase.COMPLETED)
        self.until(lambda: self.in_force().get("release_id") is None)

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something."""
        give_up = time.monotonic() + PATIENCE_S
        while not holds():
            if time.monotonic() > give_up:
                raise RuntimeError("waited too long")
            time.sleep(0.02)


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


_BODY = json.dumps({"dataframe_records": [dict.fromkeys(NAMES, 0.5)]}).encode()
PREDICTION = message("POST", f"/models/{MODEL}/invocations", _BODY)


def prepare(platform: TemporaryPlatform, folder: Path, trees: int) -> Bench:
    """Apply the project, register two versions, and put the first into production."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    days = pa.array(np.arange(20_000, 20_100), pa.int32()).cast(pa.date32())
    pq.write_table(pa.table({"customer_id": pa.array(np.arange(100)), "day": days}), folder / "events.parquet")
    (folder / "project.py").write_text(PROJECT)
    local = platform.local
    local.apply(*local.plan(folder / "project.py"))
    local.settle()
    for seed in (1, 2):
        register(local, folder / f"model-{seed}", seed, trees)
    bench = Bench(platform)
    release = local.open_release(MODEL, 1)
    bench.until(lambda: bench.in_force().get("challenger") == 1)
    local.command_release(release.id, ReleaseAction.PROMOTE, "the first")
    bench.completed(release.id)
    return bench


def register(local: Platform, folder: Path, seed: int, trees: int) -> None:
    """Register a version."""
    random = np.random.default_rng(seed)
    data = random.normal(size=(2_000, len(NAMES)))
    labels = (data[:, 0] + random.normal(size=2_000) > 0).astype(int)
    last = RandomForestClassifier(trees, max_depth=6, random_state=seed) if trees else LogisticRegression()
    fitted = make_pipeline(StandardScaler(), last).fit(data, labels)
    export_model(fitted, names=NAMES, sample=data[:10], directory=folder, environment=capture_environment())
    files = []
    for path in sorted(file for file in folder.rglob("*") if file.is_file()):
        content = path.read_bytes()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        local.transport.upload(f"/api/v1/blobs/{digest}", content, returns=dict)
        files.append(ModelFile(path=path.relative_to(folder).as_posix(), digest=digest, size_bytes=len(content)))
    asked = RegisterVersion(model=MODEL, source=f"benchmark/{seed}", files=tuple(files))
    local.transport.call("POST", f"/api/v1/models/{MODEL}/versions", asked, returns=Version)


def measure(bench: Bench, rounds: int, cold_rounds: int) -> dict[str, list[float]]:
    """Milliseconds of every round of each case."""
    taken: dict[str, list[float]] = {name: [] for name in AIMS_MS}
    promotion, warm, cold = taken.values()
    for _ in range(rounds):
        release_id = bench.open(2)
        promotion.append(bench.promote(release_id, 2))
        warm.append(bench.roll_back(2, 1))
    for _ in range(cold_rounds):
        release_id = bench.open(2)
        promotion.append(bench.promote(release_id, 2))
        bench.completed(release_id)
        cold.append(bench.roll_back(2, 1))
    return taken


# -- the load -------------------------------------------------------------------------------------------------


def ask_for_predictions(port: int, connections: int, ended: Event, told: "Queue[Counter[int]]") -> None:
    """In a process of its own: connections that ask one request after another; tells the statuses."""
    statuses: Counter[int] = Counter()

    def ask() -> None:
        connection, mine = Connection(port), Counter[int]()
        while not ended.is_set():
            mine[connection.ask(PREDICTION)[0]] += 1
        statuses.update(mine)

    threads = [threading.Thread(target=ask) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told.put(statuses)


@contextmanager
def load(port: int, connections: int) -> Iterator[Counter[int]]:
    """Predictions from many connections while the block runs; their statuses afterwards."""
    spawn = multiprocessing.get_context("spawn")
    ended, told = spawn.Event(), spawn.Queue()
    process = spawn.Process(target=ask_for_predictions, args=(port, connections, ended, told))
    process.start()
    statuses: Counter[int] = Counter()
    time.sleep(2)
    try:
        yield statuses
    finally:
        ended.set()
        statuses.update(told.get(timeout=60))
        process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--cold-rounds", type=int, default=20, help="with a version that gateways must load first")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--trees", type=int, default=0, help="of a forest; 0 is a logistic regression")
    options = parser.parse_args()
    shown = Table("case", "load", "rounds", "p50, ms", "p99, ms", "worst, ms", "aim, ms")
    notes = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        environment = {}
        if options.database == "postgresql":
            environment["HEADRACE_DATABASE"] = stack.enter_context(postgresql())
        platform = stack.enter_context(temporary_platform(folder / "home", environment))
        bench = prepare(platform, folder / "project", options.trees)
        stack.enter_context(closing(bench.control))
        for connections in (0, options.connections):
            with ExitStack() as loaded:
                statuses: Counter[int] = Counter()
                if connections:
                    statuses = loaded.enter_context(load(_port(platform.gateway_url), connections))
                began = time.monotonic()
                taken = measure(bench, options.rounds, options.cold_rounds)
                lasted_s = time.monotonic() - began
            for name, values in taken.items():
                ordered = sorted(values)
                worst = ordered[-1]
                p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
                figures = [f"{value:.0f}" for value in (statistics.median(ordered), p99, worst, AIMS_MS[name])]
                shown.add_row(
                    name, f"{connections} connections" if connections else "none", str(len(values)), *figures
                )
            if connections:
                asked = statuses.total()
                failed = asked - statuses[http.client.OK]
                notes.append(f"load: {asked:,} predictions, {asked / lasted_s:,.0f} a second, {failed} failed")
    console = Console()
    console.print(shown)
    for note in notes:
        console.print(note)


if __name__ == "__main__":
    main()
