"""The engine: connections to SQLite or PostgreSQL, and what it means when there are none."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from streams.database.trouble import is_down, said
from streams.failure.errors import DependencyUnavailable, SetupError
from streams.settings import DatabaseSettings

DEPENDENCY: Final = "database"
"""The name under which breakers and pages show it."""

_DRIVERS: Final = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}
_READING: Final = {"paystream_reading": True}


class Database:
    """One process's connections to the database; opened when first needed.

    Arguments:
        settings: where it is, and how long to wait for it.

    Raises:
        SetupError: the URL names no database that paystream knows.
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        url = _url_of(settings)
        self.dialect = url.get_backend_name()
        """``sqlite`` or ``postgresql``."""
        self.name = url.set(query={}).render_as_string(hide_password=True).replace(f"+{url.get_driver_name()}", "")
        """Its URL without the password, for messages."""
        self._folder = Path(url.database or "").absolute().parent if self.dialect == "sqlite" else None
        self._writing: asyncio.Lock | None = None
        self.engine = _sqlite(url, settings) if self.dialect == "sqlite" else _postgresql(url, settings)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Write: what happens inside happens together or, if it raises, not at all.

        Raises:
            DependencyUnavailable: the database is down. Whether a commit happened before it went is not known.
        """
        with self._seeing_trouble():
            if self.dialect != "sqlite":
                async with self.engine.begin() as connection:
                    yield connection
                return
            # SQLite has one writer at a time, and lets the others poll: inside of a process we can queue.
            self._writing = self._writing or asyncio.Lock()
            async with self._writing, self.engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Read, from one state of the database.

        Raises:
            DependencyUnavailable: the database is down.
        """
        level = {} if self.dialect == "sqlite" else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self._seeing_trouble():
            async with self.engine.connect() as connection:
                await connection.execution_options(**_READING, **level)
                async with connection.begin():
                    yield connection

    @contextmanager
    def _seeing_trouble(self) -> Iterator[None]:
        # Asked beforehand, as SQLite's client answers a failed opening from a thread that may outlive the loop.
        if self._folder is not None and not os.access(self._folder, os.W_OK):
            raise DependencyUnavailable(DEPENDENCY, f"{self.name}: no folder {self._folder} that could be written to")
        try:
            yield
        except Exception as error:
            if is_down(error):
                raise DependencyUnavailable(DEPENDENCY, f"{self.name}: {said(error)}") from error
            raise

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


def _url_of(settings: DatabaseSettings) -> URL:
    try:
        url = make_url(settings.url.get_secret_value())
        driver = _DRIVERS.get(url.drivername)
    except (ArgumentError, ValueError):
        driver = None
    if driver is None:
        raise SetupError("PAYSTREAM_DATABASE__URL must be sqlite:///FILE or postgresql://user:password@host/database")
    url = url.set(drivername=driver)
    sslmode = url.query.get("sslmode")
    if sslmode is not None and driver.startswith("postgresql"):
        # libpq's name, in every example there is; asyncpg has its own.
        url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": sslmode})
    return url


def _postgresql(url: URL, settings: DatabaseSettings) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.timeout,
        connect_args={"timeout": settings.timeout, "command_timeout": settings.timeout},
    )


def _sqlite(url: URL, settings: DatabaseSettings) -> AsyncEngine:
    if url.database in (None, "", ":memory:"):
        raise SetupError("PAYSTREAM_DATABASE__URL names no file: a database in memory would forget with the process")
    engine = create_async_engine(
        url, pool_size=settings.pool_size, max_overflow=0, pool_timeout=settings.timeout,
        connect_args={"timeout": settings.timeout},
    )  # fmt: skip

    @event.listens_for(engine.sync_engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        # Python's sqlite3 would begin transactions where it thinks fit.
        connection.isolation_level = None
        cursor = connection.cursor()
        # Readers do not block the writer. With WAL, "normal" can lose the last commits when the power fails,
        # offset and effects alike, never one without the other: they are read from Kafka again.
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        # Whoever is going to write says so at once: taking the lock later can fail, and then nothing helps.
        reading = connection.get_execution_options().get("paystream_reading")
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine
