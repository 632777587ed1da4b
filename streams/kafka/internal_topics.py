"""The two topics that brokers keep for themselves, and brokers that can never make or write them.

Kafka makes ``__consumer_offsets`` and ``__transaction_state`` when somebody first needs them, with three copies if
nobody has said otherwise. Fewer brokers cannot: to every question they answer "not available", for ever, and only
their own log says why.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.client import CoordinationType
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from aiokafka.protocol.admin import DescribeConfigsRequest

from streams.failure.errors import BrokerMisconfigured
from streams.kafka.connecting import Client

# A cluster that can make them does so within a second of the first question.
_MAKING_SECONDS: Final = 3.0
_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class _Internal:
    """One of the two.

    Attributes:
        topic: its name.
        keeps: what brokers need it for.
        copies: the brokers' setting of how many copies it has.
        acknowledging: the brokers' setting of how many of these have to acknowledge a write.
        coordination: how its coordinators are asked for.
    """

    topic: str
    keeps: str
    copies: str
    acknowledging: str
    coordination: CoordinationType


_GROUPS: Final = _Internal(
    "__consumer_offsets",
    "the offsets of consumer groups",
    "offsets.topic.replication.factor",
    "min.insync.replicas",
    CoordinationType.GROUP,
)
_TRANSACTIONS: Final = _Internal(
    "__transaction_state",
    "transactions",
    "transaction.state.log.replication.factor",
    "transaction.state.log.min.isr",
    CoordinationType.TRANSACTION,
)


async def check_internal_topics(client: Client, *, transactions: bool, name: str | None = None) -> None:
    """See that the brokers can keep offsets, and transactions if those are wanted.

    What cannot be found out, for want of a right for example, is taken to be well.

    Arguments:
        client: connected.
        transactions: whether they are wanted.
        name: of a group; its coordinators are then asked for first, which is what makes the topics. Without, nothing
            is changed.

    Raises:
        BrokerMisconfigured: they cannot, and which setting of theirs is to be changed.
    """
    for internal in (_GROUPS, _TRANSACTIONS) if transactions else (_GROUPS,):
        served = name is not None and await _is_served(client, internal, name)
        known = await client.fetch_all_metadata()
        if known.partitions_for_topic(internal.topic):
            await _check_copies(client, internal, known)
        elif not served:
            await _check_brokers(client, internal, known)


async def _is_served(client: Client, internal: _Internal, name: str) -> bool:
    """Ask for the coordinator, for as long as it may take to make the topic."""
    give_up = time.monotonic() + _MAKING_SECONDS
    while True:
        try:
            await client.coordinator_lookup(internal.coordination, name)
            return True
        except GroupCoordinatorNotAvailableError:
            if time.monotonic() > give_up:
                return False
        except KafkaError:
            return True  # another matter: whoever needs it will be told
        await asyncio.sleep(_POLL_SECONDS)


async def _check_brokers(client: Client, internal: _Internal, known: ClusterMetadata) -> None:
    """There is no such topic: say so if there never will be."""
    brokers = sorted(broker.nodeId for broker in known.brokers())
    copies = await _number(client, ConfigResourceType.BROKER, brokers[0], internal.copies)
    if copies is None or copies <= len(brokers):
        return
    raise BrokerMisconfigured(
        f"Kafka has {_count(len(brokers))} and is to keep {copies} copies of {internal.topic}, which it needs for "
        f"{internal.keeps}: it cannot make that topic, and no worker can start. Set {internal.copies}="
        f"{len(brokers)} and {internal.acknowledging}=1 in the brokers' server.properties (in a container "
        f"{_variable(internal.copies)} and {_variable(internal.acknowledging)}) and start them anew, or run {copies} "
        "brokers"
    )


async def _check_copies(client: Client, internal: _Internal, known: ClusterMetadata) -> None:
    """There is such a topic: say so if nothing can be written to it."""
    copies = min((len(each.replicas) for each in known._partitions[internal.topic].values()), default=0)
    needed = await _number(client, ConfigResourceType.TOPIC, internal.topic, "min.insync.replicas")
    if needed is None or needed <= copies:
        return
    raise BrokerMisconfigured(
        f"{internal.topic}, which Kafka needs for {internal.keeps}, has {_count(copies, 'copy', 'copies')}, and "
        f"{needed} have to acknowledge each write: nothing can be written to it, and no worker can start. Set "
        f"min.insync.replicas={copies} for it (kafka-configs.sh --alter --entity-type topics --entity-name "
        f"{internal.topic} --add-config min.insync.replicas={copies}), and {internal.acknowledging}={copies} in the "
        "brokers' server.properties"
    )


async def _number(client: Client, kind: ConfigResourceType, name: str | int, setting: str) -> int | None:
    """Return a setting of a broker or a topic; None if this user may not know it."""
    node = name if isinstance(name, int) else client.get_random_node()
    assert node is not None, "it is connected"
    try:
        answer: Any = await client.send(node, DescribeConfigsRequest([(int(kind), str(name), [setting])]))
    except KafkaError:
        return None
    entries: Iterable[Any] = (entry for code, _, _, _, found in answer.resources if not code for entry in found)
    return next((int(entry[1]) for entry in entries if entry[0] == setting and entry[1]), None)


def _variable(setting: str) -> str:
    """Name the environment variable that Kafka's container image has for a setting."""
    return "KAFKA_" + setting.upper().replace(".", "_")


def _count(number: int, one: str = "broker", several: str = "brokers") -> str:
    return f"{number} {one if number == 1 else several}"
