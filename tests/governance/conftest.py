"""What governance's tests share: a shop whose versions come from purchases, and the door over a real database."""

from collections.abc import Iterator
from typing import Any

import pytest
from litestar import Litestar
from litestar.di import Provide
from litestar.testing import TestClient

from headrace.errors import HeadraceError
from headrace.governance import routes
from headrace.kernel import environments
from headrace.kernel.database import Database, Transactions, Tx
from headrace.kernel.environments import environment_of
from headrace.kernel.lineage import Link, connect
from headrace.registry import models, register
from headrace.registry.nouns import FeatureUse, ModelFile, RegisterVersion, Version
from headrace.server.problems import on_headrace_error
from headrace.tracking import logging, runs
from headrace.tracking.nouns import CreateRun, Dataset, DatasetInput, Inputs, Run

COMMIT = "3ac41f" + "0" * 34
OTHER_COMMIT = "3ac99f" + "0" * 34
OLD = environment_of("3.11.7", {"numpy": "1.26.4"})
NEW = environment_of("3.13.0", {"numpy": "2.1.0"})
LOOSE = environment_of("", {}, {"numpy": "numpy>=1.20"})


class Shop:
    """Makes versions, each with what it is made from."""

    COMMIT = COMMIT
    OTHER_COMMIT = OTHER_COMMIT
    OLD, NEW, LOOSE = OLD, NEW, LOOSE

    def __init__(self, database: Database) -> None:
        self.database = database

    def train(self, model: str = "churn", **fields: Any) -> Version:
        """A version whose run read the third state of the purchases."""
        return self.database.write(lambda tx: self._train(tx, model, fields), actor="ana")

    def run(self, **tags: str) -> Run:
        return self.database.write(
            lambda tx: runs.create(tx, CreateRun(experiment="churn", tags=tags)), actor="ana"
        )

    def reads(self, run: Run, name: str, digest: str = "1f") -> None:
        dataset = Dataset(name=name, digest=digest, source_type="local", source="{}")
        inputs = Inputs(datasets=(DatasetInput(dataset=dataset),))
        self.database.write(lambda tx: logging.log_inputs(tx, run.id, inputs), actor="ana")

    def _train(self, tx: Tx, model: str, fields: dict[str, Any]) -> Version:
        run = fields.pop("run", None) or runs.create(tx, CreateRun(experiment=model))
        for environment in (OLD, NEW, LOOSE):
            environments.keep(tx, environment)
        table = fields.pop("table", "lake/sources/purchases@3")
        if table:
            connect(
                tx,
                [
                    Link("source/purchases/1", "ingested into", "lake/sources/purchases"),
                    Link("lake/sources/purchases", "at version", table),
                    Link(table, "sampled into", f"training-set/of-{run.id}"),
                    Link(f"training-set/of-{run.id}", "read by", f"run/{run.id}"),
                ],
            )
        models.ensure(tx, model)
        files = (ModelFile(path="MLmodel", digest="sha256:" + "a" * 64, size_bytes=3),)
        views = (FeatureUse(view="activity", version=2, columns=("spend", "visits")),)
        given = {"feature_views": views, "environment_digest": NEW.digest, "code_commit": COMMIT, **fields}
        return register.register_version(tx, RegisterVersion(model=model, files=files, run_id=run.id, **given))


@pytest.fixture
def shop(database: Database) -> Shop:
    return Shop(database)


@pytest.fixture
def door(database: Database) -> Iterator[TestClient[Litestar]]:
    app = Litestar(
        routes.HANDLERS,
        dependencies={
            "transactions": Provide(lambda: Transactions(database, actor="ana"), sync_to_thread=False),
        },
        exception_handlers={HeadraceError: on_headrace_error},
        openapi_config=None,
    )
    with TestClient(app) as client:
        yield client
