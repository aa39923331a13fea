"""The training subprocess: `python -m headrace.training.process ASSIGNMENT`.

The only process that runs a project's code on training data. It has no token and no network to speak of: it
reads an assignment and files beside it, and tells what it does in messages.
"""

import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.errors import HeadraceError, InternalError, InvalidInput
from headrace.project.environment import capture_environment
from headrace.project.loading import load_project
from headrace.project.metrics import HIGHER_IS_BETTER
from headrace.project.search import ParameterValue
from headrace.project.training_set import TrainingSet
from headrace.training.confinement import confine, take_standard_output
from headrace.training.messages import (
    Assignment,
    Failed,
    Finished,
    FitStarted,
    Message,
    TrialFinished,
    TrialStarted,
)
from headrace.training.metrics import binary_metric
from headrace.training.model_directory import export_model
from headrace.training.search import VALIDATION_FRACTION, Found, search_parameters
from headrace.training.user_code import Trainer

CHECKED_ROWS = 1_000
"""Hold-out rows on which the exported model is compared with the trained one."""

BACKGROUND_ROWS = 100
"""Training rows that stay beside the model, for explanations to compare with."""

Tell = Callable[[Message], None]


def main(assignment_file: Path) -> int:
    """Trains what the assignment says; 0 when the model directory is written."""
    messages = take_standard_output()

    def tell(message: Message) -> None:
        messages.write(msgspec.json.encode(message) + b"\n")

    try:
        assignment = msgspec.json.decode(assignment_file.read_bytes(), type=Assignment)
        confine(assignment.parent)
        tell(train(assignment, tell))
    except HeadraceError as error:
        traceback.print_exc()
        tell(Failed(code=error.code, message=error.message, where=error.where, fix=error.fix))
        return 1
    except Exception as error:  # noqa: BLE001 - the worker must hear of every end
        traceback.print_exc()
        tell(
            Failed(
                code=InternalError.code,
                message=f"training failed with {type(error).__name__}: {error}",
                where=None,
                fix="Report it with the run's artifact training.log.",
            )
        )
        return 1
    return 0


def train(assignment: Assignment, tell: Tell) -> Finished:
    """Searches, trains on all training rows, measures on the hold-out and writes the model directory.

    Raises:
        UserCodeError: the training function raised or returned what is not a model.
        InvalidInput: the training set cannot train a binary model.
        PolicyRefused: the model holds types that nobody has reviewed.
    """
    project = load_project(Path(assignment.project_file))
    trainer = Trainer(project.model(assignment.declaration.name), project.root)
    rows, holdout = read_training_set(assignment)
    found = _search(assignment, trainer, rows, tell)
    tell(FitStarted(params=found.params))
    fitted = trainer.train(rows, found.params)
    scores = trainer.score(fitted.estimator, holdout.features)
    exported = export_model(
        fitted.estimator,
        names=rows.names,
        sample=holdout.features[:CHECKED_ROWS],
        directory=Path(assignment.model_directory),
        environment=capture_environment(),
        nullable=[name for name, column in zip(rows.names, rows.features.T, strict=True) if np.isnan(column).any()],
        background=_sample(rows.features),
    )
    metrics = {f"holdout_{name}": binary_metric(name, holdout.label, scores) for name in sorted(HIGHER_IS_BETTER)}
    return Finished(
        params=found.params,
        metrics={**{name: float(value) for name, value in fitted.metrics.items()}, **metrics},
        signature=exported.signature,
        trials=found.trials,
        search_value=found.value if found.trials else None,
    )


def _sample(features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rows spread over all of them, as they lie."""
    count = min(len(features), BACKGROUND_ROWS)
    return features[np.linspace(0, len(features) - 1, count).astype(np.intp)]


def read_training_set(assignment: Assignment) -> tuple[TrainingSet, TrainingSet]:
    """The training rows and the hold-out.

    Raises:
        InvalidInput: one of the two has only one outcome.
    """
    table = pq.read_table(assignment.training_set)
    parts = (table.filter(pa.compute.invert(table["holdout"])), table.filter(table["holdout"]))
    for name, part in zip(("training rows", "hold-out"), parts, strict=True):
        outcomes = sorted(set(part[assignment.label].to_pylist()))
        if outcomes != [0, 1]:
            raise InvalidInput(
                f"the {len(part)} {name} have the outcomes {outcomes}, a binary model needs 0 and 1",
                where=assignment.label,
                fix="Train as of a time at which both outcomes occur, and keep more rows for the hold-out.",
            )
    training, holdout = (_arrays(assignment, part) for part in parts)
    return training, holdout


def _arrays(assignment: Assignment, table: pa.Table) -> TrainingSet:
    columns = [table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in assignment.features]
    return TrainingSet(
        features=np.column_stack(columns),
        names=assignment.features,
        label=table[assignment.label].to_numpy().astype(np.int64),
        entities=table[assignment.entity_key].to_numpy(zero_copy_only=False),
    )


def _search(assignment: Assignment, trainer: Trainer, rows: TrainingSet, tell: Tell) -> Found:
    search = assignment.declaration.policy.search
    defaults = dict(assignment.declaration.params)
    if search is None:
        return Found(params={**defaults, **assignment.params}, value=float("nan"), trials=0)
    unsearched = {name: value for name, value in defaults.items() if name not in search.space}
    training, validation = rows.split(VALIDATION_FRACTION, seed=search.seed)

    def objective(number: int, params: dict[str, ParameterValue]) -> float:
        tell(TrialStarted(number=number, params=params))
        fitted = trainer.train(training, params)
        scores = trainer.score(fitted.estimator, validation.features)
        value = binary_metric(search.maximize, validation.label, scores)
        tell(TrialFinished(number=number, metric=search.maximize, value=value))
        return value

    return search_parameters(search, {**unsearched, **assignment.params}, objective)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
