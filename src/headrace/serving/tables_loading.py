"""Every statement on what is allowed and prepared for versions."""

from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from headrace.kernel.database import Tx, insert
from headrace.serving.loading_nouns import Allowance, Preparation
from headrace.serving.tables import allowances, preparations

T = TypeVar("T", Allowance, Preparation)


def put_allowance(tx: Tx, allowance: Allowance) -> None:
    """Write what is allowed for a version, in place of what was."""
    _put(tx, allowances, allowance)


def find_allowance(tx: Tx, model: str, number: int, digest: str) -> Allowance | None:
    """What is allowed for a version of these bytes."""
    return _find(tx, allowances, Allowance, model, number, digest)


def drop_allowance(tx: Tx, model: str, number: int) -> bool:
    """Take back what was allowed; False when nothing was."""
    return tx.execute(sa.delete(allowances).where(_mine(tx, allowances, model, number))).rowcount == 1


def put_job(tx: Tx, model: str, number: int, digest: str, job_id: str) -> None:
    """Write which job prepares a version; what is known of the same bytes stays."""
    known = find_preparation(tx, model, number, digest)
    fresh = Preparation(model=model, number=number, digest=digest, job_id=job_id)
    _put(tx, preparations, msgspec.structs.replace(known, job_id=job_id) if known else fresh)


def put_prepared(tx: Tx, preparation: Preparation) -> None:
    """Write what a job found."""
    _put(tx, preparations, preparation)


def find_preparation(tx: Tx, model: str, number: int, digest: str) -> Preparation | None:
    """The newest preparation of a version of these bytes."""
    return _find(tx, preparations, Preparation, model, number, digest)


def drop_preparation(tx: Tx, model: str, number: int) -> None:
    """Forget what was prepared for a version."""
    tx.execute(sa.delete(preparations).where(_mine(tx, preparations, model, number)))


def numbers(tx: Tx, model: str) -> list[int]:
    """The versions of a model that were to be prepared."""
    query = sa.select(preparations.c.number).where(_mine(tx, preparations, model, None))
    return list(tx.execute(query).scalars())


def rename(tx: Tx, before: str, after: str) -> None:
    """Write another name wherever a model's stands."""
    for table in (allowances, preparations):
        mine = sa.and_(table.c.workspace == tx.workspace, table.c.model == before)
        tx.execute(sa.update(table).where(mine).values(model=after))


def forget(tx: Tx, model: str, number: int | None = None) -> None:
    """Delete what is held about a version, or about all of a model."""
    for table in (allowances, preparations):
        tx.execute(sa.delete(table).where(_mine(tx, table, model, number)))


def _put(tx: Tx, table: sa.Table, record: Allowance | Preparation) -> None:
    values = {name: getattr(record, name) for name in record.__struct_fields__}
    statement = insert(tx, table).values(workspace=tx.workspace, **values)
    tx.execute(statement.on_conflict_do_update(index_elements=["workspace", "model", "number"], set_=values))


def _find(tx: Tx, table: sa.Table, kind: type[T], model: str, number: int, digest: str) -> T | None:
    query = sa.select(table).where(_mine(tx, table, model, number), table.c.digest == digest)
    row = tx.execute(query).mappings().one_or_none()
    if row is None:
        return None
    fields: dict[str, Any] = {str(name): value for name, value in row.items() if name != "workspace"}
    return msgspec.convert(fields, kind)


def _mine(tx: Tx, table: sa.Table, model: str, number: int | None) -> sa.ColumnElement[bool]:
    mine = sa.and_(table.c.workspace == tx.workspace, table.c.model == model)
    return mine if number is None else sa.and_(mine, table.c.number == number)
