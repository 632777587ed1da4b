"""What Alembic runs migrations with: the connection that it is given, in the transaction that is open there."""

from __future__ import annotations

from alembic import context

_given = context.config.attributes
context.configure(connection=_given["connection"], version_table=_given["version_table"])
context.run_migrations()
