"""Monitors: what is watched in production, how often, and how often an alarm may be false."""

from headrace.project.declaration import Declaration
from headrace.project.metrics import require_metric
from headrace.project.schedule import require_cron

MONTHLY = "0 0 1 * *"


class DriftMonitor(Declaration, frozen=True, tag="drift", tag_field="kind"):
    """Features of the served requests against the version's reference profile.

    Args:
        every: cron line in business time; a window ends at each firing and begins at the one before.
        alpha: the chance that a window without drift raises an alarm, over all features together.
        minimum_distance: a difference of the distributions below this is no alarm, however significant; KS, 0 to 1.
    """

    every: str = MONTHLY
    alpha: float = 0.01
    minimum_distance: float = 0.1

    def _check(self) -> None:
        require_cron(self.every, where=self.declared_at)
        self._check_error_rate("alpha")
        self._check_number("minimum_distance", at_least=0, below=1, fix="Use 0 or more and below 1: 0.1.")


class QualityMonitor(Declaration, frozen=True, tag="quality", tag_field="kind"):
    """Faults, and missing and non-finite values and unseen categories of the served requests.

    Numbers beyond the range of the training data are drift's business: they move its distributions.

    Args:
        every: cron line in business time.
        tolerance: how far a fraction may rise above the reference profile's; fraction, 0 to 1.
    """

    every: str = MONTHLY
    tolerance: float = 0.02

    def _check(self) -> None:
        require_cron(self.every, where=self.declared_at)
        self._check_number("tolerance", at_least=0, below=1, fix="Use 0 or more and below 1: 0.02.")


class PerformanceMonitor(Declaration, frozen=True, tag="performance", tag_field="kind"):
    """A metric on the predictions whose labels have matured, against the version's own at registration.

    Args:
        metric: the metric that is watched.
        every: cron line in business time.
        margin: how far the metric may fall behind before an alarm.
        alpha: the chance that a window without a fall raises an alarm.
    """

    metric: str
    every: str = MONTHLY
    margin: float = 0.05
    alpha: float = 0.01

    def _check(self) -> None:
        require_metric(self.metric, where=self.declared_at)
        require_cron(self.every, where=self.declared_at)
        self._check_number("margin", at_least=0, below=1, fix="Use 0 or more and below 1: 0.05.")
        self._check_error_rate("alpha")


Monitor = DriftMonitor | QualityMonitor | PerformanceMonitor


def drift(*, every: str = MONTHLY, alpha: float = 0.01, minimum_distance: float = 0.1) -> DriftMonitor:
    """Watch the features of the served requests for drift."""
    return DriftMonitor(every, alpha, minimum_distance)


def quality(*, every: str = MONTHLY, tolerance: float = 0.02) -> QualityMonitor:
    """Watch for faults, missing and non-finite values and unseen categories."""
    return QualityMonitor(every, tolerance)


def performance(
    metric: str, *, every: str = MONTHLY, margin: float = 0.05, alpha: float = 0.01
) -> PerformanceMonitor:
    """Watch a metric as labels mature."""
    return PerformanceMonitor(metric, every, margin, alpha)
