"""What Alembic runs to migrate a store; :mod:`leti_opt.store.migrate` hands it the connection.

The connection is in a transaction already, which the caller ends: a migration happens as a whole or not at all.
"""

from __future__ import annotations

from alembic import context

from leti_opt.store.schema import metadata


def run() -> None:
    """Run the migrations that were asked for."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        transactional_ddl=True,
        render_as_batch=True,
    )
    with context.begin_transaction():
        context.run_migrations()


# Alembic loads this file under that name; whoever else imports it (a test collector) migrates nothing.
if __name__ == "env_py":
    run()
