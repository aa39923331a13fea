"""Two control processes on one PostgreSQL: of two values of one param one is taken, whichever process is asked."""

import threading

from headrace.errors import InvalidInput
from headrace.kernel.clocks import ManualClock
from headrace.kernel.postgresql import PostgresDatabase
from headrace.tracking import logging, runs
from headrace.tracking.nouns import Batch, CreateRun

PATIENCE_S = 60.0
ROUNDS = 40


def test_one_of_two_processes_sets_a_param(
    postgresql_database: PostgresDatabase, postgresql_url: str, clock: ManualClock
) -> None:
    other = PostgresDatabase(postgresql_url, clock=clock)
    run = postgresql_database.write(lambda tx: runs.create(tx, CreateRun()), actor="ana")
    together = threading.Barrier(2)
    taken: list[dict[str, str]] = [{}, {}]
    refused: list[list[str]] = [[], []]

    def write(process: int, database: PostgresDatabase) -> None:
        for number in range(ROUNDS):
            params: dict[str, str | int | float | bool | None] = {f"p{number}": f"of {process}"}
            together.wait(PATIENCE_S)
            try:
                batch = Batch(params=params, tags={f"t{number} {process}": "v"})
                database.write(lambda tx, batch=batch: logging.log_batch(tx, run.id, batch), actor="ana")  # type: ignore[misc]
                taken[process][f"p{number}"] = f"of {process}"
            except InvalidInput as problem:
                refused[process].append(problem.message)

    threads = [
        threading.Thread(target=write, args=(process, database))
        for process, database in enumerate((postgresql_database, other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    other.close()
    found = postgresql_database.read(lambda tx: runs.get(tx, run.id))
    assert not taken[0].keys() & taken[1].keys()
    assert found.params == taken[0] | taken[1]
    assert len(found.params) == ROUNDS
    assert sum(map(len, refused)) == ROUNDS
    assert all("Changing param values is not allowed" in message for each in refused for message in each)
    assert set(found.tags) == {f"t{key[1:]} {process}" for process in (0, 1) for key in taken[process]}
