"""Explanations as a gateway tells them and callers read them: their JSON is the wire."""

from typing import Any

import msgspec


class Method(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How contributions were computed."""

    name: str
    source: str
    by: str
    background_rows: int = 0
    """How many rows they are measured against; none where trees are measured against what they were grown on."""
    permutations: int = 0
    """How many orders of the features were tried for each row, at least; none where the method is exact."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one row's prediction is made of."""

    version: int
    prediction: Any
    of: Any
    """The class or the output whose number is explained."""
    scale: str
    """On which base and contributions add up: `value`, `probability`, `log_odds`, `log` or `raw`."""
    base: float
    sum: float
    """Base and all contributions."""
    contributions: dict[str, float]
    """By feature, the largest first."""
    values: dict[str, Any] = {}
    """What the model was given of these features: as sent, looked up, or null."""
    others: float = 0.0
    """Contributions of the features that `top` has left out, together."""
    standard_errors: dict[str, float] | None = None
    """Of sampled contributions."""
    registered_prediction: Any = None
    """What the registered form answers, where the faster one that serves answers otherwise."""


class Explanations(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: one explanation a row, and how each version was explained."""

    model: str
    explanations: list[Explanation]
    methods: dict[str, Method]
    """By version."""
