"""Experiments are numbered, named once, and listed newest first."""

from datetime import timedelta

import pytest

from headrace.errors import AlreadyExists, InvalidInput, NotFound
from headrace.kernel import events
from headrace.kernel.clocks import ManualClock
from headrace.kernel.database import Database
from headrace.tracking import experiments
from headrace.tracking.nouns import CreateExperiment, Experiment, ExperimentQuery

pytestmark = pytest.mark.both_databases


def create(database: Database, name: str) -> Experiment:
    return database.write(lambda tx: experiments.create(tx, CreateExperiment(name=name)), actor="ana")


def test_the_first_experiment_is_one_and_the_default_is_zero(database: Database) -> None:
    first = create(database, "churn")
    assert (first.id, first.created_by) == ("1", "ana")
    default = database.read(lambda tx: experiments.get(tx, "0"))
    assert default.name == "Default"


def test_making_the_default_again_is_no_change(database: Database) -> None:
    for _ in range(2):
        database.write(experiments.ensure_default, actor="ana")
    assert len(database.read(lambda tx: experiments.search(tx, ExperimentQuery()))[0]) == 1


def test_a_name_is_given_once(database: Database) -> None:
    create(database, "churn")
    with pytest.raises(AlreadyExists, match="churn"):
        create(database, "churn")


def test_creating_writes_one_event(database: Database) -> None:
    experiment = create(database, "churn")
    found = database.read(lambda tx: events.of_subject(tx, f"experiment/{experiment.id}"))
    assert [(event.type, event.payload) for event in found] == [("tracking.experiment_created", {"name": "churn"})]


def test_ensure_creates_once(database: Database) -> None:
    one, other = (database.write(lambda tx: experiments.ensure(tx, "churn"), actor="ana") for _ in range(2))
    assert one == other


@pytest.mark.parametrize("name", ["", "  ", "x" * 501])
def test_bad_names_are_refused(database: Database, name: str) -> None:
    with pytest.raises(InvalidInput):
        create(database, name)


@pytest.mark.parametrize("experiment_id", ["churn", "", "-1", "1.0", "9" * 19, "\u0661"])
def test_ids_are_numbers(database: Database, experiment_id: str) -> None:
    with pytest.raises(InvalidInput, match="valid integer"):
        database.read(lambda tx: experiments.get(tx, experiment_id))


def test_what_is_not_there_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound):
        database.read(lambda tx: experiments.get(tx, "99"))
    with pytest.raises(NotFound):
        database.read(lambda tx: experiments.get_by_name(tx, "churn"))


def test_pages_follow_one_another_without_gap_or_repetition(database: Database, clock: ManualClock) -> None:
    names = []
    for number in range(7):
        names.append(create(database, f"e{number}").name)
        if number % 3 == 0:  # some share their moment
            clock.advance(timedelta(seconds=1))
    seen: list[str] = []
    query = ExperimentQuery(limit=2)
    while True:
        page, cursor = database.read(lambda tx, query=query: experiments.search(tx, query))  # type: ignore[misc]
        seen += [experiment.name for experiment in page]
        if not cursor:
            break
        query = ExperimentQuery(limit=2, cursor=cursor)
    assert seen == [*reversed(names), "Default"]


def test_tags_are_set_one_by_one(database: Database) -> None:
    experiment = create(database, "churn")
    for key in ("a", "b"):
        database.write(lambda tx, key=key: experiments.set_tag(tx, experiment.id, key, "1"), actor="ana")  # type: ignore[misc]
    assert database.read(lambda tx: experiments.get(tx, experiment.id)).tags == {"a": "1", "b": "1"}
