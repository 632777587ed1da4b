"""Behind a real pgbouncer, whose connections to the server belong to somebody else after each transaction.

Left out where there is none: on Debian, ``apt-get install pgbouncer`` has them run.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import text
from support.agent import running, unique
from support.databases import opened, settings_for
from support.kafka import create_topic, produce
from support.payments import Raw
from support.pgbouncer import PROGRAM, pgbouncer
from support.postgresql import Server, primary
from support.requests import REQUEST

from models.inventory import ADAPTER, StockLine, StockMovement
from streams.database.engine import Database
from streams.database.in_database import InDatabase
from streams.database.offsets import lane_offsets
from streams.database.schema import check_schema, upgrade
from streams.delivery import Outbox, Record
from streams.failure.errors import DatabaseUnreachable, SetupError
from streams.sandbox import Cluster
from streams.stores.customer import Channel, Customer
from streams.stores.known import Placed
from streams.stores.notifications import State, claim, find_customer, ledger_of, load_customers, record
from streams.stores.stock import StockEffects, read_articles

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no pgbouncer on this machine")

LANES = 4
MOVEMENTS = 200


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with primary(tmp_path_factory.mktemp("pg") / "behind") as server:
        yield server


@pytest.fixture
def pooled(server: Server) -> Iterator[str]:
    """The URL of a database behind a pgbouncer that has two connections for everybody."""
    with pgbouncer(server, "transaction", servers=2) as url:
        asyncio.run(server.tell("DROP SCHEMA public CASCADE", "CREATE SCHEMA public"))
        yield url


async def check_all(databases: Sequence[Database]) -> None:
    for each in databases:
        await check_schema(each)


def move(record: Record, out: Outbox) -> None:
    out.effect(Placed(record.parse_as(ADAPTER), record.place))


@pytest.mark.parametrize("keep", [None, False], ids=["it is seen", "it is said"])
async def test_lanes_and_stores_share_the_poolers_few_connections(
    kafka: Cluster, pooled: str, keep: bool | None
) -> None:
    topic = await create_topic(kafka.bootstrap_servers, unique("pooled"), LANES)
    await create_topic(kafka.bootstrap_servers, topic + ".DLT", LANES)
    movements = [
        StockMovement(f"{each}:order-inventory", f"{each}", REQUEST.occurred_at, (StockLine(f"SKU{each % 7}", 1),))
        for each in range(MOVEMENTS)
    ]
    records = [Raw(number % LANES, b"k", each.to_json()) for number, each in enumerate(movements)]
    async with opened(pooled, prepared_statements=keep) as database:
        await asyncio.gather(upgrade(database), upgrade(database))  # the lock is the transaction's, and so held by one
        await load_customers(database, [Customer("kim", Channel.EMAIL, "kim@shop.example", "en_GB")])

        async def notify(number: int) -> None:
            assert await find_customer(database, "kim") is not None
            request = replace(REQUEST, request_id=f"r{number}:order-notification", order_id=f"{number}")
            assert await claim(database, request, Channel.EMAIL) == 1
            await record(database, request, State.SENT)
            assert [each.state for each in await ledger_of(database, request.request_id)] == [State.SENT]

        async with running(
            kafka.bootstrap_servers, [topic], move, group=unique("group"), actors=LANES, max_batch_records=5,
            finish=InDatabase(database, StockEffects()),
        ) as agent:  # fmt: skip
            for part in range(0, MOVEMENTS, 50):
                await produce(kafka.bootstrap_servers, topic, records[part : part + 50])
                await asyncio.gather(*(notify(number) for number in range(part, part + 10)))
            await agent.consumed()
        moved = Counter(line.sku for each in movements for line in each.lines)
        assert {each.sku: each.moved for each in await read_articles(database)} == moved
        assert {each.next_offset for each in await lane_offsets(database)} == {MOVEMENTS // LANES}


async def test_statements_that_are_kept_all_the_same_are_named_with_the_setting(pooled: str) -> None:
    async with opened(pooled) as database:
        await upgrade(database)
    # Each counts its statements by itself, as a process does.
    keeping = [Database(settings_for(pooled, prepared_statements=True)) for _ in range(3)]
    with pytest.raises(SetupError, match="set PAYSTREAM_DATABASE__PREPARED_STATEMENTS=false"):
        await check_all(keeping)
    for each in keeping:
        await each.close()


async def test_an_application_name_is_handed_on(pooled: str) -> None:
    async with opened(f"{pooled}?application_name=till-7") as database, database.reading() as connection:
        assert (await connection.execute(text("SHOW application_name"))).scalar_one() == "till-7"


async def test_a_pooler_without_transactions_says_so(server: Server) -> None:
    # In a thread, as it waits for the program in a loop of its own.
    pooler = pgbouncer(server, "statement", servers=2)
    url = await asyncio.to_thread(pooler.__enter__)
    try:
        async with opened(url) as database:
            with pytest.raises(DatabaseUnreachable, match="statement pooling"):
                await upgrade(database)
    finally:
        await asyncio.to_thread(pooler.__exit__, None, None, None)
