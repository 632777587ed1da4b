"""Having Spring fail in every way that makes a dead letter look different."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaProducer, ConsumerRecord
from interop.recording import WRITTEN_AT_MS, Letter
from interop.witness import Witness
from support.kafka import create_topic, read_topic

from streams.dead_letters.writing import Failure, Limits, Origin, dead_letter_headers
from streams.failure.errors import InvalidRecord, Stage
from streams.failure.policy import Disposition

KEY: Final = b"o1"
VALUE: Final = b'{"orderId":"o1","note":"bad \xff"}'
"""Neither UTF-8 nor four bytes long, so an IntegerDeserializer cannot read it either; nor can it read the key."""
_FINE: Final = b"fine"
"""Which is four bytes long."""
OWN_HEADERS: Final = [("ce_id", b"p1"), ("tag", b"a"), ("tag", b"\x00\x01")]

PARTITION: Final = 1
OFFSET: Final = 2

OURS: Final = dead_letter_headers(
    OWN_HEADERS,
    Origin("payment.completed", 3, 42, WRITTEN_AT_MS - 5_000, "CreateTime", "paystream.payments"),
    Failure(
        InvalidRecord("the lines add up to 1.50, not 1.51"), Stage.VALIDATE, Disposition.PERMANENT, 1,
        WRITTEN_AT_MS / 1000 - 4, WRITTEN_AT_MS / 1000 - 4,
    ),
    Limits(1024, 8192),
)  # fmt: skip
"""The headers of a dead letter of ours."""

LETTERS_OF: Final[Mapping[str, str]] = {
    "default": "spring.default-dlt",
    "old-suffix": "spring.old-suffix.DLT",
    "no-message": "spring.no-message-dlt",
    "delivery-attempt": "spring.delivery-attempt-dlt",
    "twice": "spring.twice.DLT-dlt",
    "twice-appending": "spring.twice-appending.DLT-dlt",
    "unreadable-key": "spring.unreadable-key-dlt",
    "unreadable-value": "spring.unreadable-value-dlt",
    "unreadable-both": "spring.unreadable-both-dlt",
    "after-ours": "spring.after-ours-dlt",
    "retryable": "spring.retryable-dlt",
}
"""Where the letter of each scenario ends up. The record that fails is in ``spring.<scenario>``."""
_ON_THE_WAY: Final = ("spring.twice.DLT", "spring.twice-appending.DLT")


@dataclass(frozen=True, slots=True)
class Written:
    """What Spring wrote.

    Attributes:
        letters: by scenario, as they are in Kafka.
        said: what Spring said of itself meanwhile.
    """

    letters: Mapping[str, Letter]
    said: list[dict[str, Any]]


async def write_letters(witness: Witness, servers: str) -> Written:
    """Make the topics and the records that fail, let Spring fail, and collect the dead letters."""
    (versions,) = await witness.run("versions")
    topics = {f"spring.{scenario}" for scenario in LETTERS_OF} | set(LETTERS_OF.values()) | set(_ON_THE_WAY)
    topics.remove(LETTERS_OF["retryable"])  # which Spring makes itself
    await asyncio.gather(*(create_topic(servers, topic, 2) for topic in topics))
    await _produce(servers)
    said = await witness.run("write", servers)
    found = {}
    for scenario, topic in LETTERS_OF.items():
        (record,) = await read_topic(servers, topic)
        found[scenario] = _letter(record, versions["spring-kafka"])
    return Written(found, said)


async def _produce(servers: str) -> None:
    """Write to each topic two records that every listener can read, and then the one that fails."""
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        for scenario in LETTERS_OF:
            topic = f"spring.{scenario}"
            for _ in range(OFFSET):
                await producer.send_and_wait(topic, _FINE, partition=PARTITION, timestamp_ms=WRITTEN_AT_MS)
            headers = OURS if scenario == "after-ours" else OWN_HEADERS
            await producer.send_and_wait(
                topic, VALUE, KEY, PARTITION, timestamp_ms=WRITTEN_AT_MS, headers=list(headers)
            )


def _letter(record: ConsumerRecord, spring: str) -> Letter:
    return Letter(spring, record.topic, record.partition, record.key, record.value, list(record.headers))
