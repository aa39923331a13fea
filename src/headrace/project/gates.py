"""Gates: what a version must prove before it may go further. Each is a verdict with a stated error rate."""

from collections.abc import Sequence
from typing import Literal

from headrace.project.column import MOST_COLUMNS, Column
from headrace.project.declaration import Declaration
from headrace.project.metrics import HIGHER_IS_BETTER, OF_DECISIONS, require_metric

THRESHOLD = 0.5
"""Scores from here on are decided to be 1."""
MINIMUM_ROWS = 50
"""Independent rows that a group needs, in what its rate is a share of."""

Small = Literal["inconclusive", "left_out"]
"""What a group with too few rows does: it leaves the verdict open, or it is left out and named."""

Measure = Literal[
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equal_opportunity_difference",
    "equal_opportunity_ratio",
    "equalized_odds_difference",
    "equalized_odds_ratio",
]
MEASURES: tuple[str, ...] = Measure.__args__  # type: ignore[attr-defined]
"""Fairness measures, by fairlearn's names: differences are best at 0, ratios at 1."""


class _Gate(Declaration, frozen=True, kw_only=True):
    """What gates check alike."""

    def _check_metric(self, metric: str, *, higher_is_better: bool = False) -> None:
        require_metric(metric, where=self.declared_at, higher_is_better=higher_is_better)

    def _check_threshold(self, metric: str | None = None) -> None:
        self._check_number("threshold", above=0, below=1, fix="Cut probabilities between 0 and 1: threshold=0.5.")
        threshold: float = getattr(self, "threshold")  # noqa: B009 - subclasses have it
        if metric is not None and metric not in OF_DECISIONS and threshold != THRESHOLD:
            self._refuse(f"{metric} is not cut at a threshold", fix="Leave threshold out.")

    def _check_margin(self, field: str = "margin") -> None:
        self._check_number(
            field,
            above=0,
            below=1,
            fix=f"Use a small positive number, the loss that you would accept: {field}=0.005.",
        )

    def _check_by(self) -> None:
        """Makes columns of names, and refuses what no rows can be grouped by."""
        by: object = getattr(self, "by")  # noqa: B009 - subclasses have it
        if not isinstance(by, list | tuple) or not by:
            self._refuse("by must be a list of columns", fix='Write by=["region"], or by=[hr.column("age", ...)].')
        columns: list[Column] = []
        for item in by:
            if isinstance(item, str):
                columns.append(Column(item, declared_at=self.declared_at))
            elif isinstance(item, Column):
                columns.append(item)
            else:
                self._refuse(f"{item!r} is not a column", fix='Use a name of a feature or hr.column("age", ...).')
        titles = [column.title for column in columns]
        if len(set(titles)) < len(titles) or len(titles) > MOST_COLUMNS:
            self._refuse(
                f"by cannot be {', '.join(titles)}", fix=f"Name different columns, at most {MOST_COLUMNS} of them."
            )
        self._replace("by", tuple(columns))

    def _check_small(self, field: str) -> None:
        self._check_number("minimum_rows", at_least=10, whole=True, fix="Use 10 rows or more; 50 is usual.")
        if getattr(self, field) not in {"inconclusive", "left_out"}:
            self._refuse(
                f"{field} cannot be {getattr(self, field)!r}",
                fix='Use "inconclusive", or "left_out" to go without.',
            )


class AtLeast(_Gate, frozen=True, tag="at_least", tag_field="kind"):
    """An absolute floor: the lower end of the metric's confidence interval is at least `value`."""

    metric: str
    value: float
    alpha: float = 0.05
    threshold: float = THRESHOLD

    def _check(self) -> None:
        if self.metric in HIGHER_IS_BETTER and not HIGHER_IS_BETTER[self.metric]:
            self._refuse(f"{self.metric!r} is better when lower", fix="Use hr.at_most for a loss.")
        self._check_metric(self.metric)
        self._check_number("value", at_least=0, at_most=1, fix=f"{self.metric} lies between 0 and 1.")
        self._check_error_rate("alpha")
        self._check_threshold(self.metric)


class AtMost(_Gate, frozen=True, tag="at_most", tag_field="kind"):
    """An absolute ceiling on a loss: the upper end of its confidence interval is at most `value`."""

    metric: str
    value: float
    alpha: float = 0.05

    def _check(self) -> None:
        if HIGHER_IS_BETTER.get(self.metric):
            self._refuse(f"{self.metric!r} is better when higher", fix="Use hr.at_least.")
        self._check_metric(self.metric)
        self._check_number("value", above=0, fix=f"Use the greatest {self.metric} that you would accept.")
        self._check_error_rate("alpha")


class NotWorseThanProduction(_Gate, frozen=True, tag="not_worse_than_production", tag_field="kind"):
    """Non-inferiority to the production version on the same rows: the interval of the difference excludes -margin.

    A first version has no production version to compare with; the gate then says so and passes.
    """

    metric: str
    margin: float
    alpha: float = 0.05
    threshold: float = THRESHOLD

    def _check(self) -> None:
        self._check_metric(self.metric)
        self._check_margin()
        self._check_error_rate("alpha")
        self._check_threshold(self.metric)


class Fair(_Gate, frozen=True, tag="fair", tag_field="kind"):
    """Fairness between groups: a bound on a measure, the change against production, or both.

    Args:
        by: what people are grouped by; every column alone, and all of them at once unless `intersections` is off.
        measure: which rates are compared, and how.
        at_most: of a difference: its upper confidence bound is at most this.
        at_least: of a ratio: its lower confidence bound is at least this.
        margin: by how much no two groups may move further apart than in production; of a difference.
        minimum_rows: independent rows that a group's rate must rest on.
        small_groups: what a group with fewer does to the verdict.
        intersections: whether the groups of all columns at once are judged, too.
        threshold: scores from here on are decided to be 1.
        alpha: the chance that an unfair model passes.
    """

    by: Sequence[Column | str]
    measure: Measure
    at_most: float | None = None
    at_least: float | None = None
    margin: float | None = None
    minimum_rows: int = MINIMUM_ROWS
    small_groups: Small = "inconclusive"
    intersections: bool = True
    threshold: float = THRESHOLD
    alpha: float = 0.05

    @property
    def columns(self) -> tuple[Column, ...]:
        """What people are grouped by."""
        return tuple(column for column in self.by if isinstance(column, Column))

    @property
    def bound(self) -> float | None:
        """The bound, whichever of the two it is."""
        return self.at_most if self.at_least is None else self.at_least

    def _check(self) -> None:
        self._check_by()
        if self.measure not in MEASURES:
            self._refuse(f"{self.measure!r} is not a known measure", fix=f"Use one of: {', '.join(MEASURES)}.")
        fitting, other = ("at_least", "at_most") if self.measure.endswith("_ratio") else ("at_most", "at_least")
        if getattr(self, other) is not None:
            self._refuse(f"{other} does not fit {self.measure}", fix=f"Use {fitting}.")
        if getattr(self, fitting) is not None:
            self._check_number(fitting, above=0, below=1, fix=f"Use a number between 0 and 1: {fitting}=0.1.")
        if self.margin is not None:
            self._check_margin()
            if self.measure.endswith("_ratio"):
                difference = self.measure.replace("_ratio", "_difference")
                self._refuse("the change of a ratio is not judged", fix=f"Ask for margin with {difference}.")
        if self.bound is None and self.margin is None:
            self._refuse(
                "nothing is asked of the groups", fix=f"Add {fitting}=..., or margin=... against production."
            )
        self._check_small("small_groups")
        self._check_threshold()
        self._check_error_rate("alpha")


class Calibrated(_Gate, frozen=True, tag="calibrated", tag_field="kind"):
    """Probabilities mean what they say: the upper confidence bound of the calibration error is at most `at_most`.

    The error is the root mean square distance of score and share of label 1 over bins of the scores, without the
    part that chance alone makes.
    """

    at_most: float
    alpha: float = 0.05

    def _check(self) -> None:
        self._check_number("at_most", above=0, below=1, fix="Use the error that you would accept: at_most=0.05.")
        self._check_error_rate("alpha")


class Slices(_Gate, frozen=True, tag="slices", tag_field="kind"):
    """A metric in each slice of the rows.

    All slices must show that they are good (intersection-union, each at alpha). With `alarm` none may be shown to
    be worse (Holm's correction over the slices), which is weaker: too few rows then raise no alarm.

    Args:
        metric: the metric.
        by: what rows are sliced by, each column alone.
        margin: how much worse than production still counts as not worse, in each slice.
        bound: the least value of the metric in each slice, the greatest of a loss.
        alarm: ask for no alarm and not for proof.
        minimum_rows: independent rows that a slice needs.
        small_slices: what a slice with fewer does to the verdict.
        threshold: scores from here on are decided to be 1.
        alpha: one-sided error rate.
    """

    metric: str
    by: Sequence[Column | str]
    margin: float | None = None
    bound: float | None = None
    alarm: bool = False
    minimum_rows: int = MINIMUM_ROWS
    small_slices: Small = "inconclusive"
    threshold: float = THRESHOLD
    alpha: float = 0.05

    @property
    def columns(self) -> tuple[Column, ...]:
        """What rows are sliced by."""
        return tuple(column for column in self.by if isinstance(column, Column))

    def _check(self) -> None:
        self._check_metric(self.metric)
        self._check_by()
        if self.margin is not None:
            self._check_margin()
        if self.bound is not None:
            self._check_number("bound", at_least=0, fix=f"Use a value of {self.metric}.")
        if self.bound is None and self.margin is None:
            self._refuse(
                "nothing is asked of the slices",
                fix="Add margin=... against production, or bound=... of the metric.",
            )
        self._check_small("small_slices")
        self._check_threshold(self.metric)
        self._check_error_rate("alpha")


class Latency(_Gate, frozen=True, tag="latency", tag_field="kind"):
    """How long one row takes, measured on a worker's model host, production and candidate in turns.

    Args:
        p95_ms: the upper confidence bound of the 95th of 100 calls is at most so many milliseconds, which depend on
            the worker's machine.
        slower_at_most: that quantile is at most so much longer than production's, as a part of it: 0.2 is a fifth.
        alpha: one-sided error rate.
    """

    p95_ms: float | None = None
    slower_at_most: float | None = None
    alpha: float = 0.05

    def _check(self) -> None:
        if self.p95_ms is not None:
            self._check_number("p95_ms", above=0, fix="Use milliseconds: p95_ms=20.")
        if self.slower_at_most is not None:
            self._check_number("slower_at_most", above=0, at_most=100, fix="A fifth slower is slower_at_most=0.2.")
        if self.p95_ms is None and self.slower_at_most is None:
            self._refuse("nothing is asked of the latency", fix="Add p95_ms=..., slower_at_most=..., or both.")
        self._check_error_rate("alpha")


class Size(_Gate, frozen=True, tag="size", tag_field="kind"):
    """The files of the model directory have at most so many bytes together."""

    at_most_bytes: int

    def _check(self) -> None:
        self._check_number("at_most_bytes", at_least=1, whole=True, fix="Use bytes: at_most_bytes=50_000_000.")


Gate = AtLeast | AtMost | NotWorseThanProduction | Fair | Calibrated | Slices | Latency | Size
GATES = (AtLeast, AtMost, NotWorseThanProduction, Fair, Calibrated, Slices, Latency, Size)


def columns_of(gate: Gate) -> tuple[Column, ...]:
    """What a gate groups rows by."""
    return gate.columns if isinstance(gate, Fair | Slices) else ()


def at_least(metric: str, value: float, *, alpha: float = 0.05, threshold: float = THRESHOLD) -> AtLeast:
    """The metric is at least this value, with confidence 1 - alpha."""
    return AtLeast(metric, value, alpha, threshold)


def at_most(metric: str, value: float, *, alpha: float = 0.05) -> AtMost:
    """The loss is at most this value, with confidence 1 - alpha."""
    return AtMost(metric, value, alpha)


def not_worse_than_production(
    metric: str, *, margin: float, alpha: float = 0.05, threshold: float = THRESHOLD
) -> NotWorseThanProduction:
    """The metric is not worse than production's by more than the margin, with confidence 1 - alpha."""
    return NotWorseThanProduction(metric, margin, alpha, threshold)


def fair(
    by: Sequence[Column | str],
    *,
    measure: Measure = "demographic_parity_difference",
    at_most: float | None = None,
    at_least: float | None = None,
    margin: float | None = None,
    minimum_rows: int = MINIMUM_ROWS,
    small_groups: Small = "inconclusive",
    intersections: bool = True,
    threshold: float = THRESHOLD,
    alpha: float = 0.05,
) -> Fair:
    """Groups are treated alike, within a bound and not less than in production, with confidence 1 - alpha."""
    return Fair(by, measure, at_most, at_least, margin, minimum_rows, small_groups, intersections, threshold, alpha)


def calibrated(*, at_most: float, alpha: float = 0.05) -> Calibrated:
    """Probabilities are off by at most this much, with confidence 1 - alpha."""
    return Calibrated(at_most, alpha)


def slices(
    metric: str,
    by: Sequence[Column | str],
    *,
    margin: float | None = None,
    bound: float | None = None,
    alarm: bool = False,
    minimum_rows: int = MINIMUM_ROWS,
    small_slices: Small = "inconclusive",
    threshold: float = THRESHOLD,
    alpha: float = 0.05,
) -> Slices:
    """The metric is good enough in each slice of the rows, with confidence 1 - alpha."""
    return Slices(metric, by, margin, bound, alarm, minimum_rows, small_slices, threshold, alpha)


def latency(*, p95_ms: float | None = None, slower_at_most: float | None = None, alpha: float = 0.05) -> Latency:
    """One row is answered fast enough, with confidence 1 - alpha."""
    return Latency(p95_ms, slower_at_most, alpha)


def size(*, at_most_bytes: int) -> Size:
    """The model directory is small enough."""
    return Size(at_most_bytes)
