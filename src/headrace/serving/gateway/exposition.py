"""A gateway's measurements in Prometheus's words, made when Prometheus asks; each gateway tells its own."""

from collections.abc import Callable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from headrace.serving.gateway.measures import BUCKETS_S, Duration, Measures
from headrace.serving.nouns import GatewayState

_BOUNDS = (*(str(bound) for bound in BUCKETS_S), "+Inf")


class Exposition:
    """What `/metrics` of a gateway answers.

    Args:
        measures: how requests ended.
        state: of the gateway now; None for a model that is served alone.
        explained: how requests for explanations ended, by method in the place of the arm.
    """

    def __init__(
        self,
        measures: Measures,
        state: Callable[[], GatewayState] | None = None,
        *,
        explained: Measures | None = None,
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(measures, state, explained))
        ProcessCollector(registry=self._registry)

    def __call__(self) -> tuple[bytes, str]:
        """The text, and its type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class _Collector(Collector):
    def __init__(
        self, measures: Measures, state: Callable[[], GatewayState] | None, explained: Measures | None
    ) -> None:
        self._measures = measures
        self._state = state
        self._explained = explained

    def describe(self) -> Iterator[Metric]:
        """Nothing is computed when it is registered."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield _histogram(
            "headrace_prediction_duration_seconds",
            "Requests for predictions, from when the body was there to the answer.",
            "arm",
            self._measures,
        )
        if self._explained is not None:
            yield _histogram(
                "headrace_explanation_duration_seconds",
                "Requests for explanations, from when the body was there to the answer.",
                "method",
                self._explained,
            )
        fallbacks = CounterMetricFamily(
            "headrace_prediction_fallback_rows",
            "Rows that something else answered in the place of a version.",
            labels=("model", "version", "by"),
        )
        for (model, version, by), rows in self._measures.fallbacks.items():
            fallbacks.add_metric((model, str(version), by or "nothing"), rows)
        yield fallbacks
        if self._state is not None:
            yield from _of_state(self._state())


def _of_state(state: GatewayState) -> Iterator[Metric]:
    report = state.report
    yield from (
        GaugeMetricFamily(f"headrace_gateway_{name}", said, value=value)
        for name, said, value in (
            ("ready", "Whether the gateway takes requests.", state.ready),
            ("control_away", "Whether control has been silent for some seconds.", state.control_away),
            ("requests", "Requests for predictions under way.", state.requests),
            ("rows_waiting", "Rows that wait for a version.", state.rows_waiting),
            ("applied_sequence", "Every change of a route up to this one is in force.", report.applied_sequence),
        )
    )
    yield from (
        CounterMetricFamily(f"headrace_{name}", said, value=value)
        for name, said, value in (
            ("gateway_turned_away", "Requests that the gateway had no room for.", state.turned_away),
            ("predictions_dropped", "Predictions that the log could not take.", report.predictions_dropped),
            ("predictions_lost", "Predictions that killed gateways had not logged.", report.predictions_lost),
        )
    )
    loaded = GaugeMetricFamily(
        "headrace_version_loaded", "1 for a version that answers, 0 for one that could not be loaded.",
        labels=("model", "version", "runtime"),
    )  # fmt: skip
    for version in report.loaded:
        loaded.add_metric((version.model, str(version.number), version.runtime), version.error is None)
    yield loaded
    off = GaugeMetricFamily(
        "headrace_version_switched_off", "Versions in production that are not asked now.",
        labels=("model", "version"),
    )  # fmt: skip
    for each in state.switched_off:
        model, _, number = each.rpartition("/")
        off.add_metric((model, number), 1)
    yield off


def _histogram(name: str, words: str, third: str, measures: Measures) -> Metric:
    """Durations by model, version, a third label and status."""
    family = HistogramMetricFamily(name, words, labels=("model", "version", third, "status"))
    for ended, duration in measures.durations().items():
        labels = (ended.model, ended.version, ended.arm, str(ended.status))
        family.add_metric(labels, _cumulative(duration), duration.sum_s)
    return family


def _cumulative(duration: Duration) -> list[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip(_BOUNDS, duration.counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
