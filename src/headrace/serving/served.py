"""What a gateway has to know of a registered version, so that it needs nothing else to load it and to answer."""

from headrace.features import catalog
from headrace.features.nouns import ObjectKind
from headrace.kernel.database import Tx
from headrace.registry import models, versions
from headrace.registry.nouns import Version
from headrace.serving import tables_loading
from headrace.serving.nouns import Converted, Loading, ServedVersion, ServedView, fields_of


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
        loading=_loading(tx, version),
        fields=fields_of(models.get(tx, model).declaration or {}),
    )


def _loading(tx: Tx, version: Version) -> Loading:
    """What was decided for exactly these bytes."""
    allowance = tables_loading.find_allowance(tx, version.model, version.number, version.digest)
    preparation = tables_loading.find_preparation(tx, version.model, version.number, version.digest)
    prepared = preparation.prepared if preparation is not None else None
    converted = None
    if prepared is not None and prepared.converted is not None:
        converted = Converted(file=prepared.converted, known=prepared.known)
    return Loading(
        code=allowance is not None and allowance.code,
        types=allowance.types if allowance is not None else (),
        converted=converted,
    )
