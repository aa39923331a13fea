"""What a part of a request counts for: its rows, and each unit with the signals that it saw."""

from headrace.serving.assignment import Counted
from headrace.serving.gateway.asking import Part
from headrace.serving.gateway.counters import Counters, Seen
from headrace.serving.loading.predictor import INVALID_OUTPUTS


def count_part(
    counters: Counters,
    part: Part,
    counted: Counted,
    unit: str | None,
    *,
    slow_us: int | None = None,
    replaced: bool = False,
) -> None:
    """Count what a version was asked, or was to be asked.

    Args:
        counters: of the gateway.
        part: the rows, with what the version made of them.
        counted: the version, and the step of a release that it answers in.
        unit: what the caller sticks to a version by; rows of entities have units of their own.
        slow_us: what takes longer is slow; None counts nothing as slow.
        replaced: whether the version did not answer itself, something else did or nothing.
    """
    slow = slow_us is not None and part.latency_us > slow_us
    if part.entities is None:
        rows = part.size - len(part.unfit)
        if rows:
            invalid = sum(kind in INVALID_OUTPUTS for kind in part.faults.values()) if part.faults else 0
            fallbacks = rows if replaced else 0
            asked = 0 if replaced and not part.begun else rows
            seen = Seen(part.latency_us, asked, len(part.faults), invalid, fallbacks, slow)
            counters.count(counted, unit=unit, seen=seen)
        return
    unfit = set(part.unfit)
    for place, value in enumerate(part.entities):
        if place not in unfit:
            kind = part.faults.get(place)
            invalid = int(kind in INVALID_OUTPUTS)
            asked = int(part.begun or not replaced)
            seen = Seen(part.latency_us, asked, int(kind is not None), invalid, int(replaced), slow)
            counters.count(counted, unit=str(value), seen=seen)
