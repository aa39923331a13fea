"""History from elsewhere is taken in, however odd it is."""

import pytest

from headrace.errors import InvalidInput
from headrace.kernel.database import Database
from headrace.tracking import importing, runs
from headrace.tracking.imported import ImportPoints
from headrace.tracking.nouns import Run

pytestmark = pytest.mark.both_databases


def points(run: Run, *values: float, steps: int) -> ImportPoints:
    return ImportPoints(run_id=run.id, key="loss", steps=range(steps), times=range(len(values)), values=values)


def test_a_metric_without_points_is_none(database: Database, run: Run) -> None:
    found = [points(run, steps=0), points(run, 0.5, steps=1), points(run, steps=0)]
    assert database.write(lambda tx: importing.take_points(tx, found[:1]), actor="ana") == ()
    assert database.read(lambda tx: runs.get(tx, run.id)).metrics == {}
    assert database.write(lambda tx: importing.take_points(tx, found), actor="ana") == ()
    assert database.read(lambda tx: runs.get(tx, run.id)).metrics["loss"].value == 0.5


def test_columns_of_different_lengths_are_refused(database: Database, run: Run) -> None:
    with pytest.raises(InvalidInput, match="same length"):
        database.write(lambda tx: importing.take_points(tx, [points(run, 0.5, steps=2)]), actor="ana")
