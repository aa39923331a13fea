"""Customers who ask for predictions: in batches, or one by one from several callers at once."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from headrace.errors import HeadraceError, ModelFault
from headrace.sdk.platform import Platform
from headrace.sdk.predictions import Predictor

CALLERS = 3


@dataclass
class Traffic:
    """What a stretch of live traffic saw.

    Attributes:
        answered: predictions by the version that made them.
        faults: requests that saw the model fail.
        replaced: requests in which another version answered for one that failed.
        unavailable: requests that no gateway answered.
    """

    answered: Counter[int] = field(default_factory=Counter)
    faults: int = 0
    replaced: int = 0
    unavailable: int = 0

    @property
    def requests(self) -> int:
        """All of them."""
        return self.answered.total() + self.faults + self.unavailable


def score_customers(platform: Platform, model: str, customers: list[int], *, batch: int = 50) -> Traffic:
    """Ask for predictions for many customers, several a request."""
    traffic = Traffic()
    predictor = platform.predictor(model)
    for start in range(0, len(customers), batch):
        answer = predictor.predict({"customer_id": customers[start : start + batch]})
        traffic.answered.update(number for number in answer.versions if number is not None)
    predictor.close()
    return traffic


@contextmanager
def live_traffic(platform: Platform, model: str, customers: list[int], *, seed: int) -> Iterator[Traffic]:
    """Customers in random order, one a request, from several callers at once, for as long as the block runs."""
    traffic = Traffic()
    ended = threading.Event()
    lock = threading.Lock()

    def call(number: int) -> None:
        order = random.Random(seed * 1000 + number)  # noqa: S311 - traffic, not secrets
        predictor = platform.predictor(model)
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
        answer = predictor.predict({"customer_id": [customer]})
    except ModelFault:
        with lock:
            traffic.faults += 1
    except HeadraceError:
        with lock:
            traffic.unavailable += 1
        time.sleep(0.01)
    else:
        with lock:
            traffic.answered.update(number for number in answer.versions if number is not None)
            traffic.replaced += answer.fallbacks is not None
