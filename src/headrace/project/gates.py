"""Gates: what a version must prove before it may go further. Each is a verdict with a stated error rate."""

from headrace.project.declaration import Declaration
from headrace.project.metrics import require_metric


class AtLeast(Declaration, frozen=True, tag="at_least", tag_field="kind"):
    """An absolute floor: the lower end of the metric's confidence interval is at least `value`."""

    metric: str
    value: float
    alpha: float = 0.05

    def _check(self) -> None:
        require_metric(self.metric, where=self.declared_at, higher_is_better=True)
        self._check_number("value", at_least=0, at_most=1, fix=f"{self.metric} lies between 0 and 1.")
        self._check_error_rate("alpha")


class NotWorseThanProduction(Declaration, frozen=True, tag="not_worse_than_production", tag_field="kind"):
    """Non-inferiority to the production version on the same rows: the interval of the difference excludes -margin.

    A first version has no production version to compare with; the gate then says so and passes.
    """

    metric: str
    margin: float
    alpha: float = 0.05

    def _check(self) -> None:
        require_metric(self.metric, where=self.declared_at)
        self._check_number(
            "margin",
            above=0,
            below=1,
            fix="Use a small positive number, the loss that you would accept: margin=0.005.",
        )
        self._check_error_rate("alpha")


Gate = AtLeast | NotWorseThanProduction


def at_least(metric: str, value: float, *, alpha: float = 0.05) -> AtLeast:
    """The metric is at least this value, with confidence 1 - alpha."""
    return AtLeast(metric, value, alpha)


def not_worse_than_production(metric: str, *, margin: float, alpha: float = 0.05) -> NotWorseThanProduction:
    """The metric is not worse than production's by more than the margin, with confidence 1 - alpha."""
    return NotWorseThanProduction(metric, margin, alpha)
