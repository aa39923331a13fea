"""The parameters that a training function receives: the declared defaults with the searched values over them."""

from collections.abc import Iterator, Mapping
from typing import Any

from headrace.errors import ProjectError


class Params(Mapping[str, Any]):
    """Parameters by name, read as `params.depth` or `params["depth"]`.

    Args:
        values: parameter values by name.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise self._missing(name) from None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(str(self._missing(name))) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __repr__(self) -> str:
        return f"Params({self._values!r})"

    def _missing(self, name: str) -> "UnknownParameter":
        known = ", ".join(sorted(self._values)) or "none"
        return UnknownParameter(
            f"there is no parameter {name!r}",
            fix=f"Known parameters: {known}. Declare it with @hr.model(..., params={{{name!r}: ...}}).",
        )


class UnknownParameter(ProjectError, KeyError):
    """A training function asked for a parameter that was never declared."""
