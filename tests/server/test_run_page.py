import math

import pytest

from headrace.errors import NotFound
from headrace.kernel.database import Database
from headrace.server.html import page
from headrace.server.run_page import HEIGHT, WIDTH, polyline, read_view
from headrace.tracking import logging, runs
from headrace.tracking.nouns import Batch, CreateRun, Dataset, MetricPoint

pytestmark = pytest.mark.both_databases


def corners(points: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, _, y in (pair.partition(",") for pair in points.split())]


def test_a_curve_goes_from_edge_to_edge() -> None:
    drawn = corners(polyline([0, 5, 10], [1.0, 3.0, 2.0]))
    assert [x for x, _ in drawn] == [0, WIDTH / 2, WIDTH]
    heights = [y for _, y in drawn]
    assert heights[0] == max(heights) == HEIGHT - 2
    assert heights[1] == min(heights) == 2


def test_a_spike_survives_in_a_long_curve() -> None:
    values = [0.0] * 50_000
    values[31_234] = 1.0
    drawn = corners(polyline(range(50_000), values))
    assert len(drawn) < 1_000
    assert min(y for _, y in drawn) == 2


@pytest.mark.parametrize("values", [[], [1.0], [math.nan, math.inf], [1.0, math.nan]])
def test_what_cannot_be_drawn_is_not(values: list[float]) -> None:
    assert polyline(range(len(values)), values) == ""


@pytest.mark.parametrize("values", [[2.0, 2.0], [-1.7e308, 1.7e308], [5e-324, 0.0]])
def test_extremes_can_be_drawn(values: list[float]) -> None:
    assert all(0 <= y <= HEIGHT for _, y in corners(polyline([0, 1], values)))


def test_the_page_shows_the_run_and_escapes_it(database: Database) -> None:
    run = database.write(
        lambda tx: runs.create(tx, CreateRun(experiment="<b>churn</b>", name="<script>", tags={"note": "a & b"})),
        actor="ana",
    )
    points = tuple(MetricPoint(key="loss", value=1 / step, step=step) for step in range(1, 9))
    odd = MetricPoint(key="odd", value="NaN")
    batch = Batch(metrics=(*points, odd), params={"depth": 3})
    database.write(lambda tx: logging.log_batch(tx, run.id, batch), actor="ana")
    view = database.read(lambda tx: read_view(tx, run.id, ()))
    assert [curve.key for curve in view.curves] == ["loss", "odd"]
    assert view.curves[0].points
    assert not view.curves[1].points
    answer = page("run.html", view=view)
    html = str(answer.content)
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "&lt;b&gt;churn&lt;/b&gt;" in html
    assert "a &amp; b" in html
    assert html.count("<polyline") == 1
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ('{"uri": "/data/a.csv"}', "/data/a.csv"),
        ('{"tags": {"mlflow.user": "ana"}}', ""),
        ('{"path": "org/set", "config_name": null}', "org/set"),
        ('{"table": "x"}', '{"table": "x"}'),
        ("no json", "no json"),
        ("[1]", "[1]"),
    ],
)
def test_data_are_shown_with_where_they_are(database: Database, source: str, place: str) -> None:
    run = database.write(lambda tx: runs.create(tx, CreateRun(name="read")), actor="ana")
    view = database.read(lambda tx: read_view(tx, run.id, ()))
    assert view.place_of(Dataset(name="a", digest="d", source_type="local", source=source)) == place


def test_no_such_run(database: Database) -> None:
    with pytest.raises(NotFound):
        database.read(lambda tx: read_view(tx, "0" * 32, ()))
