"""Which version answers a unit: sticky, and monotone in the weight, so that nobody flips back and forth.

A unit hashes into one of 10,000 buckets; the challenger owns the buckets below its weight. Raising the weight
therefore only adds units to it. The salt changes with each release, or the same units would always go first.
"""

import hashlib
from typing import NamedTuple

from headrace.serving.nouns import Arm, Route

BUCKETS = 10_000


class Assignment(NamedTuple):
    """The version that answers, why, and how probable that was."""

    number: int
    arm: Arm
    propensity: float


class Counted(NamedTuple):
    """What a request counts for."""

    model: str
    version: int
    release_id: str | None
    step: int | None


def bucket(salt: str, model: str, unit: str) -> int:
    """The bucket of a unit, 0 to 9,999; uniform over units and independent between salts."""
    key = f"{len(salt)}:{salt}{len(model)}:{model}{unit}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) % BUCKETS


def challenger_buckets(weight_percent: float) -> int:
    """How many buckets a weight owns."""
    return min(BUCKETS, max(0, round(weight_percent * BUCKETS / 100)))


def assign(route: Route, unit: str, *, without_challenger: bool = False) -> Assignment | None:
    """The version for `unit`, or None when the route names none.

    Args:
        route: the model's route. With a champion alone or a challenger alone, that one answers everything.
        unit: what sticks to a version, the entity's key for example.
        without_challenger: the breaker is open; a champion, if there is one, takes over.
    """
    champion, challenger = route.champion, route.challenger
    if challenger is None or (without_challenger and champion is not None):
        return None if champion is None else Assignment(champion, Arm.CHAMPION, 1.0)
    if champion is None:
        return Assignment(challenger, Arm.CHALLENGER, 1.0)
    owned = challenger_buckets(route.weight_percent)
    if bucket(route.salt, route.model, unit) < owned:
        return Assignment(challenger, Arm.CHALLENGER, owned / BUCKETS)
    return Assignment(champion, Arm.CHAMPION, 1 - owned / BUCKETS)
