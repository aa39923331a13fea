"""The pieces that several of MLflow's requests carry."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from headrace.errors import InvalidInput
from headrace.protocols.mlflow.encoding import moment
from headrace.tracking.nouns import MetricPoint, ModelOutput, reading
from headrace.tracking.points import Point, Points
from headrace.tracking.readings import to_sortables

_STEPS = 2**63
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A tag or a param."""

    key: str
    value: str = ""


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A point; `value` may be one of protobuf's strings for NaN and the infinities."""

    key: str
    value: float | str
    timestamp: int
    step: int = 0
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset that a run read."""

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str | None = None
    profile: str | None = None


class DatasetInput(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset with the tags that say what it was read for."""

    dataset: Dataset
    tags: tuple[Pair, ...] = ()


class ModelInput(msgspec.Struct, frozen=True, kw_only=True):
    """A logged model that a run read."""

    model_id: str


class Output(ModelOutput, frozen=True, kw_only=True):
    """A logged model that a run made."""


class RunId(msgspec.Struct, frozen=True, kw_only=True):
    """Names a run, by its new name or its old one."""

    run_id: str = ""
    run_uuid: str = ""

    @property
    def run(self) -> str:
        """The run's id.

        Raises:
            InvalidInput: neither is given.
        """
        if not (self.run_id or self.run_uuid):
            raise InvalidInput(
                "Missing value for required parameter 'run_id'."
                " See the API docs for more information about request parameters.",
                where="run_id",
            )
        return self.run_id or self.run_uuid


def as_map(found: Iterable[Pair], *, what: str, once: bool = False) -> dict[str, str]:
    """Pairs as a map; the same key twice is fine when the value is the same, unless each is to come `once`.

    Raises:
        InvalidInput: a key has two values, or comes twice.
    """
    values: dict[str, str] = {}
    for pair in found:
        if (once and pair.key in values) or values.setdefault(pair.key, pair.value) != pair.value:
            raise InvalidInput(f"Duplicate {what} keys have been submitted: ['{pair.key}']", where=what)
    return values


def as_points(metrics: Sequence[Metric], *, where: str = "metrics[{}]") -> tuple[Points, list[MetricPoint]]:
    """Points as they are stored, and those of them that were measured on a logged model.

    Raises:
        InvalidInput: a value is not a number, a step is no 64-bit integer, or a time is no time.
    """
    points: defaultdict[str, list[Point]] = defaultdict(list)
    measured = []
    if metrics:
        try:
            codes = to_sortables([float(metric.value) for metric in metrics])
        except ValueError:
            codes = []
        if not (len(codes) == len(metrics) and _storable(metrics)):
            for place, metric in enumerate(metrics):
                as_point(metric, where=where.format(place))
        for metric, code in zip(metrics, codes, strict=True):
            points[metric.key].append((metric.step, metric.timestamp * 1000, code))
            if metric.model_id:
                measured.append(as_point(metric, where=where))
    return points, measured


def _storable(metrics: Sequence[Metric]) -> bool:
    steps = [metric.step for metric in metrics]
    times = [metric.timestamp for metric in metrics]
    return min(steps) >= -_STEPS and max(steps) < _STEPS and min(times) >= _FIRST_MS and max(times) <= _LAST_MS


def as_point(found: Metric, *, where: str) -> MetricPoint:
    """A point of ours.

    Raises:
        InvalidInput: the value is not a number, the step is no 64-bit integer, or the time is no time.
    """
    try:
        number = float(found.value)
    except ValueError as error:
        raise InvalidInput(
            f"Invalid value \"{found.value[:50]}\" for parameter '{where}.value' supplied:"  # type: ignore[index]
            " it is not a number.",
            where=f"{where}.value",
        ) from error
    if not -(2**63) <= found.step < 2**63:
        raise InvalidInput(f"Invalid value {found.step} for parameter '{where}.step' supplied.", where=where)
    return MetricPoint(
        key=found.key,
        value=reading(number),
        step=found.step,
        at=moment(found.timestamp, where=f"{where}.timestamp"),
        model_id=found.model_id or None,
        dataset_name=found.dataset_name,
        dataset_digest=found.dataset_digest,
    )
