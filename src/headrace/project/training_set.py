"""The data that a training function receives."""

import random
from collections.abc import Sequence
from typing import Any

from headrace.errors import InvalidInput

Array = Any
"""A numpy array. What project files import stays light, so numpy's own types cannot be named here."""


class TrainingSet:
    """Features and labels of the training rows; the hold-out is kept away from users' code.

    Args:
        features: float64, shape (rows, columns); NaN is null.
        names: the columns' names, in order.
        label: int64, shape (rows,); 0 or 1 for a binary task.
        entities: the entity's key of each row, shape (rows,).
    """

    __slots__ = ("entities", "features", "label", "names")

    def __init__(self, *, features: Array, names: Sequence[str], label: Array, entities: Array) -> None:
        rows = len(label)
        if features.shape != (rows, len(names)) or len(entities) != rows:
            raise InvalidInput(
                f"features of shape {features.shape} do not fit {rows} labels, {len(entities)} entities and "
                f"{len(names)} names",
                fix="Pass arrays of the same rows, and one name for each column.",
            )
        self.features = features
        self.names = tuple(names)
        self.label = label
        self.entities = entities

    def __len__(self) -> int:
        return len(self.label)

    def __repr__(self) -> str:
        return f"TrainingSet({len(self)} rows, {len(self.names)} features)"

    def column(self, name: str) -> int:
        """The index of a feature's column.

        Raises:
            InvalidInput: no feature has this name.
        """
        if name not in self.names:
            raise InvalidInput(f"there is no feature {name!r}", fix=f"Use one of: {', '.join(self.names)}.")
        return self.names.index(name)

    def split(self, fraction: float, *, seed: int = 0) -> "tuple[TrainingSet, TrainingSet]":
        """Two parts by entity, so that no entity is in both.

        Args:
            fraction: the share of the entities in the second part, above 0 and below 1.
            seed: the same seed gives the same parts.

        Returns:
            The rest first, the drawn part second; rows keep their order.

        Raises:
            InvalidInput: the fraction is outside its bounds, or there are fewer than two entities.
        """
        keys = self.entities.tolist()
        entities = sorted(set(keys))
        if not 0 < fraction < 1 or len(entities) < 2:
            raise InvalidInput(
                f"cannot split {fraction} off {len(entities)} entities",
                fix="Use a fraction between 0 and 1, such as 0.25, and at least two entities.",
            )
        size = min(max(1, round(len(entities) * fraction)), len(entities) - 1)
        drawn = set(random.Random(seed).sample(entities, size))  # noqa: S311 - a split, not a secret
        rest = [row for row, key in enumerate(keys) if key not in drawn]
        return self._rows(rest), self._rows([row for row, key in enumerate(keys) if key in drawn])

    def _rows(self, rows: list[int]) -> "TrainingSet":
        return TrainingSet(
            features=self.features[rows],
            names=self.names,
            label=self.label[rows],
            entities=self.entities[rows],
        )
