"""Searching for runs."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from headrace.errors import InvalidInput
from headrace.kernel.database import Tx
from headrace.tracking import (
    cursors,
    experiments,
    filters,
    keys,
    tables_experiments,
    tables_runs,
    tables_search,
    vocabulary,
)
from headrace.tracking.expressions import (
    Aggregate,
    And,
    Comparison,
    Expression,
    Not,
    Or,
    Order,
    comparisons,
)
from headrace.tracking.nouns import RunPage, RunQuery
from headrace.tracking.stored_runs import PairedRun

T = TypeVar("T", Comparison, Order)

PAGE_LIMIT = 50_000
GOAL_TAG = "headrace.goal."
GOALS: dict[str, Aggregate] = {"minimize": "min", "maximize": "max"}


def find(tx: Tx, query: RunQuery) -> RunPage:
    """A page of runs of some experiments, newest first unless the query orders otherwise.

    Raises:
        InvalidInput: the filter, the order, the limit, the cursor or an experiment's id is not one.
    """
    rows, following = _find(tx, query)
    found = tables_runs.assemble(tx, rows, query.select)
    return RunPage(runs=tuple(run.record() for run in found), next_cursor=following)


def find_pairs(tx: Tx, query: RunQuery) -> tuple[list[PairedRun], str]:
    """The same page for clients that take params and tags as pairs, all of them, and the cursor of the next one."""
    rows, following = _find(tx, query)
    return tables_runs.assemble_pairs(tx, rows), following


def _find(tx: Tx, query: RunQuery) -> tuple[list[tables_search.Row], str]:
    """The rows of a page, and the cursor of the next one.

    Raises:
        InvalidInput: the filter, the order, the limit, the cursor or an experiment's id is not one.
    """
    keys.check_limit(query.limit, PAGE_LIMIT)
    expression = filters.parse(query.filter, vocabulary.RUNS)
    orders = filters.parse_order(query.order_by, vocabulary.RUNS)
    if query.experiment_ids is None:
        numbers = tables_experiments.every_number(tx)
    else:
        wanted = sorted({experiments.number_of(each) for each in query.experiment_ids})
        numbers = tables_experiments.known_numbers(tx, wanted)
    best = {found.key for found in comparisons(expression) if found.aggregate == "best"}
    best |= {order.key for order in orders if order.aggregate == "best"}
    if best:
        goals = _goals(tx, numbers, best)
        expression = _resolved(expression, goals)
        orders = tuple(_resolve(order, goals) for order in orders)
    signature = cursors.signature(query.experiment_ids, query.filter, query.order_by, query.deleted)
    after = cursors.read(signature, query.cursor)
    search = tables_search.Search(numbers, query.deleted, expression, _significant(orders), query.limit)
    rows, ended = tables_search.find(tx, search, after)
    return rows, cursors.write(signature, ended)


def _significant(orders: Sequence[Order]) -> tuple[Order, ...]:
    """The keys up to the start time, newest first, which is what everything is sorted by in the end."""
    newest = Order(kind="attribute", key="started_at", ascending=False)
    return tuple(orders[: orders.index(newest)] if newest in orders else orders)


def _goals(tx: Tx, numbers: Sequence[int], metrics: set[str]) -> dict[str, Aggregate]:
    """Whether the best value of each metric is its lowest or its highest, as the experiments' tags say.

    Raises:
        InvalidInput: they do not say, or not all the same.
    """
    found: dict[str, Aggregate] = {}
    for metric in sorted(metrics):
        said = {tags.get(GOAL_TAG + metric) for tags in tables_experiments.tags_of(tx, numbers)}
        goal = next(iter(said)) if len(said) == 1 else None
        if goal not in GOALS:
            raise InvalidInput(
                f"it is not known which value of '{metric}' is the best one",
                where=f"best(metrics.{metric})",
                fix=f"Set the tag {GOAL_TAG}{metric} of the experiment to minimize or maximize,"
                " or write min(...) or max(...).",
            )
        found[metric] = GOALS[goal]
    return found


def _resolved(expression: Expression, goals: dict[str, Aggregate]) -> Expression:
    if isinstance(expression, Comparison):
        return _resolve(expression, goals)
    if isinstance(expression, Not):
        return Not(operand=_resolved(expression.operand, goals))
    kind = And if isinstance(expression, And) else Or
    return kind(operands=tuple(_resolved(operand, goals) for operand in expression.operands))


def _resolve(found: T, goals: dict[str, Aggregate]) -> T:
    if found.aggregate != "best":
        return found
    return msgspec.structs.replace(found, aggregate=goals[found.key])
