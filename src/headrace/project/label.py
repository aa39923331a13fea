"""A label: what the model learns to foretell, known only some time after the moment of prediction."""

from datetime import timedelta

from headrace.project.declaration import Declaration
from headrace.project.durations import parse_window
from headrace.project.entity import Entity
from headrace.project.source import Source


class NoneWithin(Declaration, frozen=True, tag="none_within", tag_field="kind"):
    """1 when the entity has no event in (T, T + window], else 0; T is the moment of prediction."""

    window: str

    @property
    def window_duration(self) -> timedelta:
        """How far the label looks ahead."""
        return parse_window(self.window, where=self.declared_at)

    def _check(self) -> None:
        parse_window(self.window, where=self.declared_at)


def none_within(window: str) -> NoneWithin:
    """A label value: 1 when the entity has no event within the window after the moment of prediction."""
    return NoneWithin(window)


class Label(Declaration, frozen=True):
    """An outcome of an entity, computed from the events of a source.

    Args:
        name: the label's name, such as "no_purchase_in_90d".
        entity: whose outcome it is.
        source: the events it is computed from.
        value: what is computed, such as `hr.none_within("90d")`.
        matures_after: how long after the moment of prediction the outcome is final; at least the value's window.
    """

    name: str
    entity: Entity
    source: Source
    value: NoneWithin
    matures_after: str | None = None

    @property
    def maturity(self) -> timedelta:
        """How long after the moment of prediction the outcome is final."""
        return parse_window(self.matures_after or "", where=self.declared_at, field="matures_after")

    def _check(self) -> None:
        self._check_name("a label", self.name)
        self._check_kind("entity", Entity, "hr.Entity")
        self._check_kind("source", Source, "hr.Source")
        if not isinstance(self.value, NoneWithin):
            self._refuse("a label needs a value", fix='Say what is computed: value=hr.none_within("90d").')
        if self.matures_after is None:
            self._refuse(
                f"label {self.name} does not say when it is final",
                fix=f'Add matures_after="{self.value.window}" (or longer, when events arrive late).',
            )
        if self.maturity < self.value.window_duration:
            self._refuse(
                f"label {self.name} matures after {self.matures_after}, within its window of {self.value.window}",
                fix=f'Set matures_after="{self.value.window}" or longer.',
            )
