"""Alembic's environment: runs the migrations on the connection that `kernel.migrate` hands over."""

from alembic import context

connection = context.config.attributes["connection"]
metadata = context.config.attributes.get("metadata")  # given when a migration is drafted or compared

context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
