"""Searching for registered models and versions, in the grammar that runs are searched with."""

from headrace.errors import InvalidInput
from headrace.kernel.database import Tx
from headrace.registry import tables_search, vocabulary
from headrace.registry.nouns import Model, RegistryQuery, Version
from headrace.tracking import cursors, filters, keys
from headrace.tracking.expressions import Order

MODELS_LIMIT = 1_000
VERSIONS_LIMIT = 200_000

_LATEST_FIRST = Order(kind="attribute", key="updated_at", ascending=False)


def find_models(tx: Tx, query: RegistryQuery) -> tuple[tuple[Model, ...], str]:
    """A page of registered models, by name unless ordered otherwise, and the cursor of the next page.

    MLflow keeps prompts among the models; they are left out unless the filter names the tag that marks them.

    Raises:
        InvalidInput: the filter, the order, the limit or the cursor is not one.
    """
    keys.check_limit(query.limit, MODELS_LIMIT)
    expression = filters.parse(query.filter, vocabulary.MODELS)
    orders = filters.parse_order(query.order_by, vocabulary.MODELS)
    signature = cursors.signature("models", query.filter, query.order_by)
    after = cursors.read(signature, query.cursor)
    page, ended = tables_search.find_models(tx, tables_search.Search(expression, orders, query.limit, after))
    return page, cursors.write(signature, ended)


def find_versions(tx: Tx, query: RegistryQuery) -> tuple[tuple[Version, ...], str]:
    """A page of versions, what changed last first unless ordered otherwise, and the cursor of the next page.

    A comparison with `alias` holds when one of the version's aliases compares so. Prompts are left out as in
    `find_models`.

    Raises:
        InvalidInput: the filter, the order, the limit or the cursor is not one.
    """
    keys.check_limit(query.limit, VERSIONS_LIMIT)
    expression = filters.parse(query.filter, vocabulary.VERSIONS)
    orders = filters.parse_order(query.order_by, vocabulary.VERSIONS) or (_LATEST_FIRST,)
    if any(order.kind == "attribute" and order.key == "alias" for order in orders):
        raise InvalidInput("versions are not ordered by alias: one may have several", where="order_by")
    signature = cursors.signature("versions", query.filter, query.order_by)
    after = cursors.read(signature, query.cursor)
    page, ended = tables_search.find_versions(tx, tables_search.Search(expression, orders, query.limit, after))
    return page, cursors.write(signature, ended)
