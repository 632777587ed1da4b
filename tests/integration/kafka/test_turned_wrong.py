"""Brokers that do not let a running agent in any more, and one of two that never did."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from aiokafka.client import CoordinationType
from aiokafka.errors import GroupCoordinatorNotAvailableError
from support.agent import Running, running, unique
from support.kafka import admin, produce
from support.payments import Raw
from support.secured import PASSWORD, START_SECONDS, Secured, password_of, secured
from support.waiting import eventually

from streams.delivery.outbox import Outbox
from streams.kafka.clients import connect, make_admin
from streams.kafka.record import Record
from streams.kafka.topic_admin import TopicSpec, apply_topics
from streams.settings import Guarantee

SESSION = {"session_timeout": 6}


def do_nothing(record: Record, out: Outbox) -> None:
    """Let the record pass."""


@pytest.mark.deadline(180)
async def test_a_password_that_was_changed_and_a_certificate_that_expired_are_named_and_pass_by_themselves(
    broker: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    plain = broker.settings("PLAINTEXT")
    listeners = {"SASL": "refuses the password", "TLS": "shows a certificate that has expired"}
    shown = broker.server.both()
    good, expired = shown.read_text(), broker.authority.sign("old", days=-1).both().read_text()
    async with AsyncExitStack() as stack:
        agents = {}
        for listener in listeners:
            topic = unique("events")
            await apply_topics(plain, [TopicSpec(topic, 1, 1, {})])
            agents[listener] = await stack.enter_async_context(
                running(
                    plain.bootstrap_servers,
                    [topic],
                    do_nothing,
                    kafka=broker.settings(listener, **SESSION),
                    dead_letters=False,
                )
            )
            await produce(plain.bootstrap_servers, topic, [Raw(0, b"key", b"1")])
            await agents[listener].consumed()
        try:
            shown.write_text(expired)
            await broker.cluster.restart(properties=password_of("SASL", "changed"))
            for listener, said in listeners.items():
                words = f"broker 1 at {broker.cluster.address(listener)} {said}"
                await _until_trouble(agents[listener], words)
        finally:
            shown.write_text(good)
            await broker.cluster.restart(properties=password_of("SASL", PASSWORD))
        for agent in agents.values():
            await produce(plain.bootstrap_servers, agent.topics[0], [Raw(0, b"key", b"2")])
            await agent.consumed()
            await _until_trouble(agent, "")
    refusals = [line for line in caplog.messages if line.startswith("broker 1 at") and "SASL_PASSWORD" in line]
    assert len(refusals) == 1, "said once, however often it was tried"
    assert [record for record in caplog.records if record.exc_info] == []


async def _until_trouble(agent: Running, words: str) -> None:
    """Wait until an agent's trouble has these words; until it has none, where there are none."""
    await eventually(
        lambda: words in agent.source.trouble if words else not agent.source.trouble,
        f"the trouble to be {words or 'nothing'}",
        seconds=60,
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Two brokers."""
    made = secured(tmp_path_factory.mktemp("two"), brokers=2)
    asyncio.run(made.cluster.start(START_SECONDS))
    yield made
    asyncio.run(made.cluster.stop())


async def _group_of_broker_1(two: Secured) -> str:
    """Return the name of a group that broker 1 coordinates: what broker 2 coordinates waits for it."""
    async with admin(two.cluster.bootstrap_servers) as client:

        async def one() -> str | None:
            name = unique("group")
            try:
                found = await client._client.coordinator_lookup(CoordinationType.GROUP, name)
            except GroupCoordinatorNotAvailableError:  # the topic of offsets is being made
                return None
            return name if found == 1 else None

        return str(await eventually(one, "a group of broker 1"))


@pytest.mark.deadline(180)
async def test_one_broker_of_two_that_refuses_is_named_and_the_other_is_used(two: Secured) -> None:
    plain, topic = two.settings("PLAINTEXT"), unique("events")
    await apply_topics(plain, [TopicSpec(topic, 4, 1, {})])
    led = await _leaders(two, topic)
    assert set(led.values()) == {1, 2}
    group = await _group_of_broker_1(two)
    await two.cluster.restart(2, password_of("SASL", "another"))
    kafka = two.settings("SASL", **SESSION)
    await produce(plain.bootstrap_servers, topic, [Raw(each, b"key", b"1") for each in led])
    async with running(
        plain.bootstrap_servers,
        [topic],
        do_nothing,
        kafka=kafka,
        group=group,
        guarantee=Guarantee.AT_LEAST_ONCE,
        dead_letters=False,
    ) as agent:
        mine = sum(leader == 1 for leader in led.values())
        await eventually(lambda: agent.handed_over() == mine, "what broker 1 has to be handled", seconds=60)
        await _until_trouble(agent, f"broker 2 at {two.cluster.address('SASL', 2)} refuses the password")


async def test_commands_use_the_broker_that_lets_them_in(two: Secured) -> None:
    refusing, good = two.cluster.address("SASL", 1), two.right("PLAINTEXT")["bootstrap_servers"]
    kafka = two.settings("PLAINTEXT", bootstrap_servers=f"{refusing},{good}")
    for _ in range(4):  # addresses are tried in any order
        await (await connect(kafka)).close()


async def _leaders(two: Secured, topic: str) -> dict[int, int]:
    client = make_admin(two.settings("PLAINTEXT"))
    await client.start()
    try:
        (shape,) = await client.describe_topics([topic])
    finally:
        await client.close()
    return {each["partition"]: each["leader"] for each in shape["partitions"]}
