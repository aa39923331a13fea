"""Proof: whether the evidence on a version is what policies require, and whether a project could give it.

Evidence is judged by what was recorded with it: its verdict, its age, and the declaration that it was judged by.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from headrace.project.binding import Judge
from headrace.project.durations import parse_duration
from headrace.registry import bounds, rules
from headrace.registry.bounds import Bounds
from headrace.registry.nouns import Evidence
from headrace.registry.rules import RequiredEvidence

COMPARES = "not_worse_than_production"
_OLD, _OTHER = " old, and may be ", " compares with "
_COMPARED_BY = ("margin", "slower_at_most")
"""Fields of a declaration that asks how much worse than production a version may be: its verdict is worth nothing
when another version is in production than the one compared with."""


def lacking_evidence(
    required: Iterable[RequiredEvidence],
    found: Sequence[Evidence],
    now: datetime,
    production: int | None = None,
    asked_by: str = "",
) -> list[str]:
    """What required evidence a version has not got, a line each.

    Args:
        required: what is asked for.
        found: what is known of the version, in the order of the record.
        now: the time by which it is judged.
        production: the version that is in production; None for none, and for the version itself.
        asked_by: the policy, for people.
    """
    lines = (_lacking(each, found, now, production, asked_by) for each in required)
    return [line for line in lines if line]


def _lacking(
    required: RequiredEvidence, found: Sequence[Evidence], now: datetime, production: int | None, asked_by: str
) -> str:
    """Why required evidence is not there; empty when it is.

    Of each metric the newest judgement counts, and all that is in it has to pass and to be young enough, whatever
    its bounds: a gate that was dropped or is too lax takes back nothing that it found.
    """
    what = required.what
    newest = _newest(required, found)
    if not newest:
        return f"there is no evidence of {what}"
    for each in (each for judgement in newest for each in judgement):
        if not each.verdict.passes:
            return f"the newest evidence of {what} is {each.verdict.value}: {each.summary or each.name}"
        if production not in {None, each.production_number} and _compares(each):
            other = "no version" if each.production_number is None else f"version {each.production_number}"
            return f"the evidence of {what}{_OTHER}{other}, and version {production} is in production"
    too_old = [_untimely(required, judgement[0], now) for judgement in newest] if required.max_age else []
    if any(too_old):
        return next(line for line in too_old if line)
    if required.bounds is None:
        return ""
    short = (_beyond(required, judgement, asked_by) for judgement in newest)
    return next((line for line in short if line), "")


def _compares(found: Evidence) -> bool:
    """Whether what was found is about production, too."""
    declared = found.judged_by
    return found.gate == COMPARES or any(getattr(declared, name, None) is not None for name in _COMPARED_BY)


def only_stale(lines: Sequence[str]) -> bool:
    """Whether all that is missing was there, and time or another version in production took it away."""
    return bool(lines) and all(_OLD in line or _OTHER in line for line in lines)


def _untimely(required: RequiredEvidence, found: Evidence, now: datetime) -> str:
    """Why a piece of evidence is too old, or not of this time; empty when it is."""
    about = required.what if required.metric or not found.metric else f"{required.gate} of {found.metric}"
    recorded = found.recorded_at or now
    if recorded > now + rules.CLOCK_STEP:
        return f"the evidence of {about} is dated later than now: a clock was set back"
    if recorded < now - parse_duration(required.max_age):
        return f"the evidence of {about} is {rules.age_of(now - recorded)}{_OLD}{required.max_age} old"
    return ""


def _newest(required: RequiredEvidence, found: Sequence[Evidence]) -> list[list[Evidence]]:
    """Of each metric what the newest judgement found.

    A release judges all of its gates at once, and may ask for the same of several groupings; so does whoever trains
    of a training set, by several checks.
    """
    newest: dict[str | None, list[Evidence]] = {}
    for each in found:
        if each.gate == required.gate and required.metric in {None, each.metric}:
            before = newest.get(each.metric, [])
            same = before and _judgement(each) is not None and _judgement(before[0]) == _judgement(each)
            newest[each.metric] = [*before, each] if same else [each]
    return list(newest.values())


def _judgement(found: Evidence) -> tuple[str, int] | None:
    """What tells which pieces of evidence were found together; None for one by itself."""
    if found.release_id:
        return found.release_id, found.attempt
    training_set = found.details.get("training_set_id") if found.kind == "check" else None
    return (str(training_set), 0) if training_set else None


def _beyond(required: RequiredEvidence, judgement: Sequence[Evidence], asked_by: str) -> str:
    """In what respect nothing in a judgement is within the bounds, told of what comes closest; empty when it is."""
    told = [_short_of(required, each, asked_by) for each in judgement]
    return min(told)[1] if all(number for number, _ in told) else ""


def _short_of(required: RequiredEvidence, found: Evidence, asked_by: str) -> tuple[int, str]:
    """How many bounds a piece of evidence falls short of, by what it was judged by, and which they are."""
    asked = required.bounds or Bounds()
    asks = f"the policy {asked_by} asks for" if asked_by else "asked for is"
    evidence = f"the evidence of {required.what}"
    declared = found.judged_by
    entities = found.details.get("entities")
    rests_on = {"rows": found.sample_size, "entities": entities if isinstance(entities, int) else None}
    few = bounds.too_few(asked, **rests_on)
    parts = [f"rests on {rests_on[name] or 0:,} {name}, and {asks} {asked.asked[name]:,}" for name in few]
    short = [name for name in asked.asked if name not in bounds.OF_THE_ROWS]
    if declared is None and short:
        parts.append(f"does not say what it was judged by, and {asks} {asked.says}")
    elif declared is not None and (short := bounds.laxer(declared, asked)):
        was, wanted = bounds.words_of(declared, short), bounds.words(asked.asked, short)
        parts.append(f"was judged by {was}, and {asks} no laxer than {wanted}")
    return len(few) + len(short), f"{evidence} {'; it '.join(parts)}" if parts else ""


def without_proof(
    required: Iterable[RequiredEvidence], declared: Sequence[Judge], asked_by: str = ""
) -> list[tuple[RequiredEvidence, str]]:
    """What required evidence the declarations of a project cannot give, and why, a line each.

    On how many rows a verdict will rest is not known before it is there.
    """
    told = ((each, _undeclared(each, declared, asked_by)) for each in required)
    return [(each, line) for each, line in told if line]


def _undeclared(required: RequiredEvidence, declared: Sequence[Judge], asked_by: str) -> str:
    alike: dict[str | None, list[Judge]] = {}
    for each in declared:
        metric = bounds.metric_of(each)
        if bounds.kind_of(each) == required.gate and required.metric in {None, metric}:
            alike.setdefault(metric, []).append(each)
    asks = f"the policy {asked_by} asks for" if asked_by else "asked for is"
    if not alike:
        return f"nothing declares {required.what}, and {asks} it"
    asked = required.bounds or Bounds()
    for judges in alike.values():
        short, closest = min(((bounds.laxer(each, asked), each) for each in judges), key=lambda pair: len(pair[0]))
        if short:
            at = f" ({closest.declared_at})" if closest.declared_at else ""
            was, wanted = bounds.words_of(closest, short), bounds.words(asked.asked, short)
            return f"{required.what} is declared with {was}{at}, and {asks} no laxer than {wanted}"
    return ""
