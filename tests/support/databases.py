"""Real databases for tests: SQLite files, and one PostgreSQL server that a wheel brings along."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.engine import make_url

from streams.database.address import sqlite_url
from streams.database.engine import Database
from streams.database.schema import upgrade
from streams.settings import DatabaseSettings
from support.postgresql import pgserver

DIALECTS = ("sqlite", "postgresql")


@contextmanager
def postgresql_server(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL server that listens on a socket in `folder` only; yield its URL."""
    server = pgserver(folder).get_server(folder / "postgresql", cleanup_mode="delete")
    try:
        yield f"postgresql://postgres@/postgres?host={folder / 'postgresql'}"
    finally:
        server.cleanup()


def settings_for(url: str, **changes: object) -> DatabaseSettings:
    """Return settings that point to `url`."""
    return DatabaseSettings.model_validate({"url": SecretStr(url), **changes})


async def create_postgresql(server_url: str) -> str:
    """Create an empty database on the server and return its URL."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    server = Database(settings_for(server_url))
    async with server.engine.connect() as connection:
        committing = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await committing.execute(text(f"CREATE DATABASE {name}"))
    await server.close()
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


async def upgraded(url: str) -> str:
    """Bring the schema of the database at `url` to its newest version and return the URL."""
    async with opened(url) as database:
        await upgrade(database)
    return url


@asynccontextmanager
async def opened(url: str, **changes: object) -> AsyncIterator[Database]:
    """Open the database at `url` for as long as the block lasts."""
    database = Database(settings_for(url, **changes))
    try:
        yield database
    finally:
        await database.close()


def make_url_of(dialect: str, folder: Path, server_url: str | None) -> str:
    """Make an empty database and return its URL."""
    if dialect == "sqlite":
        return sqlite_url(folder / "paystream.db")
    assert server_url is not None
    return asyncio.run(create_postgresql(server_url))
