"""Connections to real databases: how long they wait for others, and how many there are."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from support.databases import make_url_of, settings_for

from streams.database.engine import Database
from streams.failure.errors import DependencyUnavailable

LANES = 8
TIMEOUT = 2.0


@asynccontextmanager
async def short_of_patience(url: str, **changes: object) -> AsyncIterator[Database]:
    database = Database(settings_for(url, **{"timeout": TIMEOUT, **changes}))
    try:
        yield database
    finally:
        await database.close()


@contextmanager
def held(folder: Path, statement: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
    """Hold the lock of the SQLite file in `folder`, as another process does, until rolled back or the block ends."""
    holder = sqlite3.connect(folder / "paystream.db", isolation_level=None)
    try:
        holder.execute(statement)
        yield holder
    finally:
        holder.close()


async def with_notes(url: str) -> str:
    """Make a table for these tests in the database and return its URL."""
    async with short_of_patience(url, timeout=10.0) as database:
        database.create()
        async with database.transaction() as connection:
            await connection.execute(text("CREATE TABLE notes (note varchar(20))"))
    return url


async def write(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("INSERT INTO notes VALUES ('m')"))


async def count(database: Database) -> int:
    async with database.reading() as connection:
        return (await connection.execute(text("SELECT count(*) FROM notes"))).scalar_one()


async def test_all_who_wait_for_a_locked_file_give_up_after_one_time_out(tmp_path: Path) -> None:
    url = await with_notes(make_url_of("sqlite", tmp_path, None))
    async with short_of_patience(url) as database:
        with held(tmp_path):
            began = asyncio.get_running_loop().time()
            results = await asyncio.gather(*(write(database) for _ in range(LANES)), return_exceptions=True)
            took = asyncio.get_running_loop().time() - began
        assert [type(result) for result in results] == [DependencyUnavailable] * LANES
        assert TIMEOUT <= took < 2 * TIMEOUT
        await asyncio.gather(*(write(database) for _ in range(LANES)))
        assert await count(database) == LANES


async def test_they_succeed_when_the_lock_goes_in_time(tmp_path: Path) -> None:
    url = await with_notes(make_url_of("sqlite", tmp_path, None))
    async with short_of_patience(url, timeout=10.0) as database:
        with held(tmp_path) as holder:
            writes = [asyncio.create_task(write(database)) for _ in range(LANES)]
            done, _ = await asyncio.wait(writes, timeout=1.5)
            assert not done
            holder.rollback()
            await asyncio.wait_for(asyncio.gather(*writes), 5)
        assert await count(database) == LANES


@pytest.mark.parametrize("warm", [False, True], ids=["while connecting", "while beginning"])
async def test_a_cancelled_transaction_does_not_sit_out_the_time_out(tmp_path: Path, warm: bool) -> None:
    url = await with_notes(make_url_of("sqlite", tmp_path, None))
    async with short_of_patience(url, timeout=10.0) as database:
        if warm:
            await write(database)
        with held(tmp_path):
            writes = [asyncio.create_task(write(database)) for _ in range(LANES)]
            await asyncio.sleep(0.5)
            for each in writes:
                each.cancel()
            done, _ = await asyncio.wait(writes, timeout=5)
            assert len(done) == LANES
            assert all(each.cancelled() for each in done)
        await asyncio.wait_for(write(database), 5)  # and nothing keeps the lock
        assert await count(database) == 1 + warm


async def test_a_reader_of_a_file_that_one_process_has_to_itself_gives_up_and_comes_back(tmp_path: Path) -> None:
    url = await with_notes(make_url_of("sqlite", tmp_path, None))
    async with short_of_patience(url) as database:
        with held(tmp_path, "PRAGMA locking_mode = EXCLUSIVE") as holder:
            holder.execute("BEGIN IMMEDIATE")
            began = asyncio.get_running_loop().time()
            results = await asyncio.gather(*(count(database) for _ in range(LANES)), return_exceptions=True)
            assert [type(result) for result in results] == [DependencyUnavailable] * LANES
            assert asyncio.get_running_loop().time() - began < 2 * TIMEOUT
        assert await count(database) == 0


async def test_a_transaction_that_raises_has_changed_nothing(empty_database_url: str) -> None:
    async def fail(database: Database) -> None:
        async with database.transaction() as connection:
            await connection.execute(text("INSERT INTO notes VALUES ('m')"))
            raise KeyError("sku")

    async with short_of_patience(await with_notes(empty_database_url)) as database:
        with pytest.raises(KeyError):
            await fail(database)
        assert await count(database) == 0


async def test_sqlite_has_a_log_of_its_own_so_that_readers_do_not_block_the_writer(tmp_path: Path) -> None:
    url = await with_notes(make_url_of("sqlite", tmp_path, None))
    async with short_of_patience(url) as database:
        async with database.reading() as connection:
            assert (await connection.execute(text("PRAGMA journal_mode"))).scalar_one() == "wal"
            before = (await connection.execute(text("SELECT count(*) FROM notes"))).scalar_one()
            await write(database)
            assert (await connection.execute(text("SELECT count(*) FROM notes"))).scalar_one() == before
        assert await count(database) == before + 1


async def test_there_are_no_more_connections_than_the_setting_says(empty_database_url: str) -> None:
    url = await with_notes(empty_database_url)
    async with short_of_patience(url, pool_size=2, timeout=1.0) as database, AsyncExitStack() as held_open:
        for _ in range(2):
            await held_open.enter_async_context(database.reading())
        began = asyncio.get_running_loop().time()
        with pytest.raises(DependencyUnavailable):
            await count(database)
        assert 1.0 <= asyncio.get_running_loop().time() - began < 5
        waiting = asyncio.create_task(count(database))
        await asyncio.sleep(0.1)
        await held_open.aclose()
        assert await waiting == 0


async def test_a_file_that_another_took_the_place_of_is_let_go_of(tmp_path: Path) -> None:
    url = await with_notes(make_url_of("sqlite", tmp_path, None))
    shutil.copy(tmp_path / "paystream.db", tmp_path / "backup.db")
    async with short_of_patience(url) as database:
        await write(database)
        for name in ("paystream.db-wal", "paystream.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        os.replace(tmp_path / "backup.db", tmp_path / "paystream.db")
        assert await count(database) == 0
        await write(database)
        await write(database)
    async with short_of_patience(url) as again:
        assert await count(again) == 2
