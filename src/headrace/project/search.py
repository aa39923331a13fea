"""Search: which parameters to try, how often, and which metric decides."""

from collections.abc import Mapping

from headrace.project.declaration import Declaration
from headrace.project.metrics import require_metric

ParameterValue = str | int | float | bool | None


class LogUniform(Declaration, frozen=True, tag="log_uniform", tag_field="kind"):
    """A positive number, uniform on the logarithmic scale between `low` and `high`."""

    low: float
    high: float

    def _check(self) -> None:
        self._check_number("low", above=0, fix="Use a number above 0; the scale is logarithmic.")
        self._check_number("high", above=self.low, fix="Use a number above low.")


class Uniform(Declaration, frozen=True, tag="uniform", tag_field="kind"):
    """A number, uniform between `low` and `high`."""

    low: float
    high: float

    def _check(self) -> None:
        self._check_number("low", fix="Use a number.")
        self._check_number("high", above=self.low, fix="Use a number above low.")


class Integers(Declaration, frozen=True, tag="integers", tag_field="kind"):
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int

    def _check(self) -> None:
        self._check_number("low", whole=True, fix="Use a whole number.")
        self._check_number("high", at_least=self.low, whole=True, fix="Use a whole number, low or above.")


class Choice(Declaration, frozen=True, tag="choice", tag_field="kind"):
    """One of the options."""

    options: tuple[ParameterValue, ...]

    def _check(self) -> None:
        if not self.options:
            self._refuse("a choice needs options", fix='List them: hr.choice("gini", "entropy").')
        for option in self.options:
            if option is not None and not isinstance(option, str | int | float | bool):
                self._refuse(
                    f"{option!r} cannot be an option",
                    fix="Use a string, a number, a boolean or None, so that it can be logged and read back.",
                )


Dimension = LogUniform | Uniform | Integers | Choice


class Search(Declaration, frozen=True):
    """A search of the parameter space before the final fit.

    Args:
        trials: how many parameter sets are tried.
        maximize: the metric that decides, measured on a split of the training rows; never on the hold-out.
        space: the dimensions by parameter name; a parameter outside it keeps its default.
        seed: of the sampler; the same seed and data try the same parameters.
    """

    trials: int
    maximize: str
    space: Mapping[str, Dimension]
    seed: int = 0

    def _check(self) -> None:
        require_metric(self.maximize, where=self.declared_at, higher_is_better=True)
        self._check_number("trials", at_least=1, at_most=10_000, whole=True, fix="Use a whole number up to 10,000.")
        self._check_number("seed", at_least=0, at_most=2**32 - 1, whole=True, fix="Use a whole number: seed=0.")
        if not self.space:
            self._refuse("a search needs a space", fix='Add a dimension: space={"depth": hr.integers(2, 8)}.')
        for name, dimension in self.space.items():
            if not isinstance(dimension, LogUniform | Uniform | Integers | Choice):
                self._refuse(
                    f"{name} is not a dimension", fix="Use hr.log_uniform, hr.uniform, hr.integers or hr.choice."
                )


def log_uniform(low: float, high: float) -> LogUniform:
    """A positive number, uniform on the logarithmic scale."""
    return LogUniform(low, high)


def uniform(low: float, high: float) -> Uniform:
    """A number, uniform between the two."""
    return Uniform(low, high)


def integers(low: int, high: int) -> Integers:
    """A whole number, both ends included."""
    return Integers(low, high)


def choice(*options: ParameterValue) -> Choice:
    """One of the options."""
    return Choice(options)
