"""Forgetting what has long been done: rows that are kept so that a repeat is recognised."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Table, delete, select

from streams.database.engine import Database
from streams.database.notification_tables import notifications
from streams.database.sales_tables import sales_facts
from streams.database.stock_tables import stock_movements

# In portions: agents need not wait for long, and what takes longer than a statement may would be undone, and be more
# the next night.
_AT_ONCE: Final = 50_000
_KEPT: Final[tuple[tuple[Table, Column[int]], ...]] = (
    (stock_movements, stock_movements.c.seen_at),
    (sales_facts, sales_facts.c.seen_at),
    (notifications, notifications.c.claimed_at),
)


async def prune(database: Database, before: int) -> dict[str, int]:
    """Delete the rows by which repeats are recognised, of events that were seen long ago.

    Arguments:
        database: where they are.
        before: seconds since 1970. A repeat that comes later than that counts as new.

    Returns:
        how many rows were deleted, by table.

    Raises:
        DependencyUnavailable: the database is down.
    """
    deleted = {}
    for table, seen_at in _KEPT:
        (key,) = table.primary_key.columns
        some = delete(table).where(key.in_(select(key).where(seen_at < before).limit(_AT_ONCE)))
        deleted[table.name] = 0
        while True:
            async with database.transaction() as connection:
                gone = (await connection.execute(some)).rowcount
            deleted[table.name] += gone
            if gone < _AT_ONCE:
                break
    return deleted
