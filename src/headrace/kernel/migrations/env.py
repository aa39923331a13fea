"""Alembic's environment: runs the migrations on the connection that `kernel.migrate` hands over."""

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context


def render_item(kind: str, item: Any, _context: object) -> str | Literal[False]:
    """Write our column types as the plain types under them, so that a migration needs no code of ours."""
    if kind == "type" and isinstance(item, sa.types.TypeDecorator):
        return f"sa.{item.impl_instance!r}"
    return False


connection = context.config.attributes["connection"]
metadata = context.config.attributes.get("metadata")  # given when a migration is drafted or compared

context.configure(connection=connection, target_metadata=metadata, compare_type=True, render_item=render_item)
with context.begin_transaction():
    context.run_migrations()
