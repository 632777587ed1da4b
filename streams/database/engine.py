"""The engine: connections to SQLite or PostgreSQL, and what it means when there are none."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, TypeVar

from async_timeout import timeout_at
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from streams.database import postgresql, sqlite
from streams.database.address import parse
from streams.database.pool import Pool
from streams.database.trouble import is_down, is_locked, is_lost, said
from streams.failure.errors import DependencyUnavailable
from streams.settings import DatabaseSettings

DEPENDENCY: Final = "database"
"""The name under which breakers and pages show it."""

# SQLite answers at once where waiting would not help, for example while another process recovers the file.
_SQLITE_PAUSE: Final = 0.02

T = TypeVar("T")


class Database:
    """One process's connections to the database; opened when first needed.

    Arguments:
        settings: where it is, and how long to wait for it.

    Raises:
        SetupError: the URL names no database that paystream knows.
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        address = parse(settings.url.get_secret_value())
        self.dialect = address.dialect
        """``sqlite`` or ``postgresql``."""
        self.name = address.name
        """Its URL without the password, for messages."""
        make = sqlite.make_engine if self.dialect == "sqlite" else postgresql.make_engine
        self.engine = make(address, settings)
        self.file = Path(address.database).absolute() if self.dialect == "sqlite" else None
        """SQLite's file."""
        self._pool = Pool(self.engine)
        self._timeout = settings.timeout
        self._writing: asyncio.Lock | None = None
        self._identity: tuple[int, int] | None = None

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
                await connection.execution_options(**sqlite.READING, **level)
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
            if is_lost(error):
                self._pool.give_up()
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
            self._look_whether_it_is_the_same(self.file)
            return
        raise DependencyUnavailable(DEPENDENCY, f"{self.name}: {what}")

    def _look_whether_it_is_the_same(self, file: Path) -> None:
        """Let go of a file that another has taken the place of, a backup for example: its name leads elsewhere now."""
        try:
            found = file.stat()
        except OSError:
            return  # it has just gone, and opening it will say so
        identity = (found.st_dev, found.st_ino)
        if self._identity not in (None, identity):
            self._pool.give_up()
        self._identity = identity

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


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
