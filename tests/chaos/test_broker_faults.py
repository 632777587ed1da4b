"""Brokers that are killed, frozen and restarted: nothing is lost, nothing is doubled, and work goes on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiokafka import AIOKafkaProducer
from support.worker import KILLED, TRY_AGAIN

from chaos.arena import PARTITIONS, Arena, Opener
from chaos.brokers import controller, group_coordinator, leader, three_brokers, transaction_coordinator, whole
from chaos.figures import exceeded
from streams.kafka.clients import close_hard
from streams.sandbox import Cluster
from streams.sandbox.broker import Broker

_BOUND = 15.0
"""Seconds within which every partition moves again after one broker's death."""
_FROZEN = 5.0
"""Seconds within which it does after a broker's thaw."""
_ALONE = 8.0
"""Seconds for which two of three brokers are down."""
_UNREACHABLE = 69

Finder = Callable[[], Awaitable[Broker]]


async def _sigkill(field: Arena, cluster: Cluster, part: str, broker: Broker) -> None:
    """Kill a broker, and have it back only when everything moves without it."""

    async def fault() -> None:
        broker.kill()

    await field.measure(f"SIGKILL of {part} (broker {broker.node_id})", fault, _BOUND)
    await whole(cluster)


async def _sigstop(field: Arena, cluster: Cluster, part: str, broker: Broker, seconds: float) -> None:
    async def fault() -> None:
        broker.freeze()
        await asyncio.sleep(seconds)
        broker.thaw()

    await field.measure(f"SIGSTOP of {part} for {seconds:g} s (broker {broker.node_id})", fault, seconds + _FROZEN)
    await whole(cluster)


def _transactional_id(field: Arena, partition: int) -> str:
    return f"{field.group}-{field.topic}-{partition}"


# -- the short form ------------------------------------------------------------------------------------


@pytest.mark.deadline(150)
async def test_a_leader_killed_and_a_coordinator_frozen(arena: Opener) -> None:
    async with three_brokers() as cluster, arena(cluster.bootstrap_servers, copies=3) as field:
        await field.staff(2)
        field.feed()
        await field.steady()
        await _sigkill(field, cluster, "a partition's leader", await leader(cluster, field.topic, 0))
        frozen = await group_coordinator(cluster, field.group)
        await _sigstop(field, cluster, "the group coordinator", frozen, 4)
        verdict = await field.verdict()
    assert verdict.exact, str(verdict)
    assert verdict.letters
    assert set(field.ends) <= {TRY_AGAIN}, field.ends


# -- the long form -------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.deadline(500)
async def test_every_part_of_a_cluster_killed_and_frozen(arena: Opener) -> None:
    async with three_brokers() as cluster, arena(cluster.bootstrap_servers, copies=3) as field:
        await field.staff(3)
        field.feed()
        await field.steady()
        await _sigkill(field, cluster, "a partition's leader", await leader(cluster, field.topic, 0))
        await _sigkill(field, cluster, "the group coordinator", await group_coordinator(cluster, field.group))
        coordinator = await transaction_coordinator(cluster, _transactional_id(field, 1))
        await _sigkill(field, cluster, "a transaction coordinator", coordinator)
        await _sigkill(field, cluster, "the active controller", controller(cluster))
        await _sigstop(field, cluster, "a partition's leader", await leader(cluster, field.topic, 2), 15)
        await _sigstop(field, cluster, "the group coordinator", await group_coordinator(cluster, field.group), 20)
        await _sigstop(field, cluster, "the active controller", controller(cluster), 15)
        verdict = await field.verdict()
    assert verdict.exact, str(verdict)
    assert set(field.ends) <= {TRY_AGAIN}, field.ends
    assert not exceeded(field.run)


@pytest.mark.long
@pytest.mark.deadline(300)
async def test_a_rolling_restart_of_all_brokers(arena: Opener) -> None:
    async with three_brokers() as cluster, arena(cluster.bootstrap_servers, copies=3) as field:
        await field.staff(3)
        field.feed()
        await field.steady()
        for broker in cluster.brokers:

            async def restart(broker: Broker = broker) -> None:
                await broker.stop(20)
                await whole(cluster)

            await field.measure(f"restart of broker {broker.node_id} in order", restart, _BOUND)
        verdict = await field.verdict()
    assert verdict.exact, str(verdict)
    assert set(field.ends) <= {TRY_AGAIN}, field.ends
    assert not exceeded(field.run)


@pytest.mark.long
@pytest.mark.deadline(300)
async def test_two_brokers_down_at_once(arena: Opener) -> None:
    async with three_brokers() as cluster, arena(cluster.bootstrap_servers, copies=3) as field:
        await field.staff(2)
        await field.create_topics(aside := f"{field.topic}.aside")
        field.feed()
        await field.steady()
        survivor = await leader(cluster, field.topic, 0)
        lost = [each for each in cluster.brokers if each is not survivor]
        writer = AIOKafkaProducer(bootstrap_servers=cluster.bootstrap_servers, enable_idempotence=True)
        await writer.start()
        try:
            await asyncio.gather(
                *(writer.send_and_wait(aside, b"before", partition=each) for each in range(PARTITIONS))
            )

            async def fault() -> None:
                for broker in lost:
                    broker.kill()
                sends = [
                    asyncio.ensure_future(writer.send_and_wait(aside, b"meanwhile", partition=each))
                    for each in range(PARTITIONS)
                ]
                answered, _ = await asyncio.wait(sends, timeout=_ALONE)
                written = [each for each in answered if each.exception() is None]
                assert not written, "written to one copy and acknowledged"
                for each in sends:
                    each.cancel()
                await asyncio.gather(*sends, return_exceptions=True)
                await lost[0].start()
                await lost[0].wait_until_ready(60)

            figure = await field.measure("two of three brokers down: whole stall", fault)
            assert figure.measured > _ALONE - 1, "a batch was committed to one copy"
        finally:
            await close_hard(writer)
        await whole(cluster)
        verdict = await field.verdict()
    assert verdict.exact, str(verdict)
    assert set(field.ends) <= {TRY_AGAIN, _UNREACHABLE, KILLED}, field.ends
