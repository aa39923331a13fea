"""Runs and logged models in the graph of lineage: there once a version came from them, with all that they read.

Most runs lead to no version; what they read is in tracking's own tables, and logging costs nothing more.
"""

import re
from typing import NamedTuple

from headrace.kernel import lineage
from headrace.kernel.database import Tx
from headrace.kernel.lineage import Link
from headrace.tracking import artifacts, logged_models, tables_runs
from headrace.tracking.nouns import Dataset, Run
from headrace.tracking.tables_runs import RunRow

COMMIT_TAG = "mlflow.source.git.commit"
PARENT_TAG = "mlflow.parentRunId"
BUNDLE_TAG = "headrace.bundle"
ENVIRONMENT_TAG = "headrace.environment"
OURS = "headrace"
"""The source type of a dataset that is a subject of lineage itself, such as a training set."""
MOST = 100
"""How many runs and logged models one registration takes along, parents and models that were read included."""

_COMMIT = re.compile(r"[0-9a-f]{7,64}")


class Code(NamedTuple):
    """Which code a run ran, as far as it says so."""

    commit: str | None = None
    bundle: str | None = None
    environment: str | None = None


def dataset_subject(dataset: Dataset) -> str:
    """The name of a dataset in the graph; one of ours is called what it is."""
    if dataset.source_type == OURS and "/" in dataset.source:
        return dataset.source
    return f"dataset/{dataset.name}@{dataset.digest}"


def code_of(tx: Tx, run: Run) -> Code:
    """The code that a run's tags name; a bundle and an environment only if they are known here."""
    commit = run.tags.get(COMMIT_TAG, "").lower()
    named = {tag: run.tags.get(tag, "") for tag in (BUNDLE_TAG, ENVIRONMENT_TAG)}
    subjects = {BUNDLE_TAG: f"bundle/{named[BUNDLE_TAG]}", ENVIRONMENT_TAG: f"environment/{named[ENVIRONMENT_TAG]}"}
    known = lineage.find_all(tx, [subjects[tag] for tag, name in named.items() if name])
    return Code(
        commit=commit if _COMMIT.fullmatch(commit) else None,
        bundle=named[BUNDLE_TAG] if subjects[BUNDLE_TAG] in known else None,
        environment=named[ENVIRONMENT_TAG] if subjects[ENVIRONMENT_TAG] in known else None,
    )


def enter_run(tx: Tx, run: Run) -> str:
    """Put a run into the graph with what it read and ran; again adds what is new. Returns its name there."""
    subject = artifacts.run_owner(run.id)
    _Entering(tx).run(run)
    return subject


def enter_model(tx: Tx, model_id: str) -> str:
    """Put a logged model into the graph with the run that made it; returns its name there."""
    _Entering(tx).model(model_id)
    return artifacts.model_owner(model_id)


def renew(tx: Tx, row: RunRow) -> None:
    """Add what a run has read since it came into the graph; nothing happens to one that is not there."""
    if lineage.find(tx, artifacts.run_owner(row.id)) is not None:
        enter_run(tx, tables_runs.read_run(tx, row.number))


class _Entering:
    """One entry, with all that is taken along."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._seen: set[str] = set()

    def run(self, run: Run) -> None:
        subject = artifacts.run_owner(run.id)
        if subject in self._seen or len(self._seen) >= MOST:
            return
        self._seen.add(subject)
        code = code_of(self._tx, run)
        upstream = [(dataset_subject(each.dataset), "read by") for each in run.inputs.datasets]
        ours = [name for name, _ in upstream if not name.startswith("dataset/")]
        known = lineage.find_all(self._tx, ours) if ours else {}
        upstream = [each for each in upstream if each[0].startswith("dataset/") or each[0] in known]
        upstream += [(artifacts.model_owner(model_id), "read by") for model_id in run.inputs.models]
        if code.bundle:
            upstream.append((f"bundle/{code.bundle}", "run by"))
        else:  # a bundle has its commit and its environment above it
            upstream += [(f"commit/{code.commit}", "run by")] if code.commit else []
            upstream += [(f"environment/{code.environment}", "used by")] if code.environment else []
        parent = run.tags.get(PARENT_TAG)
        row = tables_runs.find_run(self._tx, parent) if parent else None
        if row is not None:
            upstream.append((artifacts.run_owner(row.id), "began"))
        about = {"name": run.name, "experiment": run.experiment_id, "user": run.user}
        lineage.enter(self._tx, subject, about)
        lineage.connect(self._tx, [Link(name, relation, subject) for name, relation in upstream])
        for model_id in run.inputs.models:
            self.model(model_id)
        if row is not None:
            self.run(tables_runs.read_run(self._tx, row.number))

    def model(self, model_id: str) -> None:
        subject = artifacts.model_owner(model_id)
        model = logged_models.find(self._tx, model_id)
        if subject in self._seen or model is None or len(self._seen) >= MOST:
            return
        self._seen.add(subject)
        lineage.enter(self._tx, subject, {"name": model.name, "experiment": model.experiment_id})
        row = tables_runs.find_run(self._tx, model.source_run_id) if model.source_run_id else None
        if row is not None:
            lineage.connect(self._tx, [Link(artifacts.run_owner(row.id), "logged", subject)])
            self.run(tables_runs.read_run(self._tx, row.number))
