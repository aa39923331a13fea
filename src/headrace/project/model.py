"""A model: a function that trains one, with the features, the label and the delivery that belong to it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from msgspec import structs

from headrace.errors import ProjectError
from headrace.project.approval import Approval
from headrace.project.checks import Check
from headrace.project.declaration import Declaration, callers_line
from headrace.project.experiments import Rollout
from headrace.project.fallback import Fallback
from headrace.project.feature_view import FeatureView
from headrace.project.fitted import Fitted
from headrace.project.gates import Gate, columns_of
from headrace.project.label import Label
from headrace.project.monitors import Monitor
from headrace.project.params import Params
from headrace.project.policy import DeliveryPolicy
from headrace.project.retrain import Retrain
from headrace.project.rollout import Canary
from headrace.project.search import ParameterValue, Search
from headrace.project.shadow import Shadow
from headrace.project.staging import Replay
from headrace.project.training_set import TrainingSet

OWN_COLUMNS = frozenset({"as_of", "holdout"})
"""Columns that a training set has besides the key, the features and the label."""

TrainFunction = Callable[[TrainingSet, Params], Fitted]


class ModelDeclaration(Declaration, frozen=True):
    """A model as it is declared: all but the code, which the project's bundle carries.

    Args:
        name: the model's name, such as "churn".
        features: the views that give the columns, in order.
        label: what is foretold.
        task: "binary": the model answers with the probability of class 1.
        params: default parameters by name.
        policy: how versions reach production.
        function: the name of the training function in the project file.
        unknown_fields: whether requests with fields that the model does not have are refused, or those ignored.
        missing_fields: whether requests that lack a field are refused, or it is null.
    """

    name: str
    features: Sequence[FeatureView]
    label: Label
    task: Literal["binary"] = "binary"
    params: Mapping[str, ParameterValue] = {}
    policy: DeliveryPolicy = DeliveryPolicy(declared_at="default")
    function: str = ""
    unknown_fields: Literal["refuse", "ignore"] = "refuse"
    missing_fields: Literal["refuse", "null"] = "refuse"

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The columns of the model's input, in order."""
        return tuple(name for view in self.features for name in view.features)

    def _check(self) -> None:
        self._check_name("a model", self.name)
        if not isinstance(self.features, list | tuple) or not self.features:
            self._refuse("a model needs a list of feature views", fix="Write features=[customer_activity].")
        self._replace("features", tuple(self.features))
        self._check_kind("label", Label, "hr.Label")
        if self.task != "binary":
            self._refuse(f"the task {self.task!r} is not known", fix='Use task="binary".')
        if self.unknown_fields not in {"refuse", "ignore"}:
            self._refuse("unknown fields are refused or ignored", fix='Use unknown_fields="ignore".')
        if self.missing_fields not in {"refuse", "null"}:
            self._refuse("missing fields are refused or null", fix='Use missing_fields="null".')
        seen: dict[str, str] = {}
        for view in self.features:
            if not isinstance(view, FeatureView):
                self._refuse(
                    f"{view!r} is not a feature view", fix="Pass the hr.FeatureView objects of the project."
                )
            if view.entity.name != self.label.entity.name:
                self._refuse(
                    f"feature view {view.name} is about {view.entity.name}, label {self.label.name} about "
                    f"{self.label.entity.name}",
                    fix="Use views and a label of one entity.",
                )
            for name in view.features:
                if name in seen:
                    self._refuse(
                        f"feature {name} comes from both {seen[name]} and {view.name}", fix="Rename one of the two."
                    )
                seen[name] = view.name
        self._check_columns([*seen, self.label.name])
        self._check_gates(seen)
        for name, value in self.params.items():
            self._check_name("a parameter", name)
            if value is not None and not isinstance(value, str | int | float | bool):
                self._refuse(
                    f"the default of {name} cannot be logged", fix="Use a string, a number, a boolean or None."
                )

    def _check_columns(self, names: Sequence[str]) -> None:
        for place, name in enumerate(names):
            if name in {*OWN_COLUMNS, self.label.entity.key, *names[:place]}:
                self._refuse(
                    f"two columns of the training set would be called {name!r}",
                    fix="Rename the label or the feature of that name.",
                )

    def _check_gates(self, features: Mapping[str, str]) -> None:
        for column in (column for gate in self.policy.gates for column in columns_of(gate)):
            if column.source is None and column.name not in features:
                raise ProjectError(
                    f"model {self.name} has no feature {column.name!r} to group rows by",
                    where=column.declared_at or None,
                    fix=f'Name a feature, or say where the column is: hr.column("{column.name}", source=...).',
                )


class Model:
    """A training function with its declaration; what `@hr.model` makes of a function.

    Calling it trains, as the function itself would.
    """

    def __init__(self, function: TrainFunction, declaration: ModelDeclaration) -> None:
        self._function = function
        self._declaration = declaration
        self.__doc__ = function.__doc__
        self.__name__ = declaration.function

    @property
    def name(self) -> str:
        """The model's name."""
        return self._declaration.name

    @property
    def declaration(self) -> ModelDeclaration:
        """The model as it is declared, with its policy."""
        return self._declaration

    def __call__(self, data: TrainingSet, params: Params) -> Fitted:
        """Trains on the data with the parameters."""
        return self._function(data, params)

    def delivered_by(
        self,
        *,
        checks: Sequence[Check] = (),
        search: Search | None = None,
        gates: Sequence[Gate] = (),
        staging: Replay | None = None,
        approval: Approval | None = None,
        shadow: Shadow | None = None,
        rollout: Rollout | None = None,
        fallback: Fallback | None = None,
        monitors: Sequence[Monitor] = (),
        retrain: Retrain | None = None,
        alerts: Sequence[str] = (),
        holdout_uses: int = 10,
    ) -> None:
        """Declares how versions of the model reach production and what watches them there."""
        declared_at = callers_line()
        if self._declaration.policy.declared_at != "default":
            raise ProjectError(
                f"model {self.name} is delivered twice, first at {self._declaration.policy.declared_at}",
                where=declared_at,
                fix="Keep one delivered_by.",
            )
        policy = DeliveryPolicy(
            checks=checks,
            search=search,
            gates=gates,
            staging=staging,
            approval=approval,
            shadow=shadow,
            rollout=rollout or Canary(declared_at="default"),
            fallback=fallback or Fallback(declared_at="default"),
            monitors=monitors,
            retrain=retrain,
            alerts=alerts,
            holdout_uses=holdout_uses,
            declared_at=declared_at,
        )
        self._declaration = structs.replace(self._declaration, policy=policy)

    def __repr__(self) -> str:
        return f"Model({self.name!r}, declared at {self._declaration.declared_at})"


def model(
    name: str,
    *,
    features: Sequence[FeatureView],
    label: Label,
    task: Literal["binary"] = "binary",
    params: Mapping[str, ParameterValue] | None = None,
    unknown_fields: Literal["refuse", "ignore"] = "refuse",
    missing_fields: Literal["refuse", "null"] = "refuse",
) -> Callable[[TrainFunction], Model]:
    """Declares that the decorated function trains a model.

    The function takes a `TrainingSet` and `Params` and returns `Fitted`.

    Args:
        name: the model's name.
        features: the views that give the columns, in order.
        label: what is foretold.
        task: "binary".
        params: default parameters by name.
        unknown_fields: what becomes of a request with fields that the model does not have: it is refused, or they
            are ignored.
        missing_fields: what becomes of a request that lacks a field: it is refused, or the field is null.

    Raises:
        ProjectError: the declaration cannot be meant; names file and line.
    """
    declared_at = callers_line()
    declaration = ModelDeclaration(
        name,
        features,
        label,
        task,
        dict(params or {}),
        unknown_fields=unknown_fields,
        missing_fields=missing_fields,
        declared_at=declared_at,
    )

    def decorate(function: TrainFunction) -> Model:
        function_name: object = getattr(function, "__name__", None)
        if not isinstance(function_name, str):
            raise ProjectError("@hr.model decorates a function", where=declared_at, fix="Put it above a def.")
        return Model(function, structs.replace(declaration, function=function_name))

    return decorate
