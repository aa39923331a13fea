"""The data that a training function receives."""

from typing import TYPE_CHECKING, Any

from headrace.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TrainingSet:
    """Features and labels of the training rows; the hold-out is kept away from users' code.

    Args:
        features: float64, shape (rows, columns); NaN is null.
        names: the columns' names, in order.
        label: int64, shape (rows,); 0 or 1 for a binary task.
        entities: the entity's key of each row, shape (rows,).
    """

    __slots__ = ("entities", "features", "label", "names")

    def __init__(
        self,
        *,
        features: "NDArray[np.float64]",
        names: tuple[str, ...],
        label: "NDArray[np.int64]",
        entities: "NDArray[Any]",
    ) -> None:
        rows = len(label)
        if features.shape != (rows, len(names)) or len(entities) != rows:
            raise InvalidInput(
                f"features of shape {features.shape} do not fit {rows} labels, {len(entities)} entities and "
                f"{len(names)} names",
                fix="Pass arrays of the same rows, and one name for each column.",
            )
        self.features = features
        self.names = names
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
            The larger rest first, the drawn part second; rows keep their order.
        """
        import numpy as np

        if not 0 < fraction < 1:
            raise InvalidInput(f"cannot split off {fraction}", fix="Use a fraction between 0 and 1: 0.25.")
        entities = np.unique(self.entities)
        drawn = np.random.default_rng(seed).permutation(entities)[: max(1, round(len(entities) * fraction))]
        second = np.isin(self.entities, drawn)
        return self._rows(~second), self._rows(second)

    def _rows(self, mask: "NDArray[np.bool_]") -> "TrainingSet":
        return TrainingSet(
            features=self.features[mask], names=self.names, label=self.label[mask], entities=self.entities[mask]
        )
