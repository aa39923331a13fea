"""How long what was predicted is kept: rules by class of data, and the hourly job that obeys them.

Control-side. Rules are changes of state, made by admins. Removals are recorded with what went, never with whose
it was.
"""

from datetime import datetime, timedelta

import msgspec

from headrace.errors import InvalidInput, NotFound
from headrace.kernel import events, jobs
from headrace.kernel.business_time import business_now
from headrace.kernel.database import Tx
from headrace.kernel.jobs import Handling, Job, JobKind
from headrace.project.durations import parse_window
from headrace.serving import tables_retention as tables
from headrace.serving.retention_nouns import (
    ALL_MODELS,
    HANDED_IN,
    DataClass,
    Erase,
    Expiry,
    Keep,
    Removed,
    RemoveRequest,
    Rule,
)

REMOVE: JobKind[RemoveRequest, Removed] = JobKind(
    name="serving.remove_rows", payload=RemoveRequest, result=Removed, lease_s=60.0
)


SEGMENTS_AFTER = timedelta(seconds=15)
"""After this a gateway has closed the segments that it held."""
LONG_OPEN = timedelta(minutes=15)
"""A segment that is open for longer waits for a gateway that is away."""
FILES_AFTER = timedelta(minutes=70)
"""After this the files of what was removed can go."""


def keep(tx: Tx, data_class: DataClass, wanted: Keep) -> Rule:
    """Say how long a class of data is kept.

    Raises:
        InvalidInput: it is not a duration.
    """
    parse_window(wanted.keep, where=f"retention/{data_class}", field="keep")
    rule = Rule(data_class=data_class, model=wanted.model, keep=wanted.keep, set_by=tx.actor, set_at=tx.now)
    tables.put(tx, rule)
    events.append(tx, "serving.retention_set", _subject(data_class), {"model": wanted.model, "keep": wanted.keep})
    return rule


def keep_for_ever(tx: Tx, data_class: DataClass, model: str = ALL_MODELS) -> None:
    """Take a rule away.

    Raises:
        NotFound: there is none.
    """
    if not tables.drop(tx, data_class, model):
        raise NotFound("there is no such rule", where=f"retention/{data_class}", fix="headrace retention show")
    events.append(tx, "serving.retention_dropped", _subject(data_class), {"model": model})


def rules(tx: Tx) -> list[Rule]:
    """All rules; what has none is kept."""
    return tables.rules(tx)


def erase(tx: Tx, wanted: Erase) -> str:
    """Have a worker remove all predictions about an entity, with their labels and feedback; returns the job's id.

    Raises:
        InvalidInput: the entity cannot be one.
    """
    if "\x00" in wanted.key or (isinstance(wanted.value, str) and "\x00" in wanted.value):
        raise InvalidInput("an entity holds no NUL", where="value")
    entity = msgspec.json.encode({wanted.key: wanted.value}).decode()
    events.append(tx, "serving.erasure_requested", f"entity/{wanted.key}", {"key": wanted.key})
    request = RemoveRequest(entity=entity, asked_at=tx.now)
    # Not at once: what was just answered is still in a gateway's memory, and no file tells of it.
    return jobs.enqueue(tx, REMOVE, request, lane=REMOVE.name, not_before=tx.now + HANDED_IN)


def is_due(tx: Tx) -> bool:
    """Whether there are rules that nobody has been asked this hour to obey."""
    return jobs.by_key(tx, _key(tx)) is None and bool(tables.rules(tx))


def ask(tx: Tx) -> None:
    """Have a worker remove what has been kept for long enough."""
    expiries = tuple(
        Expiry(data_class=rule.data_class, model=rule.model, before=_before(tx, rule)) for rule in tables.rules(tx)
    )
    jobs.enqueue(tx, REMOVE, RemoveRequest(expiries=expiries), key=_key(tx), lane=REMOVE.name)


def settle(tx: Tx, job: Job, result: Removed) -> None:
    """Remove from the database what went from the lake, and record it."""
    request = msgspec.json.decode(job.payload, type=RemoveRequest)
    said = [expiry for expiry in request.expiries if expiry.data_class is DataClass.FEEDBACK]
    own = [expiry.model for expiry in said if expiry.model != ALL_MODELS]
    feedback = tables.forget_feedback_on(tx, result.prediction_ids)
    for expiry in said:
        model = None if expiry.model == ALL_MODELS else expiry.model
        feedback += tables.forget_feedback(tx, before=expiry.before, model=model, but_of=own)
    erased = request.entity is not None
    if result.gone or feedback or (erased and not result.unfinished):
        gone = [msgspec.to_builtins(gone) for gone in result.gone]
        kind = "serving.entity_erased" if erased else "serving.rows_expired"
        events.append(tx, kind, f"job/{job.id}", {"gone": gone, "feedback": feedback})
    if set(result.held) - set(request.held):  # once for each: an erasure comes by again and again
        events.append(tx, "serving.erasure_held_up", f"job/{job.id}", {"files": sorted(result.held)})
    if erased and result.unfinished:
        again = msgspec.structs.replace(request, told=result.prediction_ids, held=result.held)
        jobs.enqueue(tx, REMOVE, again, lane=REMOVE.name, not_before=tx.now + _pause(tx, request, result))
    elif erased:  # its files go when nobody can be reading them any more, whether or not there are rules
        jobs.enqueue(tx, REMOVE, RemoveRequest(), lane=REMOVE.name, not_before=tx.now + FILES_AFTER)


HANDLINGS = [Handling(kind=REMOVE, settle=settle)]


def _before(tx: Tx, rule: Rule) -> datetime:
    now = business_now(tx) if rule.data_class is DataClass.LABELS else tx.now
    return now - parse_window(rule.keep)


def _pause(tx: Tx, request: RemoveRequest, result: Removed) -> timedelta:
    """Until the next run of an erasure: at once for what it may remove now, else when segments have been closed."""
    if not set(request.told).issuperset(result.prediction_ids):
        return timedelta(0)
    young = not result.held and request.asked_at is not None and tx.now - request.asked_at < LONG_OPEN
    return SEGMENTS_AFTER if young else LONG_OPEN


def _subject(data_class: DataClass) -> str:
    return f"retention/{data_class}"


def _key(tx: Tx) -> str:
    return f"{REMOVE.name}/{tx.now:%Y-%m-%dT%H}"
