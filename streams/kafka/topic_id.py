"""Which topic of a name it is: one that is deleted and made anew has another id, and its offsets mean other records.

Brokers have told the ids of topics since Kafka 2.8, in answer to version 10 of the Metadata request (KIP-516), which
aiokafka does not speak. Source of the format: Kafka's ``MetadataRequest.json`` and ``MetadataResponse.json``.

Lanes ask once for each batch, so only as much of an answer is read as is needed: the first topic's id comes before its
partitions, of which there may be hundreds.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import enum
import logging
import random
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final
from uuid import UUID

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
    UnsignedVarInt32,
)

logger = logging.getLogger(__name__)

_NO_ID: Final = UUID(int=0)
_RETRY_SECONDS: Final = 0.1
# A broker that has just started may not know a topic for a moment; one that is deleted is not known to any, ever.
_ROUNDS_BEFORE_MISSING: Final = 10


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """Which topic of a name it is.

    Attributes:
        id: the brokers', new for each topic that is made.
        cluster: the id of their cluster: another cluster's topics have other ids, although a mirror carries records
            and offsets over.
    """

    id: UUID
    cluster: str | None

    def __str__(self) -> str:
        """As Kafka's own tools show it."""
        return base64.urlsafe_b64encode(self.id.bytes).rstrip(b"=").decode()

    @classmethod
    def of(cls, text: str, cluster: str | None) -> TopicIdentity:
        """Read what :meth:`__str__` wrote.

        Raises:
            ValueError: it is no id.
        """
        try:
            return cls(UUID(bytes=base64.urlsafe_b64decode(text + "==")), cluster)
        except binascii.Error as error:
            raise ValueError(f"{text!r} is no id of a topic") from error

    def is_another_than(self, former: TopicIdentity | None) -> bool:
        """Tell whether `former` was deleted since; that is not said of what is unknown, or of another cluster."""
        return former is not None and former.cluster == self.cluster and former.id != self.id


class _Uuid(AbstractType):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


_BROKER = (
    ("node_id", Int32),
    ("host", CompactString()),
    ("port", Int32),
    ("rack", CompactString()),
    ("tags", TaggedFields),
)


class _FirstTopic(AbstractType):  # type: ignore[misc]
    """Error code, name and id of the first of the topics; what follows stays unread, and must be the answer's end."""

    @classmethod
    def encode(cls, value: Any) -> bytes:
        raise NotImplementedError("brokers write this")

    @classmethod
    def decode(cls, data: BytesIO) -> tuple[int, str, UUID] | None:
        count = UnsignedVarInt32.decode(data) - 1
        if count < 1:
            return None
        return Int16.decode(data), CompactString().decode(data), _Uuid.decode(data)


class _MetadataResponse10(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(*_BROKER)),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        ("topic", _FirstTopic),
    )


class _MetadataRequest10(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse10
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", CompactString()), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _TopicIdRequest(Request[_MetadataRequest10]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_MetadataRequest10]) -> _MetadataRequest10:
        return request_struct_class([(_NO_ID, self._topic, {})], False, False, False, {})


async def topic_identity(client: AIOKafkaClient, source: TopicPartition) -> TopicIdentity | None:
    """Ask the brokers which topic it is. Asks until it is told: limit the time outside.

    The partition's leader is asked first: brokers learn of changes one after another, and it is the one whose records
    are in question. It knows of a new topic before it answers with any record of it.

    Arguments:
        client: connected.
        source: a partition of the topic, which is not created if there is none.

    Returns:
        what it is; None if the brokers do not tell, being older than Kafka 2.8.

    Raises:
        UnknownTopicOrPartitionError: no broker knows such a topic.
        TopicAuthorizationFailedError: this user may not see it.
    """
    missing = 0
    while True:
        told = await _ask_around(client, source)
        if isinstance(told, TopicIdentity):
            return told
        if told is _Silence.NO_IDS:
            return None
        if told is _Silence.MISSING:
            missing += 1
            if missing == _ROUNDS_BEFORE_MISSING:
                raise UnknownTopicOrPartitionError(source.topic)
        await asyncio.sleep(_RETRY_SECONDS)


class _Silence(enum.Enum):
    """Why no broker has told an id; what comes first is believed first."""

    MISSING = enum.auto()
    NO_ANSWER = enum.auto()
    NO_IDS = enum.auto()


async def _ask_around(client: AIOKafkaClient, source: TopicPartition) -> TopicIdentity | _Silence:
    said: set[_Silence] = set()
    for node in _leader_first(client, source):
        try:
            # On the connection of fetches it would be answered after the fetch in hand, half a second later.
            answer = await client.send(node, _TopicIdRequest(source.topic), group=ConnectionGroup.COORDINATION)
        except (NotImplementedError, IncompatibleBrokerVersion):
            said.add(_Silence.NO_IDS)
            continue
        except KafkaError as error:
            # It has not said that there is none: an offset of another topic would be taken for one of this.
            logger.debug("broker %s does not tell the id of %s: %s", node, source.topic, type(error).__name__)
            said.add(_Silence.NO_ANSWER)
            continue
        told = _read(answer)
        if isinstance(told, TopicIdentity):
            return told
        said.add(told)
    # To take a topic for missing is safe: its lane waits. To take its id for unknown is not: its lane goes on.
    return next((each for each in _Silence if each in said), _Silence.NO_ANSWER)


def _leader_first(client: AIOKafkaClient, source: TopicPartition) -> list[int]:
    nodes = [broker.nodeId for broker in client.cluster.brokers()]
    random.shuffle(nodes)
    leader = client.cluster.leader_for_partition(source)
    return sorted(nodes, key=lambda node: node != leader)


def _read(answer: _MetadataResponse10) -> TopicIdentity | _Silence:
    """Read one broker's answer.

    Raises:
        TopicAuthorizationFailedError: this user may not see the topic.
    """
    if answer.topic is None:
        return _Silence.NO_ANSWER
    code, name, found = answer.topic
    if code == TopicAuthorizationFailedError.errno:
        raise TopicAuthorizationFailedError(name)
    if code == UnknownTopicOrPartitionError.errno:
        return _Silence.MISSING
    if found == _NO_ID:
        # Brokers of a cluster whose upgrade to Kafka 2.8 is not complete have none to tell.
        return _Silence.NO_ANSWER if code else _Silence.NO_IDS
    return TopicIdentity(found, answer.cluster_id)
