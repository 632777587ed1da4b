"""What becomes of connections when another PostgreSQL server takes over; with two real servers."""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from support.agent import Running, running, unique
from support.databases import opened, settings_for
from support.kafka import create_topic, produce
from support.payments import Raw
from support.postgresql import Server, copy_of, fail_over, in_front_of, primary, standby_of
from support.waiting import eventually

from streams.database.engine import Database
from streams.database.in_database import InDatabase
from streams.database.schema import check_schema, upgrade
from streams.delivery import Outbox, Record
from streams.failure.errors import DatabaseUnreachable, DependencyUnavailable
from streams.sandbox import Cluster
from streams.settings import FailureSettings

PAUSE = 1.0
TIMEOUT = 2.0
CONNECTIONS = 4


class Notes:
    async def apply(self, connection: AsyncConnection, effects: Sequence[str]) -> None:
        await connection.execute(text("INSERT INTO notes VALUES (:note)"), [{"note": note} for note in effects])


def note(record: Record, out: Outbox) -> None:
    out.effect((record.value or b"").decode())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of the tests in which none takes over."""
    with primary(tmp_path_factory.mktemp("pg") / "server") as server:
        asyncio.run(prepare(server))
        yield server


@pytest.fixture(scope="module")
def standby(server: Server) -> Iterator[Server]:
    """One that follows it."""
    with standby_of(server, server.folder.parent / "standby") as standby:
        yield standby


@pytest.fixture
def old(server: Server, tmp_path: Path) -> Iterator[Server]:
    """A server of which another will take the place."""
    with copy_of(server, tmp_path / "old") as copy:
        asyncio.run(copy.tell("TRUNCATE notes"))
        yield copy


@pytest.fixture
def new(old: Server) -> Iterator[Server]:
    """That other one, which follows it."""
    with standby_of(old, old.folder.parent / "new") as server:
        yield server


@asynccontextmanager
async def impatient(url: str, **changes: object) -> AsyncIterator[Database]:
    database = Database(settings_for(url, **{"timeout": TIMEOUT, "pool_size": CONNECTIONS, **changes}))
    try:
        yield database
    finally:
        await database.close()


async def prepare(server: Server) -> None:
    async with opened(server.url) as database:
        await upgrade(database)
        async with database.transaction() as connection:
            await connection.execute(text("CREATE TABLE notes (note varchar(40))"))


async def write(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("INSERT INTO notes VALUES ('m')"))


async def asked_twice(database: Database, meanwhile: Callable[[], None]) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("SELECT 1"))
        meanwhile()
        await connection.execute(text("SELECT 1"))


async def overstayed(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("SET LOCAL statement_timeout = 50"))
        await connection.execute(text("SELECT pg_sleep(5)"))


async def filled(database: Database) -> None:
    """Have as many connections open as there may be."""
    async with AsyncExitStack() as together:
        for _ in range(CONNECTIONS):
            await (await together.enter_async_context(database.reading())).execute(text("SELECT 1"))


async def pids(database: Database) -> set[int]:
    """The processes that serve the connections of the database."""
    async with AsyncExitStack() as together:
        connections = [await together.enter_async_context(database.reading()) for _ in range(CONNECTIONS)]
        return {(await each.execute(text("SELECT pg_backend_pid()"))).scalar_one() for each in connections}


def read_only(agent: Running) -> bool:
    return all("read" in lane.status().reason for lane in agent.source.lanes.values())


async def noted(server: Server) -> Counter[str]:
    return Counter(str(row["note"]) for row in await server.tell("SELECT note FROM notes"))


@pytest.mark.deadline(120)
async def test_effects_happen_once_across_a_failover_and_go_on_within_a_pause(
    kafka: Cluster, old: Server, new: Server
) -> None:
    await old.tell("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
    topic, group, partitions = unique("failover"), unique("group"), 3
    for name in (topic, topic + ".DLT"):
        await create_topic(kafka.bootstrap_servers, name, partitions)
    written = 0

    async def go_on(count: int) -> None:
        nonlocal written
        records = [Raw(number % partitions, b"k", b"%d" % number) for number in range(written, written + count)]
        await produce(kafka.bootstrap_servers, topic, records)
        written += count

    async with in_front_of(old) as front:
        failure = FailureSettings(backoff="fixed", initial_interval=0.02, max_retries=2, pause_interval=PAUSE)
        async with impatient(front.url()) as database, running(
            kafka.bootstrap_servers, [topic], note, group=group, actors=partitions, max_batch_records=20,
            finish=InDatabase(database, Notes()), failure=failure,
        ) as agent:  # fmt: skip
            await filled(database)
            await go_on(300)
            await agent.consumed()
            await old.becomes_read_only()
            await go_on(300)
            await eventually(lambda: read_only(agent), "all lanes to wait for a server that can be written to")
            await fail_over(old, new)
            front.leads_to = new
            over = time.monotonic()
            await agent.consumed()
            took = time.monotonic() - over
            await go_on(300)
            await agent.consumed()
    assert await noted(new) == Counter(str(number) for number in range(written))
    assert len(await noted(old)) == 300
    assert took < PAUSE + 3.0, "it found the server at the next try; what is left is a busy machine's"


async def test_of_several_hosts_the_one_that_can_be_written_to_is_found_before_and_after(
    old: Server, new: Server
) -> None:
    hosts = "&".join(f"host={quote(str(each.sockets))}" for each in (new, old))
    async with impatient(f"postgresql://postgres@/postgres?{hosts}") as database:
        await write(database)
        assert len(await noted(old)) == 1
        await fail_over(old, new)
        with pytest.raises(DependencyUnavailable, match="read-only transaction"):
            await write(database)
        await write(database)
        await filled(database)
    assert await noted(new) == {"m": 2}


async def test_a_host_that_does_not_answer_at_all_holds_nobody_up(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = f"127.0.0.1:{silent.getsockname()[1]},{quote(str(server.sockets))}"
        async with impatient(f"postgresql://postgres@/postgres?host={hosts}&sslmode=disable", timeout=30) as database:
            began = time.monotonic()
            await write(database)
            assert 1.0 <= time.monotonic() - began < 10
            began = time.monotonic()
            await filled(database)  # the one that answered is asked first from then on
            assert time.monotonic() - began < 3.0


async def test_hosts_of_which_none_can_be_used_are_named_each_with_its_reason(server: Server, standby: Server) -> None:
    missing = server.sockets.with_name("nowhere")
    hosts = "&".join(f"host={quote(str(each))}" for each in (missing, standby.sockets))
    async with impatient(f"postgresql://postgres:secret@/postgres?{hosts}") as database:
        with pytest.raises(DatabaseUnreachable) as raised:
            await check_schema(database)
    assert f"{missing}: FileNotFoundError" in str(raised.value)
    assert f"{standby.sockets}: it cannot be written to" in str(raised.value)
    assert "secret" not in str(raised.value)


async def test_a_standby_is_read_from_only_by_who_says_that_any_will_do(standby: Server) -> None:
    async with impatient(standby.url) as database:
        with pytest.raises(DatabaseUnreachable, match="it cannot be written to"):
            await check_schema(database)
    async with impatient(f"{standby.url}&target_session_attrs=any") as database:
        await check_schema(database)
        with pytest.raises(DependencyUnavailable, match="read-only transaction"):
            await write(database)


@pytest.mark.parametrize("idle", [True, False], ids=["while nobody uses it", "while it is used"])
async def test_connections_that_lead_nowhere_any_more_are_given_up_together(server: Server, idle: bool) -> None:
    async with in_front_of(server) as front, impatient(front.url()) as database:
        await filled(database)
        if idle:
            front.go_dead()
        began = time.monotonic()
        with pytest.raises(DependencyUnavailable, match="no answer in time"):
            await asked_twice(database, front.go_dead)
        # Neither a rollback nor a farewell is waited for on top of it.
        assert time.monotonic() - began < TIMEOUT + 1.5
        began = time.monotonic()
        await filled(database)
        await write(database)
        assert time.monotonic() - began < TIMEOUT


async def test_a_server_that_throws_everybody_out_is_come_back_to_after_one_error(server: Server) -> None:
    async with impatient(server.url) as database:
        before = await pids(database)
        await server.tell("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        with pytest.raises(DependencyUnavailable):
            await write(database)
        assert not before & await pids(database)


@pytest.mark.parametrize("how", ["DROP DATABASE {name} WITH (FORCE)", "ALTER DATABASE {name} RENAME TO {name}_away"])
async def test_a_database_that_goes_and_comes_back_is_gone_and_back(server: Server, how: str) -> None:
    name = f"shop_{uuid.uuid4().hex[:8]}"
    await server.tell(f"CREATE DATABASE {name}")
    async with impatient(server.url.replace("/postgres?", f"/{name}?")) as database:
        await filled(database)
        others = f"FROM pg_stat_activity WHERE datname = '{name}'"
        await server.tell(f"SELECT pg_terminate_backend(pid) {others}")
        await server.until(f"NOT EXISTS (SELECT {others})")
        await server.tell(how.format(name=name))
        for _ in range(2):
            with pytest.raises(DependencyUnavailable):
                await filled(database)
        await server.tell(f"CREATE DATABASE {name}")
        await filled(database)


async def test_connections_that_work_are_kept_when_there_may_be_no_more_of_them(server: Server) -> None:
    await server.tell("CREATE ROLE few LOGIN SUPERUSER CONNECTION LIMIT 2", "ALTER ROLE few NOSUPERUSER")
    async with impatient(server.url.replace("postgres@", "few@")) as database:
        async with database.reading() as first, database.reading() as second:
            had = {(await each.execute(text("SELECT pg_backend_pid()"))).scalar_one() for each in (first, second)}
            with pytest.raises(DependencyUnavailable, match="too many connections"):
                async with database.reading():
                    pass
        async with database.reading() as first, database.reading() as second:
            has = {(await each.execute(text("SELECT pg_backend_pid()"))).scalar_one() for each in (first, second)}
    assert has == had


async def test_a_statement_that_takes_too_long_costs_no_other_connection(server: Server) -> None:
    async with impatient(server.url) as database:
        before = await pids(database)
        with pytest.raises(DependencyUnavailable, match="statement timeout"):
            await overstayed(database)
        assert await pids(database) == before
