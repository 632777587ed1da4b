"""What SQLite and PostgreSQL have in common, and SQLAlchemy's common part leaves out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Table, TextClause, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

Insert = sqlite.Insert | postgresql.Insert
"""Both have ``on_conflict_do_nothing``, ``on_conflict_do_update``, ``excluded`` and ``returning``."""

Row = Sequence[Any]
"""The values of one row, as JSON knows them: text, whole numbers and None."""

_TYPES: Final = {str: "TEXT", int: "BIGINT"}


def insert_for(connection: AsyncConnection, table: Table) -> Insert:
    """Return the INSERT of the connection's dialect, which knows ON CONFLICT."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def with_rows(connection: AsyncConnection, statement: str, /, **columns: type) -> TextClause:
    """Make a statement that reads any number of rows from its one parameter ``rows``.

    The rows travel as JSON: the text of the statement is the same however many there are, so that it is compiled
    and planned once, and no limit on the number of variables is met.

    Arguments:
        connection: says which dialect.
        statement: with ``{rows}`` where a query in brackets stands that has `columns`; in an INSERT without.
        columns: names and types, ``str`` or ``int``; either may be null.
    """
    if connection.dialect.name == "postgresql":
        selected = ", ".join(
            f"CAST(each.value ->> {index} AS {_TYPES[type_]}) AS {name}"
            for index, (name, type_) in enumerate(columns.items())
        )
        rows = f"SELECT {selected} FROM json_array_elements(CAST(:rows AS json)) AS each WHERE true"
    else:
        selected = ", ".join(f"json_extract(value, '$[{index}]') AS {name}" for index, name in enumerate(columns))
        # Without WHERE, SQLite would take ON CONFLICT for a part of a join.
        rows = f"SELECT {selected} FROM json_each(:rows) WHERE true"
    return text(statement.format(rows=rows))


def packed(rows: Sequence[Row]) -> dict[str, str]:
    """Write rows as the parameter of a statement of :func:`with_rows`."""
    return {"rows": json.dumps(rows, ensure_ascii=False, separators=(",", ":"))}
