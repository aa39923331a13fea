"""A feature view: the features that one source gives about one entity."""

from datetime import timedelta

from headrace.project.declaration import Declaration
from headrace.project.durations import parse_window
from headrace.project.entity import Entity
from headrace.project.feature import Feature
from headrace.project.source import Source


class FeatureView(Declaration, frozen=True):
    """Features of an entity from a source.

    Args:
        name: the view's name, such as "customer_activity".
        entity: whom the features are about.
        source: the events they are computed from.
        features: the features by name; their order is the order of the model's columns.
        ttl: an entity whose last event is older than this is unknown to the view: all its features are null.
    """

    name: str
    entity: Entity
    source: Source
    features: dict[str, Feature]
    ttl: str

    @property
    def ttl_duration(self) -> timedelta:
        """How far back events are seen."""
        return parse_window(self.ttl, where=self.declared_at, field="ttl")

    def _check(self) -> None:
        self._check_name("a feature view", self.name)
        self._check_kind("entity", Entity, "hr.Entity")
        self._check_kind("source", Source, "hr.Source")
        if not self.features:
            self._refuse(
                "a feature view needs features", fix='Add one: features={"count_90d": hr.count(window="90d")}.'
            )
        ttl = self.ttl_duration
        for name, feature in self.features.items():
            self._check_name("a feature", name)
            if name == self.entity.key or name in {"as_of", "event_ts"}:
                self._refuse(
                    f"a feature cannot be called {name!r}", fix="The name is taken by a key or a time column."
                )
            if not isinstance(feature, Feature):
                self._refuse(
                    f"{name} is not a feature", fix="Use hr.count, hr.sum, hr.mean, hr.age_of_last and so on."
                )
            window = feature.window_duration
            if window is not None and window > ttl:
                self._refuse(
                    f"{name} looks back {feature.window}, further than the view's ttl of {self.ttl}",
                    fix=f'Shorten the window or lengthen the view: ttl="{feature.window}".',
                )
