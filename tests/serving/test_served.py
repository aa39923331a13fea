"""A registered version with the views that it was trained on, whatever became of them since."""

import msgspec
import pytest
from tests.serving.test_routing import FILES

from headrace.errors import NotFound
from headrace.features import catalog
from headrace.features.nouns import FeatureSpecs, SourceSpec
from headrace.kernel.database import Database, Tx
from headrace.project.feature_view import FeatureView
from headrace.registry import models, register
from headrace.registry.nouns import FeatureUse, RegisterVersion
from headrace.serving import served
from headrace.testing import feature_cases as cases


def specs(view: FeatureView) -> FeatureSpecs:
    return FeatureSpecs(
        project="shop",
        entities=(view.entity,),
        sources=(SourceSpec(source=view.source, data_digest="sha256:" + "1" * 64),),
        views=(view,),
    )


def add_version(tx: Tx, view_version: int) -> None:
    use = FeatureUse(view=cases.VIEW.name, version=view_version, columns=tuple(cases.VIEW.features))
    models.ensure(tx, "churn")
    register.register_version(
        tx,
        RegisterVersion(
            model="churn",
            files=FILES,
            source=f"elsewhere/{view_version}",
            entity_key="customer_id",
            feature_views=(use,),
            signature={"inputs": "[]"},
        ),
    )


def test_it_holds_the_view_as_it_was_when_the_version_was_trained(database: Database) -> None:
    longer = msgspec.structs.replace(cases.VIEW, ttl="999d")

    def work(tx: Tx) -> None:
        catalog.register_objects(tx, specs(cases.VIEW))
        add_version(tx, 1)
        catalog.register_objects(tx, specs(longer))

    database.write(work, actor="ana")
    version = database.read(lambda tx: served.describe(tx, "churn", 1))
    (view,) = version.views
    assert (view.name, view.version, version.entity_key) == (cases.VIEW.name, 1, "customer_id")
    assert msgspec.convert(view.spec, FeatureView).ttl == cases.VIEW.ttl != longer.ttl
    assert version.signature == {"inputs": "[]"}


def test_a_view_that_is_not_registered_is_an_error(database: Database) -> None:
    database.write(lambda tx: add_version(tx, 4), actor="ana")
    with pytest.raises(NotFound, match=cases.VIEW.name):
        database.read(lambda tx: served.describe(tx, "churn", 1))
