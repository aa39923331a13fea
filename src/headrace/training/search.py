"""The search of parameters: Optuna's TPE, one trial after another, so that a seed repeats it.

Trials are judged on a split of the training rows by entity. The hold-out takes no part, since a number that was
searched for is no longer an estimate.
"""

from collections.abc import Callable, Mapping

import msgspec
import optuna

from headrace.project.search import (
    Choice,
    Dimension,
    Integers,
    LogUniform,
    ParameterValue,
    Search,
    Uniform,
)

VALIDATION_FRACTION = 0.25
"""Share of the training entities that trials are judged on."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The best trial: its parameters with the fixed ones, its value, and how many were tried."""

    params: dict[str, ParameterValue]
    value: float
    trials: int


def search_parameters(
    search: Search,
    fixed: Mapping[str, ParameterValue],
    objective: Callable[[int, dict[str, ParameterValue]], float],
) -> Found:
    """Tries parameter sets and keeps the best.

    Args:
        search: the space, the number of trials and the seed.
        fixed: values that are not searched, also when the space has them.
        objective: takes a trial's number and its parameters, gives the value to maximize.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=search.seed))

    def evaluate(trial: optuna.Trial) -> float:
        searched = {
            name: _suggest(trial, name, dimension)
            for name, dimension in sorted(search.space.items())
            if name not in fixed
        }
        return objective(trial.number, {**fixed, **searched})

    study.optimize(evaluate, n_trials=search.trials, n_jobs=1)
    best = study.best_trial
    params = {name: value for name, value in best.params.items() if name not in fixed}
    return Found(params={**fixed, **params}, value=float(study.best_value), trials=len(study.trials))


def _suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> ParameterValue:
    match dimension:
        case LogUniform(low=low, high=high):
            return trial.suggest_float(name, low, high, log=True)
        case Uniform(low=low, high=high):
            return trial.suggest_float(name, low, high)
        case Integers(low=low, high=high):
            return trial.suggest_int(name, low, high)
        case Choice(options=options):
            return trial.suggest_categorical(name, options)
