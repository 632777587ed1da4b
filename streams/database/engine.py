"""The engine: connections to SQLite or PostgreSQL, and what it means when there are none."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from async_timeout import timeout_at
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from streams.database.trouble import is_down, is_locked, said
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
# Source: PostgreSQL's documentation, "SSL Support", table "SSL Mode Descriptions".
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# What asyncpg and SQLAlchemy take as it stands in the URL, under the names that libpq has for it.
_AS_THEY_STAND: Final = ("host", "port", "user", "password", "passfile", "target_session_attrs")
_POSTGRESQL_OPTIONS: Final = ("sslmode", "ssl", "application_name", "connect_timeout", *_AS_THEY_STAND)
_READING: Final = {"paystream_reading": True}
# A cancelled statement is over when SQLite's thread has come back from waiting for the file: this long at most.
_SQLITE_WAIT: Final = 0.25
# SQLite answers at once where waiting would not help, for example while another process recovers the file.
_SQLITE_PAUSE: Final = 0.02
_LONGEST_TIMEOUT: Final = 24 * 3600

T = TypeVar("T")


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
        self.engine = _sqlite(url, settings) if self.dialect == "sqlite" else _postgresql(url, settings)
        self.file = Path(url.database or "").absolute() if self.dialect == "sqlite" else None
        """SQLite's file."""
        self._timeout = settings.timeout
        self._writing: asyncio.Lock | None = None

    @property
    def missing(self) -> bool:
        """Whether it is a SQLite file that is not there, though its folder is."""
        return self.file is not None and not os.path.lexists(self.file) and self.file.parent.is_dir()

    def create(self) -> None:
        """Make SQLite's file if it is missing: an empty one is a database. Connecting never makes one.

        Raises:
            DependencyUnavailable: its folder cannot be written to.
        """
        if self.file is None or not self.missing:
            return
        try:
            self.file.touch(mode=0o644)
        except OSError as error:
            raise DependencyUnavailable(DEPENDENCY, f"{self.name}: {said(error)}") from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Write: what happens inside happens together or, if it raises, not at all.

        Raises:
            DependencyUnavailable: the database is down. Whether a commit happened before it went is not known.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout
        with self._seeing_trouble(writing=True):
            async with self._turn(deadline), self._connected(deadline) as connection:
                begun = await _patiently(connection.begin, deadline)
                yield connection
                await begun.commit()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Read, from one state of the database.

        Raises:
            DependencyUnavailable: the database is down.
        """
        level = {} if self.dialect == "sqlite" else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        deadline = asyncio.get_running_loop().time() + self._timeout
        with self._seeing_trouble():
            async with self._connected(deadline) as connection:
                await connection.execution_options(**_READING, **level)
                async with connection.begin():
                    if self.dialect == "sqlite":
                        # BEGIN takes no lock, the first look does: so it is taken here, where it can be waited for.
                        await _patiently(lambda: connection.exec_driver_sql("PRAGMA schema_version"), deadline)
                    yield connection

    @asynccontextmanager
    async def _turn(self, deadline: float) -> AsyncIterator[None]:
        """Wait for the transactions of this process: SQLite has one writer at a time, and lets the others poll."""
        if self.dialect != "sqlite":
            yield
            return
        self._writing = self._writing or asyncio.Lock()
        try:
            async with timeout_at(deadline):
                await self._writing.acquire()
        except asyncio.TimeoutError:
            others = f"{self.name}: other transactions of this process have had it for {self._timeout:g} s"
            raise DependencyUnavailable(DEPENDENCY, others) from None
        try:
            yield
        finally:
            self._writing.release()

    @asynccontextmanager
    async def _connected(self, deadline: float) -> AsyncIterator[AsyncConnection]:
        connection = await _patiently(lambda: self.engine.connect().start(), deadline)
        try:
            yield connection
        finally:
            await asyncio.shield(connection.close())  # which rolls back what was not committed

    @contextmanager
    def _seeing_trouble(self, *, writing: bool = False) -> Iterator[None]:
        self._look_at_file(writing)
        try:
            yield
        except Exception as error:
            if is_down(error):
                raise DependencyUnavailable(DEPENDENCY, f"{self.name}: {said(error)}") from error
            raise

    def _look_at_file(self, writing: bool) -> None:
        # Asked beforehand, as SQLite's client answers a failed opening from a thread that may outlive the loop, and
        # makes a file that is not there.
        if self.file is None:
            return
        if not self.file.parent.is_dir() or (writing and not os.access(self.file.parent, os.W_OK)):
            what = f"no folder {self.file.parent} that could be {'written to' if writing else 'read'}"
        elif not os.access(self.file, os.R_OK) or self.file.is_dir():
            what = f"no file {self.file} that could be read"
        else:
            return
        raise DependencyUnavailable(DEPENDENCY, f"{self.name}: {what}")

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
    _check_options(url, () if driver.startswith("sqlite") else _POSTGRESQL_OPTIONS)
    return url


def _check_options(url: URL, known: tuple[str, ...]) -> None:
    unknown = sorted(set(url.query) - set(known))
    if unknown:
        knows = f"it knows {', '.join(known)}" if known else "for SQLite there are none"
        raise SetupError(
            f"PAYSTREAM_DATABASE__URL has an option that paystream does not know: {', '.join(unknown)}; {knows}"
        )
    twice = sorted(name for name, value in url.query.items() if not isinstance(value, str) and name != "host")
    if twice:
        raise SetupError(f"PAYSTREAM_DATABASE__URL has an option more than once: {', '.join(twice)}")


async def _patiently(step: Callable[[], Awaitable[T]], deadline: float) -> T:
    """Take a step again for as long as SQLite's file is locked, until the deadline has come."""
    clock = asyncio.get_running_loop().time
    while True:
        try:
            return await step()
        except DBAPIError as error:
            if not is_locked(error) or clock() >= deadline:
                raise
        await asyncio.sleep(_SQLITE_PAUSE)


def _postgresql(url: URL, settings: DatabaseSettings) -> AsyncEngine:
    arguments = {"timeout": settings.timeout, "command_timeout": settings.timeout, **_connect_arguments(url)}
    url = url.difference_update_query([name for name in url.query if name not in _AS_THEY_STAND])
    try:
        return create_async_engine(
            url,
            pool_size=settings.pool_size,
            max_overflow=0,
            pool_timeout=settings.timeout,
            connect_args=arguments,
            hide_parameters=True,  # they are payload, and an error's text ends up in logs
        )
    except (ArgumentError, ValueError) as error:
        raise SetupError(
            "PAYSTREAM_DATABASE__URL: its hosts and ports cannot be understood; "
            "postgresql://user:password@host:port/database is what it looks like"
        ) from error


def _connect_arguments(url: URL) -> dict[str, Any]:
    """Translate the options that libpq, and so every example there is, has other names for than asyncpg."""
    arguments: dict[str, Any] = {}
    mode = url.query.get("sslmode", url.query.get("ssl"))
    if mode is not None:
        if mode not in _SSL_MODES:
            raise SetupError(
                f"PAYSTREAM_DATABASE__URL: sslmode is {mode!r}, and must be one of {', '.join(_SSL_MODES)}"
            )
        arguments["ssl"] = mode
    name = url.query.get("application_name")
    if name is not None:
        arguments["server_settings"] = {"application_name": name}
    seconds = url.query.get("connect_timeout")
    if seconds is not None:
        if not (isinstance(seconds, str) and seconds.isdecimal() and 0 < int(seconds) < _LONGEST_TIMEOUT):
            raise SetupError(
                f"PAYSTREAM_DATABASE__URL: connect_timeout is {seconds!r}, and must be a number of seconds"
            )
        arguments["timeout"] = float(seconds)
    return arguments


def _sqlite(url: URL, settings: DatabaseSettings) -> AsyncEngine:
    if url.host or url.username:
        raise SetupError("PAYSTREAM_DATABASE__URL: a SQLite file has no host; it is sqlite:///FILE, with three slashes")
    if url.database in (None, "", ":memory:"):
        raise SetupError("PAYSTREAM_DATABASE__URL names no file: a database in memory would forget with the process")
    engine = create_async_engine(
        url, pool_size=settings.pool_size, max_overflow=0, pool_timeout=settings.timeout,
        connect_args={"timeout": min(_SQLITE_WAIT, settings.timeout)}, hide_parameters=True,
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
