"""Which topic of a name it is: one that is deleted and made anew has another id, and its offsets mean other records.

Brokers have told the ids of topics since Kafka 2.8, in answer to version 10 of the Metadata request (KIP-516), which
aiokafka does not speak. Source of the format: Kafka's ``MetadataRequest.json`` and ``MetadataResponse.json``.
"""

from __future__ import annotations

import asyncio
import logging
import random
from io import BytesIO
from typing import Any
from uuid import UUID

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError
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
)

logger = logging.getLogger(__name__)

_UNKNOWN = UUID(int=0)
_RETRY_SECONDS = 0.1


class _Uuid(AbstractType):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


_PARTITION = (
    ("error_code", Int16),
    ("partition_index", Int32),
    ("leader_id", Int32),
    ("leader_epoch", Int32),
    ("replica_nodes", CompactArray(Int32)),
    ("isr_nodes", CompactArray(Int32)),
    ("offline_replicas", CompactArray(Int32)),
    ("tags", TaggedFields),
)
_TOPIC = (
    ("error_code", Int16),
    ("name", CompactString()),
    ("topic_id", _Uuid),
    ("is_internal", Boolean),
    ("partitions", CompactArray(*_PARTITION)),
    ("topic_authorized_operations", Int32),
    ("tags", TaggedFields),
)
_BROKER = (
    ("node_id", Int32),
    ("host", CompactString()),
    ("port", Int32),
    ("rack", CompactString()),
    ("tags", TaggedFields),
)


class _MetadataResponse10(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(*_BROKER)),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        ("topics", CompactArray(*_TOPIC)),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
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
        return request_struct_class([(_UNKNOWN, self._topic, {})], False, False, False, {})


async def topic_id(client: AIOKafkaClient, topic: str) -> UUID | None:
    """Ask the brokers for a topic's id. Asks until it is told: limit the time outside.

    Arguments:
        client: connected.
        topic: its name; it is not created if there is none.

    Returns:
        the id; None if the brokers are older than Kafka 2.8, or know no such topic.
    """
    while True:
        brokers = list(client.cluster.brokers())
        silent = not brokers
        for broker in random.sample(brokers, len(brokers)):
            try:
                answer: Any = await client.send(broker.nodeId, _TopicIdRequest(topic))
            except (NotImplementedError, IncompatibleBrokerVersion):
                continue
            except KafkaError as error:
                # It has not said that there is none: an offset of another topic would be taken for one of this.
                logger.debug("broker %s does not tell the id of %s: %s", broker.nodeId, topic, type(error).__name__)
                silent = True
                continue
            ids: dict[str, UUID] = {name: found for _, name, found, *_ in answer.topics}
            if ids.get(topic, _UNKNOWN) != _UNKNOWN:
                return ids[topic]
        if not silent:
            return None
        await asyncio.sleep(_RETRY_SECONDS)
