"""A cluster of three, and which of its brokers plays which part."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from support.kafka import admin
from support.waiting import eventually

from streams.sandbox import Cluster
from streams.sandbox.broker import Broker

# What bounds a stall after a broker's death is how long the controller waits for its heartbeats: 9 s by default.
PROPERTIES: Final = {"broker.session.timeout.ms": "6000"}
_GROUP, _TRANSACTION = 0, 1
_RETURN_SECONDS = 60.0


@asynccontextmanager
async def three_brokers() -> AsyncIterator[Cluster]:
    """Run three brokers for as long as the block lasts; a frozen one is no hindrance to their end."""
    cluster = Cluster(brokers=3, properties=PROPERTIES)
    await cluster.start()
    try:
        yield cluster
    finally:
        for broker in cluster.brokers:
            broker.kill()
        await cluster.stop()


def _broker(cluster: Cluster, node_id: int) -> Broker:
    return next(each for each in cluster.brokers if each.node_id == node_id)


async def leader(cluster: Cluster, topic: str, partition: int) -> Broker:
    """Return the leader of a partition."""
    async with admin(cluster.bootstrap_servers) as client:
        (shape,) = await client.describe_topics([topic])
    return _broker(cluster, next(each["leader"] for each in shape["partitions"] if each["partition"] == partition))


async def group_coordinator(cluster: Cluster, group: str) -> Broker:
    """Return the coordinator of a consumer group."""
    async with admin(cluster.bootstrap_servers) as client:
        return _broker(cluster, await client.find_coordinator(group, _GROUP))


async def transaction_coordinator(cluster: Cluster, transactional_id: str) -> Broker:
    """Return the coordinator of a transactional id."""
    async with admin(cluster.bootstrap_servers) as client:
        return _broker(cluster, await client.find_coordinator(transactional_id, _TRANSACTION))


def controller(cluster: Cluster) -> Broker:
    """Return the active controller.

    Clients are told of any broker in its place (KIP-590), so it is read where the quorum's voters write down
    whom they have elected: ``quorum-state`` in the folder of the metadata log.
    """
    states = []
    for broker in cluster.brokers:
        text = (broker.folder / "data" / "__cluster_metadata-0" / "quorum-state").read_text()
        state = json.loads(text)
        if state["leaderId"] > 0:
            states.append((state["leaderEpoch"], state["leaderId"]))
    return _broker(cluster, max(states)[1])


async def whole(cluster: Cluster) -> None:
    """Start who is down, and wait until every copy of every partition is in sync."""
    for broker in cluster.brokers:
        await broker.start()
    for broker in cluster.brokers:
        await broker.wait_until_ready(_RETURN_SECONDS, [each.node_id for each in cluster.brokers])
    async with admin(cluster.bootstrap_servers) as client:

        async def in_sync() -> bool:
            shapes = await client.describe_topics()
            return all(len(part["isr"]) == len(part["replicas"]) for shape in shapes for part in shape["partitions"])

        await eventually(in_sync, "all copies to be in sync", seconds=_RETURN_SECONDS, every=0.2)
