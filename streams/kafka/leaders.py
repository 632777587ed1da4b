"""Whether partitions have a leader, and whether it answers: without one nobody can read or write them.

aiokafka says neither: what is to be fetched does not come, what is to be written waits, and what is asked ends in a
time-out. A partition is without a leader while every broker that keeps it is away, or, of those that are there, none
has all that was acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import (
    KafkaError,
    KafkaStorageError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    NotLeaderForPartitionError,
)

from streams.failure.errors import DependencyUnavailable

NO_LEADER: Final = -1
UNSERVED: Final = (LeaderNotAvailableError, NotLeaderForPartitionError, KafkaStorageError, KafkaTimeoutError)
"""What a write ends with whose partition has no leader, or one that does not answer."""


def any_unled(client: AIOKafkaClient, topics: Iterable[str]) -> bool:
    """Tell whether a partition of the topics has no leader, as far as the client knows; costs next to nothing."""
    known = client.cluster
    return any(known.available_partitions_for_topic(topic) != known.partitions_for_topic(topic) for topic in topics)


async def require_leaders(client: AIOKafkaClient, partitions: Iterable[TopicPartition]) -> None:
    """Make sure that partitions have leaders, asking brokers only where the client knows of none.

    Raises:
        DependencyUnavailable: one has none; it is named.
        KafkaError: no broker says.
    """
    unled = [each for each in partitions if client.cluster.leader_for_partition(each) == NO_LEADER]
    if not unled:
        return
    known = await client.fetch_all_metadata()
    for partition in unled:
        require_leader(known, partition)
    await client.force_metadata_update()


async def require_answer(client: AIOKafkaClient, partition: TopicPartition) -> None:
    """Make sure that the leader of a partition answers, if any broker does.

    Raises:
        DependencyUnavailable: it has no leader, or that does not answer while others do.
    """
    try:
        known = await client.fetch_all_metadata()
    except KafkaError:
        return  # Kafka as a whole is away: its own trouble, and said as that
    require_leader(known, partition)
    leader = known.leader_for_partition(partition)
    if leader is None:
        return  # so is a topic that has gone
    client.force_metadata_update()
    if not await client.ready(leader):
        raise DependencyUnavailable(_name(partition), f"its leader, broker {leader}, does not answer")


async def unled_partitions(client: AIOKafkaClient) -> list[TopicPartition]:
    """List the partitions of all topics that have no leader, Kafka's own included; none if no broker says."""
    try:
        known = await client.fetch_all_metadata()
    except KafkaError:
        return []
    return sorted(
        TopicPartition(topic, partition)
        for topic in known.topics(exclude_internal_topics=False)
        for partition in known.partitions_for_topic(topic) or ()
        if known.leader_for_partition(TopicPartition(topic, partition)) == NO_LEADER
    )


def require_leader(known: ClusterMetadata, partition: TopicPartition) -> None:
    """Make sure that a partition has a leader.

    Raises:
        DependencyUnavailable: it has none, and why.
    """
    if known.leader_for_partition(partition) != NO_LEADER:
        return
    there = {broker.nodeId for broker in known.brokers()}
    away = sorted(set(known._partitions[partition.topic][partition.partition].replicas) - there)
    why = f": {_keepers(away)} away" if away else ""
    raise DependencyUnavailable(_name(partition), f"it has no leader{why}")


def _keepers(away: list[int]) -> str:
    if len(away) == 1:
        return f"broker {away[0]}, which keeps it, is"
    return f"brokers {', '.join(map(str, away))}, which keep it, are"


def _name(partition: TopicPartition) -> str:
    return f"partition {partition.topic}-{partition.partition}"
