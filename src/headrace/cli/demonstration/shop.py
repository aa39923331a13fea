"""The demo's world: a project under git, a platform in processes of its own, people with tokens, and customers."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import psutil

from headrace.errors import HeadraceError, ModelFault, NotFound, StartError
from headrace.kernel.settings import inherited_environment, read_endpoint
from headrace.sdk.connect import connect
from headrace.sdk.platform import Platform
from headrace.sdk.predictions import Predictor

START_PATIENCE_S = 60.0
CALLERS = 3


def example_folder() -> Path:
    """The example project: inside the installed package, or beside the source.

    Raises:
        NotFound: the installation has lost it.
    """
    for folder in (Path(str(files("headrace"))) / "examples", Path(str(files("headrace"))).parents[1] / "examples"):
        if (folder / "churn" / "churn.py").exists():
            return folder / "churn"
    raise NotFound("the example project is not in this installation", fix="Install headrace again.")


def copy_project(target: Path) -> str | None:
    """Copy the example to a folder of its own and commit it, as a user would have it; returns the commit."""
    shutil.copytree(example_folder(), target, ignore=shutil.ignore_patterns("__pycache__"))
    git = shutil.which("git")
    if git is None:
        return None
    identity = ["-c", "user.name=Dana", "-c", "user.email=dana@shop.example", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "Which customers will not buy again"]):
        subprocess.run([git, *identity, *arguments], cwd=target, check=True, capture_output=True)
    head = subprocess.run([git, "rev-parse", "HEAD"], cwd=target, check=True, capture_output=True, text=True)
    return head.stdout.strip()


@contextmanager
def running_platform(
    home: Path, alert_url: str, *, keep: Callable[[], bool]
) -> Iterator["subprocess.Popen[bytes]"]:
    """`headrace up` on a home and free ports, until the end of the block unless `keep` says otherwise.

    Raises:
        StartError: it did not come up.
    """
    environment = inherited_environment() | {
        "HEADRACE_ALERT_CHANNELS": f"ops={alert_url}",
        "HEADRACE_ALERTS_ALLOW_LOOPBACK": "true",
    }
    for name in ("HEADRACE_URL", "HEADRACE_TOKEN"):
        environment.pop(name, None)
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "headrace", "up", "--home", str(home), "--port", "0", "--gateway-port", "0"]
    with (home / "up.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _await_endpoint(home, process)
        yield process
    finally:
        if not keep():
            process.terminate()
            process.wait(30)


def _await_endpoint(home: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_PATIENCE_S
    while read_endpoint(home) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise StartError(
                "the platform did not start", where=str(home / "up.log"), fix=(home / "up.log").read_text()[-2000:]
            )
        time.sleep(0.05)


def processes(supervisor: int) -> dict[str, psutil.Process]:
    """The platform's processes by name, such as `control` and `worker-1`."""
    found = {}
    for child in psutil.Process(supervisor).children():
        command = child.cmdline()
        if "headrace.server.process" in command:
            found[command[-2]] = child
    return found


def kill(supervisor: int, name: str) -> int:
    """kill -9 one process of the platform; returns its pid."""
    victim = processes(supervisor)[name]
    os.kill(victim.pid, signal.SIGKILL)
    return victim.pid


def person(admin: Platform, home: Path, name: str, roles: list[str]) -> Platform:
    """A principal with a token, connected."""
    admin.access.add(name, roles)
    return connect(admin.url, token=admin.access.issue_token(name).secret, home=home)


@dataclass
class Traffic:
    """What a stretch of live traffic saw.

    Attributes:
        answered: predictions by the version that made them.
        faults: requests that saw the model fail.
        unavailable: requests that no gateway answered.
    """

    answered: Counter[int] = field(default_factory=Counter)
    faults: int = 0
    unavailable: int = 0

    @property
    def requests(self) -> int:
        """All of them."""
        return self.answered.total() + self.faults + self.unavailable


def score_customers(platform: Platform, customers: list[int], *, batch: int = 50) -> Traffic:
    """Ask for predictions for many customers, several a request."""
    traffic = Traffic()
    predictor = platform.predictor("churn")
    for start in range(0, len(customers), batch):
        answer = predictor.predict({"customer_id": customers[start : start + batch]})
        traffic.answered.update(answer.versions)
    predictor.close()
    return traffic


@contextmanager
def live_traffic(platform: Platform, customers: list[int], seed: int) -> Iterator[Traffic]:
    """Customers in random order, one a request, from several callers at once, for as long as the block runs."""
    traffic = Traffic()
    ended = threading.Event()
    lock = threading.Lock()

    def call(number: int) -> None:
        order = random.Random(seed * 1000 + number)  # noqa: S311 - traffic, not secrets
        predictor = platform.predictor("churn")
        while not ended.is_set():
            _one_request(predictor, order.choice(customers), traffic, lock)
        predictor.close()

    callers = [threading.Thread(target=call, args=(number,), daemon=True) for number in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        yield traffic
    finally:
        ended.set()
        for caller in callers:
            caller.join()


def _one_request(predictor: Predictor, customer: int, traffic: Traffic, lock: threading.Lock) -> None:
    try:
        versions = predictor.predict({"customer_id": [customer]}).versions
    except ModelFault:
        with lock:
            traffic.faults += 1
    except HeadraceError:
        with lock:
            traffic.unavailable += 1
        time.sleep(0.01)
    else:
        with lock:
            traffic.answered.update(versions)
