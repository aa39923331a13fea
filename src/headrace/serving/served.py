"""What a gateway has to know of a registered version, so that it needs nothing else to load it and to answer."""

from headrace.features import catalog
from headrace.features.nouns import ObjectKind
from headrace.kernel.database import Tx
from headrace.registry import versions
from headrace.serving.nouns import ServedVersion, ServedView


def describe(tx: Tx, model: str, number: int) -> ServedVersion:
    """A version as gateways are told of it.

    Raises:
        NotFound: the version, or a feature view that it was trained on, is not registered.
    """
    version = versions.get(tx, model, number)
    views = tuple(
        ServedView(
            name=use.view,
            version=use.version,
            spec=catalog.get_version(tx, ObjectKind.VIEW, use.view, use.version).spec,
        )
        for use in version.feature_views
    )
    return ServedVersion(
        model=model,
        number=number,
        digest=version.digest,
        files=version.files,
        signature=version.signature,
        entity_key=version.entity_key,
        views=views,
    )
