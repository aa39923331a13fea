"""A column that rows are grouped by when a model is judged: a feature, or what a source says of an entity.

What a model must be fair about is seldom one of its features. So a column may name a source: its value is the last
one known of each entity at the moment of the features, joined for the evaluation only, and never seen by the model.
"""

import math
from collections.abc import Sequence

from headrace.project.declaration import Declaration
from headrace.project.source import Source

MOST_COLUMNS = 4
"""More columns at once would leave next to no rows in a cell."""


class Column(Declaration, frozen=True):
    """What rows are grouped by.

    Args:
        name: a feature of the model; with `source`, a column of that source.
        source: where the column is; None for a feature of the model.
        edges: where numbers are cut: `edges=[18, 65]` makes below 18, 18 to below 65, 65 and more. None cuts at
            quantiles when there are many different numbers, and takes few as they are.
        quantiles: how many groups quantiles make.
    """

    name: str
    source: Source | None = None
    edges: Sequence[float] | None = None
    quantiles: int = 4

    @property
    def title(self) -> str:
        """What the grouping is called: two that group differently are called differently."""
        name = self.name if self.source is None else f"{self.source.name}.{self.name}"
        if self.edges is not None:
            return f"{name} at {', '.join(map(_exactly, self.edges))}"
        return name if self.quantiles == 4 else f"{name} in {self.quantiles}"

    def _check(self) -> None:
        self._check_text(
            "name", fix='Name a feature, or a column of a source: hr.column("region", source=customers).'
        )
        if self.source is not None:
            self._check_kind("source", Source, "hr.Source")
        self._check_number("quantiles", at_least=2, at_most=20, whole=True, fix="Use from 2 to 20 groups.")
        if self.edges is None:
            return
        edges = list(self.edges) if isinstance(self.edges, list | tuple) else []
        numbers = all(
            isinstance(edge, int | float) and not isinstance(edge, bool) and math.isfinite(edge) for edge in edges
        )
        if not edges or not numbers or edges != sorted(set(edges)):
            self._refuse(f"edges cannot be {self.edges!r}", fix="Use numbers that increase: edges=[18, 65].")
        self._replace("edges", tuple(float(edge) for edge in edges))


def _exactly(edge: float) -> str:
    """A number with all of its digits, as short as people write it."""
    return repr(float(edge)).removesuffix(".0")


def column(
    name: str, *, source: Source | None = None, edges: Sequence[float] | None = None, quantiles: int = 4
) -> Column:
    """A feature of the model, or a column of a source, that rows are grouped by."""
    return Column(name, source, edges, quantiles)
