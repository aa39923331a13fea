"""How lineage grows: registering versions that come from one table, and asking about them.

    python benchmarks/lineage.py [--database sqlite|postgresql] [--versions 1000,10000]

Ours alone, without HTTP: verbs on a database. Every version has a run of its own with two data sets and a commit,
twenty features, one of a hundred environments, a training set of its own from one table, and a release. Medians of
twenty.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from servers import postgresql

from headrace.governance import lineage, uses
from headrace.governance.nouns import Uses
from headrace.kernel import environments, migrate
from headrace.kernel.database import Database, Tx
from headrace.kernel.environments import environment_of
from headrace.kernel.lineage import Link, connect
from headrace.kernel.settings import Settings
from headrace.registry import history, models, register, stages
from headrace.registry.nouns import FeatureUse, ModelFile, RegisterVersion, Stage
from headrace.tracking import logging, runs
from headrace.tracking.nouns import CreateRun, Dataset, DatasetInput, Inputs

FILE = ModelFile(path="MLmodel", digest="sha256:" + "a" * 64, size_bytes=3)
VIEWS = (FeatureUse(view="activity", version=1, columns=tuple(f"f{number}" for number in range(20))),)
AT_ONCE = 50
ROUNDS = 20


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[Database]:
    """A migrated, empty database."""
    if kind == "postgresql":
        with postgresql() as url:
            database = migrate.open_database(Settings(home=folder, database=url))
            yield database
            database.close()
        return
    database = migrate.open_database(Settings(home=folder))
    yield database
    database.close()


def make(tx: Tx, number: int) -> None:
    """One version with all that it is made from."""
    packages = {f"package-{each}": f"1.{number % 100}" for each in range(100)}
    environment = environment_of("3.11.7", {**packages, "numpy": f"2.{number % 100}.0"})
    environments.keep(tx, environment)
    commit = f"{number % 50:040x}"
    run = runs.create(tx, CreateRun(experiment="growth", tags={"mlflow.source.git.commit": commit}))
    training_set, version = f"training-set/ts_{number}", f"lake/sources/purchases@{number}"
    connect(
        tx,
        [
            Link("source/purchases/1", "ingested into", "lake/sources/purchases"),
            Link("lake/sources/purchases", "at version", version),
            Link(version, "sampled into", training_set),
        ],
    )
    read = [
        DatasetInput(dataset=Dataset(name=name, digest="1f", source_type=kind, source=source))
        for name, kind, source in (("holidays", "local", "{}"), ("training", "headrace", training_set))
    ]
    logging.log_inputs(tx, run.id, Inputs(datasets=tuple(read)))
    model = f"model-{number % 10}"
    models.ensure(tx, model)
    asked = RegisterVersion(
        model=model, run_id=run.id, files=(FILE,), feature_views=VIEWS, environment_digest=environment.digest
    )
    made = register.register_version(tx, asked)
    release = f"release/rel_{number}"
    connect(tx, [Link(f"version/{model}/{made.number}", "released by", release)])
    connect(tx, [Link(release, "answered with", f"predictions/{model}/{made.number}")])
    stages.transition(tx, model, made.number, Stage.PRODUCTION, archive_existing=True)


def grow(database: Database, start: int, end: int) -> float:
    """Make versions; returns milliseconds for each."""
    began = time.perf_counter()
    for first in range(start, end, AT_ONCE):

        def work(tx: Tx, first: int = first) -> None:
            for number in range(first, first + AT_ONCE):
                make(tx, number)

        database.write(work, actor="admin")
    return (time.perf_counter() - began) / (end - start) * 1e3


def questions(count: int) -> dict[str, Callable[[Tx], Any]]:
    """What is asked, by what it is called."""
    newest = f"model-1@{count // 10}"

    def page(cursor: str = "", **asked: Any) -> Callable[[Tx], Any]:
        return lambda tx: uses.versions_using(tx, Uses(**asked), limit=100, cursor=cursor)

    def last_page(tx: Tx) -> Any:
        wanted = Uses(table="sources/purchases")
        cursor = uses.versions_using(tx, wanted, limit=1_000).next_cursor
        return uses.versions_using(tx, wanted, limit=100, cursor=cursor)

    return {
        "registered": lambda tx: make(tx, count),
        "a version, both ways": lambda tx: lineage.around(tx, newest),
        "the table, 300 things below it": lambda tx: lineage.around(tx, "source/purchases/1"),
        "100 versions that used the table": page(table="sources/purchases"),
        "100 that read a feature": page(feature="activity.f3"),
        "those of one of 50 commits": page(commit=f"{3:040x}"),
        "100 with numpy below 2.40": page(package="numpy<2.40"),
        "in production, that used the table": page(table="sources/purchases", production=True),
        "1,000 versions, then 100 more": last_page,
        "production half way back": lambda tx: history.production_at(tx, "model-1", tx.now - timedelta(seconds=1)),
    }


def measured(database: Database, count: int) -> dict[str, float]:
    """Milliseconds of each question."""
    found = {}
    for name, work in questions(count).items():
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            if name == "registered":
                database.write(work, actor="admin")
            else:
                database.read(work)
            times.append((time.perf_counter() - began) * 1e3)
        found[name] = statistics.median(times)
    return found


def main() -> None:
    """Grow, and ask at each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--versions", default="1000,10000")
    asked = parser.parse_args()
    sizes = [int(size) for size in asked.versions.split(",")]
    found: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, opened(asked.database, Path(folder)) as database:
        done = 0
        for size in sizes:
            each = grow(database, done, size)
            done = size
            found[size] = {f"made, {AT_ONCE} in a transaction": each, **measured(database, size)}
    shown = Table("", *(f"{size:,} versions, ms" for size in sizes), title=asked.database)
    for name in found[sizes[0]]:
        shown.add_row(name, *(f"{found[size][name]:.2f}" for size in sizes))
    Console().print(shown)


if __name__ == "__main__":
    main()
