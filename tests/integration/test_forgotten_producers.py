"""Brokers that have forgotten a producer, as they do after a week without a transaction."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from support.agent import lane_alone, running, unique
from support.databases import make_url_of, opened, upgraded
from support.kafka import consumer, create_topic, partitions_of, produce, read_topic
from support.orders import order
from support.payments import Raw
from support.waiting import eventually

from agents.platform import handler as into_files
from streams.database.in_database import InDatabase
from streams.delivery import Outbox, Record, Skip
from streams.failure.errors import PermanentError, ProducerForgotten
from streams.kafka.client_log import quieten_clients
from streams.platform.folder import Folder
from streams.platform.in_files import InFiles
from streams.sandbox import Cluster
from streams.settings import Guarantee, PlatformSettings

# What takes Kafka seven days by default, and a day for producers without transactions.
_FORGETFUL = {
    "transactional.id.expiration.ms": "3000",
    "transaction.remove.expired.transaction.cleanup.interval.ms": "200",
    "producer.id.expiration.ms": "3000",
    "producer.id.expiration.check.interval.ms": "200",
}


@pytest.fixture(scope="module")
def forgetful() -> Iterator[Cluster]:
    quieten_clients()  # as a worker does
    cluster = Cluster(properties=_FORGETFUL)
    asyncio.run(cluster.start())
    yield cluster
    asyncio.run(cluster.stop())


async def forgotten(servers: str, transactional_id: str, times: int = 1) -> None:
    """Wait until the brokers have written down that they know a transactional id no more."""
    seen = 0
    async with consumer(servers, "read_uncommitted") as client:
        client.assign(await partitions_of(client, "__transaction_state"))
        await client.seek_to_beginning()

        async def gone() -> bool:
            nonlocal seen
            for records in (await client.getmany(timeout_ms=200)).values():
                seen += sum(each.value is None and transactional_id.encode() in each.key for each in records)
            return seen >= times

        await eventually(gone, f"{transactional_id} to be forgotten")


def louder_than_info(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]


async def _topic(cluster: Cluster, name: str) -> str:
    return await create_topic(cluster.bootstrap_servers, unique(name), 1)


def _numbered(*numbers: int) -> list[Raw]:
    return [Raw(0, b"k", b"%d" % number) for number in numbers]


def opened_anew(caplog: pytest.LogCaptureFixture) -> int:
    return sum("is opened anew" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("outputs", [0, 1, 3], ids=["an offset alone", "one output topic", "three output topics"])
async def test_a_lane_that_was_idle_until_it_was_forgotten_goes_on_without_a_word(
    forgetful: Cluster, caplog: pytest.LogCaptureFixture, outputs: int
) -> None:
    servers, topic, group = forgetful.bootstrap_servers, await _topic(forgetful, "in"), unique("group")
    copies = [await _topic(forgetful, "out") for _ in range(outputs)]

    def copy(record: Record, outbox: Outbox) -> None:
        if not copies:
            raise Skip("nothing to say")
        for each in copies:
            outbox.emit(each, record.value)

    async with running(servers, [topic], copy, group=group, dead_letters=False) as agent:
        await produce(servers, topic, _numbered(1))
        await agent.consumed()
        caplog.clear()
        with caplog.at_level(logging.INFO):
            for time, numbers in enumerate([(2, 3), (4, 5)], start=1):
                await forgotten(servers, f"{group}-{topic}-0", time)
                await produce(servers, topic, _numbered(*numbers))
                await agent.consumed()
                assert opened_anew(caplog) == time
        for each in copies:
            assert [record.value for record in await read_topic(servers, each)] == [b"1", b"2", b"3", b"4", b"5"]
        assert agent.source.meter.tally.consumed == 5
        assert agent.source.meter._monitor.metric_counts["agent.halted"] == 0
    assert louder_than_info(caplog) == []


async def test_files_that_are_committed_after_a_week_are_shown_once(
    forgetful: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    servers, topic, group = forgetful.bootstrap_servers, await _topic(forgetful, "orders"), unique("group")
    folder = Folder(str(tmp_path))
    finish = InFiles(folder, PlatformSettings(folder=str(tmp_path), roll_age=0.001))
    async with running(servers, [topic], into_files, group=group, finish=finish, dead_letters=False) as agent:
        await produce(servers, topic, [Raw(0, b"1", order(1))])
        await agent.consumed()
        await forgotten(servers, f"{group}-{topic}-0")
        caplog.clear()
        with caplog.at_level(logging.INFO):
            await produce(servers, topic, [Raw(0, b"%d" % each, order(each)) for each in (2, 3)])
            await agent.consumed()
        assert opened_anew(caplog) == 1
    assert louder_than_info(caplog) == []
    listing = folder.listing()
    assert [(file.covered.first, file.covered.next_offset) for file in listing.files] == [(0, 1), (1, 3)]
    assert not list(folder.waiting())


async def test_a_former_owner_that_was_forgotten_commits_nothing_beside_its_successor(forgetful: Cluster) -> None:
    servers, topic, group = forgetful.bootstrap_servers, await _topic(forgetful, "in"), unique("group")
    out, source = await _topic(forgetful, "out"), TopicPartition(topic, 0)
    go_on, in_hand = asyncio.Event(), asyncio.Event()

    async def frozen(record: Record, outbox: Outbox) -> None:
        in_hand.set()
        await go_on.wait()
        outbox.emit(out, b"the former's")

    def copy(record: Record, outbox: Outbox) -> None:
        outbox.emit(out, record.value)

    async with lane_alone(servers, source, frozen, group=group) as former:
        await produce(servers, topic, _numbered(1, 2))
        await in_hand.wait()
        await forgotten(servers, f"{group}-{topic}-0")
        async with lane_alone(servers, source, copy, group=group):
            await eventually(lambda: _count(servers, out, 2), "the successor to have copied both")
            go_on.set()
            await eventually(lambda: former.failures, "the former owner to be refused")
            assert isinstance(former.failures[0], ProducerForgotten)
            assert [record.value for record in await read_topic(servers, out)] == [b"1", b"2"]
    assert [record.value for record in await read_topic(servers, out, "read_uncommitted")] == [b"1", b"2"]


async def _count(servers: str, topic: str, wanted: int) -> bool:
    return len(await read_topic(servers, topic)) == wanted


@pytest.mark.parametrize("kind", [*(Guarantee.AT_LEAST_ONCE, Guarantee.AT_MOST_ONCE), "database"])
async def test_a_producer_without_transactions_that_was_forgotten_writes_on(
    forgetful: Cluster, caplog: pytest.LogCaptureFixture, kind: Guarantee | str, tmp_path: Path
) -> None:
    servers, topic = forgetful.bootstrap_servers, await _topic(forgetful, "in")
    letters = await create_topic(servers, topic + ".DLT", 1)
    other, other_group = await _topic(forgetful, "in"), unique("group")

    def refuse(record: Record, outbox: Outbox) -> None:
        raise PermanentError("no")

    guarantee = kind if isinstance(kind, Guarantee) else Guarantee.EXACTLY_ONCE
    url = await upgraded(make_url_of("sqlite", tmp_path, None))
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(opened(url))
        finish = InDatabase(database, _Nothing()) if kind == "database" else None
        agent = await stack.enter_async_context(running(servers, [topic], refuse, guarantee=guarantee, finish=finish))
        await produce(servers, topic, _numbered(1, 2))
        await agent.consumed()
        async with running(servers, [other], refuse, group=other_group, dead_letters=False) as clock:
            # One with a transaction, later, is forgotten after the same time.
            await produce(servers, other, _numbered(1))
            await clock.consumed()
            await forgotten(servers, f"{other_group}-{other}-0")
        caplog.clear()
        await produce(servers, topic, _numbered(3))
        await agent.consumed()
        assert [record.value for record in await read_topic(servers, letters)] == [b"1", b"2", b"3"]
        assert agent.failures == []
    assert louder_than_info(caplog) == []


class _Nothing:
    async def apply(self, connection: object, effects: object) -> None:
        """Do nothing."""
