"""What SQLite and PostgreSQL have in common, and SQLAlchemy's common part leaves out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

Insert = sqlite.Insert | postgresql.Insert
"""Both have ``on_conflict_do_nothing``, ``on_conflict_do_update``, ``excluded`` and ``returning``."""

# SQLite takes 32,766 variables in a statement, PostgreSQL's protocol 32,767.
MOST_VARIABLES: Final = 32_000
T = TypeVar("T")


def insert_for(connection: AsyncConnection, table: Table) -> Insert:
    """Return the INSERT of the connection's dialect, which knows ON CONFLICT."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def chunks(rows: Sequence[T], variables_each: int) -> Iterator[Sequence[T]]:
    """Cut rows into parts that fit into one statement each.

    Arguments:
        rows: any number.
        variables_each: how many variables a row takes.
    """
    size = max(MOST_VARIABLES // variables_each, 1)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
