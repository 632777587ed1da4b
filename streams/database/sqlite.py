"""Connections to a SQLite file."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from streams.database.address import Address
from streams.settings import DatabaseSettings

READING: Final = {"paystream_reading": True}
"""Of a connection that will not write."""

# A cancelled statement is over when SQLite's thread has come back from waiting for the file: this long at most.
_WAIT: Final = 0.25


def make_engine(address: Address, settings: DatabaseSettings) -> AsyncEngine:
    """Make the engine; it opens the file when it is first needed."""
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=address.database), pool_size=settings.pool_size, max_overflow=0,
        pool_timeout=settings.timeout, connect_args={"timeout": min(_WAIT, settings.timeout)}, hide_parameters=True,
    )  # fmt: skip

    @event.listens_for(engine.sync_engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        # Python's sqlite3 would begin transactions where it thinks fit.
        connection.isolation_level = None
        try:
            cursor = connection.cursor()
            # Nothing here may need the file: SQLAlchemy has connections wait for each other until one was made.
            cursor.execute("PRAGMA foreign_keys = ON")
            cursor.close()
        except BaseException:
            connection.close()  # nobody else knows of it yet, and it has a thread
            raise

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get("paystream_reading"):
            connection.exec_driver_sql("BEGIN")
            return
        if not connection.info.get("paystream_writes"):
            # Readers do not block the writer. With WAL, "normal" can lose the last commits when the power fails,
            # offset and effects alike, never one without the other: they are read from Kafka again. The file stays
            # that way, so that who only reads need not ask for it.
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            connection.exec_driver_sql("PRAGMA synchronous = NORMAL")
            connection.info["paystream_writes"] = True
        # Whoever is going to write says so at once: taking the lock later can fail, and then nothing helps.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
