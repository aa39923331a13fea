"""Retraining: an alarm begins one training, on data that show the change, judged on data that it has not seen."""

from datetime import datetime

import msgspec

from headrace.delivery import cohorts, pipelines, policies, tables
from headrace.errors import Conflict, NotFound
from headrace.kernel import business_time, events
from headrace.kernel.database import Tx
from headrace.kernel.events import Event

ACTOR = "system"


def on_alert_opened(tx: Tx, event: Event) -> None:
    """Begin a retraining if the model's policy asks for one, none is under way, and the cooldown is over.

    Every alarm of a model that retrains leaves a trace: the pipeline that it began, or why it began none.
    """
    model, monitor = str(event.payload["model"]), str(event.payload["monitor"])
    own = tx.acting_as(ACTOR)
    try:
        declared = policies.project_of(own, model)
    except (NotFound, Conflict):
        return
    retrain = declared.declaration.policy.retrain
    if retrain is None or monitor not in retrain.on:
        return
    problem = _why_not(own, model, retrain.cooldown_duration.total_seconds())
    if problem is not None:
        events.append(
            own,
            "delivery.retraining_skipped",
            f"model/{model}",
            {"model": model, "monitor": monitor, "alert_event": event.id, "because": problem},
        )
        return
    window_end = msgspec.convert(event.payload["window_end"], datetime)
    moments = cohorts.for_retraining(window_end, declared.declaration.label.maturity)
    pipelines.begin(own, declared, moments, trigger=monitor, release=True, key=f"delivery.retraining/{event.id}")


def _why_not(tx: Tx, model: str, cooldown_s: float) -> str | None:
    under_way = tables.unfinished_retraining(tx, model)
    if under_way is not None:
        return f"retraining {under_way} is under way"
    last = tables.last_retraining_at(tx, model)
    if last is not None and (business_time.business_now(tx) - last).total_seconds() < cooldown_s:
        return f"the last retraining began at {last:%Y-%m-%d %H:%M}, within the cooldown"
    return None
