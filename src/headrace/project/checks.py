"""Checks of a training set, made before a model is trained on it."""

from headrace.project.declaration import Declaration


class SchemaCheck(Declaration, frozen=True, tag="schema", tag_field="kind"):
    """The columns, their order and their types are those that the declarations promise."""


class CompletenessCheck(Declaration, frozen=True, tag="completeness", tag_field="kind"):
    """In every feature at least `minimum` of the rows have a value; fraction, 0 to 1."""

    minimum: float = 0.99

    def _check(self) -> None:
        self._check_number("minimum", above=0, at_most=1, fix="Use a fraction above 0 and up to 1: 0.99.")


class StableDistributionCheck(Declaration, frozen=True, tag="stable_distribution", tag_field="kind"):
    """Training rows and hold-out rows come from one distribution.

    A two-sample test on each feature at a family-wise error rate of `alpha` tells a broken split or a leaking
    join. It does not compare with production: a drift is a reason to retrain, not to refuse the training set.
    """

    alpha: float = 0.001

    def _check(self) -> None:
        self._check_error_rate("alpha")


Check = SchemaCheck | CompletenessCheck | StableDistributionCheck


def schema() -> SchemaCheck:
    """The training set has exactly the declared columns with their types."""
    return SchemaCheck()


def completeness(minimum: float = 0.99) -> CompletenessCheck:
    """Every feature has a value in at least this fraction of the rows."""
    return CompletenessCheck(minimum)


def stable_distribution(*, alpha: float = 0.001) -> StableDistributionCheck:
    """Training and hold-out rows come from one distribution, tested at a family-wise error rate of alpha."""
    return StableDistributionCheck(alpha)
