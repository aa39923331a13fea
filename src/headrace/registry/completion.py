"""What a version takes from the run that made it, whichever door registers it; and what is filled in afterwards.

A client may register a version in the middle of its run. So what the run tells until its end is added once the end
has come, and never changes what is there.
"""

from typing import Any, TypeVar

import msgspec

from headrace.kernel import lineage
from headrace.kernel.database import Tx
from headrace.registry.nouns import DataUse, Estimate, RegisterVersion, Version
from headrace.tracking import artifacts
from headrace.tracking import lineage as tracked
from headrace.tracking.nouns import Run

DIFF = "headrace/changes.diff"
MACHINE = "headrace/machine.json"
"""Where `hr.run` puts what differs from the commit, and the packages, among a run's files."""
DIRTY_TAG = "headrace.git.dirty"
TRAINING_SET_TAG = "headrace.training_set"
CONTEXT_TAG = "mlflow.data.context"
OF_THE_MACHINE = "system/"
"""Begins the metrics of the machine's load, which say nothing of a model."""
INPUTS_LIMIT = 100

Described = TypeVar("Described", RegisterVersion, Version)


def from_run(tx: Tx, described: Described, run: Run) -> Described:
    """The same, with what is missing taken from the run."""
    known = _known(tx, run)
    missing = {name: value for name, value in known.items() if getattr(described, name) in (None, (), {})}
    return msgspec.structs.replace(described, **missing)


def with_latecomers(tx: Tx, version: Version, run: Run) -> Version:
    """A version with what its run has told since it was registered."""
    later: dict[str, Any] = {}
    data = _data(tx, run)
    if {use.subject for use in version.data} <= {use.subject for use in data}:
        later["data"] = data
    for name, value in (("params", dict(run.params)), ("metrics", estimates(run))):
        present: dict[str, Any] = getattr(version, name)
        plain = not any(isinstance(each, Estimate) and each.low is not None for each in present.values())
        if plain and present.keys() <= value.keys():  # it was taken from the run, and not given
            later[name] = {**value, **present}
    return msgspec.structs.replace(from_run(tx, version, run), **later)


def from_training_set(tx: Tx, training_set_id: str) -> tuple[DataUse, ...]:
    """The data of a training set, as far as it is known here."""
    subject = f"training-set/{training_set_id}"
    found = lineage.find(tx, subject)
    return () if found is None or not found.about else (_training_set(subject, found.about, "training"),)


def estimates(run: Run) -> dict[str, Estimate]:
    """The latest number of each metric of a run; it has no intervals."""
    return {
        key: Estimate(value=latest.value)
        for key, latest in run.metrics.items()
        if not isinstance(latest.value, str) and not key.startswith(OF_THE_MACHINE)
    }


def _known(tx: Tx, run: Run) -> dict[str, Any]:
    """What a run tells of a version, under the names of the version's fields."""
    code = tracked.code_of(tx, run)
    diff = artifacts.named(tx, artifacts.run_owner(run.id), [DIFF]).get(DIFF)
    dirty = run.tags.get(DIRTY_TAG)
    training_set = run.tags.get(TRAINING_SET_TAG, "")
    return {
        "params": dict(run.params),
        "metrics": estimates(run),
        "data": _data(tx, run),
        "code_commit": code.commit,
        "code_dirty": None if dirty is None else dirty == "true",
        "code_diff": None if diff is None else diff.digest,
        "bundle_digest": code.bundle,
        "environment_digest": code.environment,
        "training_set_id": training_set if from_training_set(tx, training_set) else None,
    }


def _data(tx: Tx, run: Run) -> tuple[DataUse, ...]:
    inputs = run.inputs.datasets[:INPUTS_LIMIT]
    subjects = [tracked.dataset_subject(each.dataset) for each in inputs]
    known = lineage.find_all(tx, subjects)
    found = []
    for subject, each in zip(subjects, inputs, strict=True):
        context = each.tags.get(CONTEXT_TAG, "")
        if subject.startswith("dataset/"):
            found.append(DataUse(subject=subject, digest=each.dataset.digest, context=context))
        elif subject in known and known[subject].about:
            found.append(_training_set(subject, known[subject].about, context))
    return tuple(found)


def _training_set(subject: str, about: dict[str, Any], context: str) -> DataUse:
    return DataUse(
        subject=subject,
        digest=str(about.get("content_digest", "")),
        tables=tuple(about.get("tables", ())),
        context=context,
    )
