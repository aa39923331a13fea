"""Headrace: the channel from notebook to production.

What users import: `import headrace as hr`. Names are resolved on first use, so that the import costs nothing
that a project file does not need; editors and type checkers see the real definitions below.
"""

import importlib
from typing import TYPE_CHECKING

from headrace.version import VERSION

if TYPE_CHECKING:
    from headrace.project.approval import Approval as Approval
    from headrace.project.checks import completeness as completeness
    from headrace.project.checks import schema as schema
    from headrace.project.checks import stable_distribution as stable_distribution
    from headrace.project.column import column as column
    from headrace.project.entity import Entity as Entity
    from headrace.project.experiments import ABTest as ABTest
    from headrace.project.experiments import Bandit as Bandit
    from headrace.project.fallback import Fallback as Fallback
    from headrace.project.feature import age_of_first as age_of_first
    from headrace.project.feature import age_of_last as age_of_last
    from headrace.project.feature import count as count
    from headrace.project.feature import maximum as maximum
    from headrace.project.feature import mean as mean
    from headrace.project.feature import minimum as minimum
    from headrace.project.feature import sum as sum  # noqa: A004 - the word of the trade; used as hr.sum
    from headrace.project.feature_view import FeatureView as FeatureView
    from headrace.project.fitted import Fitted as Fitted
    from headrace.project.gates import at_least as at_least
    from headrace.project.gates import at_most as at_most
    from headrace.project.gates import calibrated as calibrated
    from headrace.project.gates import fair as fair
    from headrace.project.gates import latency as latency
    from headrace.project.gates import not_worse_than_production as not_worse_than_production
    from headrace.project.gates import size as size
    from headrace.project.gates import slices as slices
    from headrace.project.label import Label as Label
    from headrace.project.label import none_within as none_within
    from headrace.project.model import model as model
    from headrace.project.monitors import drift as drift
    from headrace.project.monitors import performance as performance
    from headrace.project.monitors import quality as quality
    from headrace.project.paired import PairedLoss as PairedLoss
    from headrace.project.params import Params as Params
    from headrace.project.retrain import Retrain as Retrain
    from headrace.project.rollout import Canary as Canary
    from headrace.project.search import Search as Search
    from headrace.project.search import choice as choice
    from headrace.project.search import integers as integers
    from headrace.project.search import log_uniform as log_uniform
    from headrace.project.search import uniform as uniform
    from headrace.project.shadow import Shadow as Shadow
    from headrace.project.source import Source as Source
    from headrace.project.staging import replay as replay
    from headrace.project.training_set import TrainingSet as TrainingSet
    from headrace.sdk.connect import connect as connect
    from headrace.sdk.run import ActiveRun as ActiveRun
    from headrace.sdk.run import run as run
    from headrace.sdk.scoring import score as score
    from headrace.sdk.telling import feedback as feedback

__version__ = VERSION

_HOMES = {
    "ABTest": "project.experiments",
    "ActiveRun": "sdk.run",
    "Approval": "project.approval",
    "Bandit": "project.experiments",
    "Canary": "project.rollout",
    "Entity": "project.entity",
    "Fallback": "project.fallback",
    "FeatureView": "project.feature_view",
    "Fitted": "project.fitted",
    "Label": "project.label",
    "PairedLoss": "project.paired",
    "Params": "project.params",
    "Retrain": "project.retrain",
    "Search": "project.search",
    "Shadow": "project.shadow",
    "Source": "project.source",
    "TrainingSet": "project.training_set",
    "age_of_first": "project.feature",
    "age_of_last": "project.feature",
    "at_least": "project.gates",
    "at_most": "project.gates",
    "calibrated": "project.gates",
    "choice": "project.search",
    "column": "project.column",
    "completeness": "project.checks",
    "connect": "sdk.connect",
    "count": "project.feature",
    "drift": "project.monitors",
    "fair": "project.gates",
    "feedback": "sdk.telling",
    "integers": "project.search",
    "latency": "project.gates",
    "log_uniform": "project.search",
    "maximum": "project.feature",
    "mean": "project.feature",
    "minimum": "project.feature",
    "model": "project.model",
    "none_within": "project.label",
    "not_worse_than_production": "project.gates",
    "performance": "project.monitors",
    "quality": "project.monitors",
    "replay": "project.staging",
    "run": "sdk.run",
    "schema": "project.checks",
    "score": "sdk.scoring",
    "size": "project.gates",
    "slices": "project.gates",
    "stable_distribution": "project.checks",
    "sum": "project.feature",
    "uniform": "project.search",
}
"""The module, below this package, that defines each public name."""


if not TYPE_CHECKING:  # a type checker would take any name for granted, typing errors included

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'headrace' has no attribute {name!r}")
        value: object = getattr(importlib.import_module(f"headrace.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
