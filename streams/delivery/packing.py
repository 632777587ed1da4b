"""Packing outputs into batches of Kafka's, and what becomes of one."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.producer.message_accumulator import BatchBuilder

from streams.delivery.outbox import Output, SqueezedOutput
from streams.kafka.clients import PRODUCER_BATCH_BYTES
from streams.kafka.squeezing import squeezed


def packed(
    outputs: Sequence[Output], create: Callable[[], BatchBuilder], *, transactional: bool
) -> Iterator[BatchBuilder]:
    """Pack outputs of one partition, one at least, into as few of Kafka's batches as hold them."""
    batch, first = create(), outputs[0]
    append = batch.append
    for output in outputs:
        _, _, key, value, headers = output
        if append(timestamp=None, key=key, value=value, headers=headers) is None:  # full
            yield _closed(batch, first, transactional)
            batch, first = create(), output
            append = batch.append
            append(timestamp=None, key=key, value=value, headers=headers)
    yield _closed(batch, first, transactional)


def _closed(batch: BatchBuilder, first: Output, transactional: bool) -> BatchBuilder:
    """Return the batch, or what takes its place if its only record has to be compressed.

    What is larger than a batch is alone in it.
    """
    if isinstance(first, SqueezedOutput) and batch.size() > PRODUCER_BATCH_BYTES:
        return squeezed(first.key, first.value, first.headers, transactional=transactional)
    return batch


@dataclass(frozen=True, slots=True)
class Delivery:
    """A batch on its way.

    Attributes:
        sent: done when it is acknowledged.
        topic: where it goes.
        records: how many it holds.
        size: its bytes, before it is compressed.
    """

    sent: Future[Any]
    topic: str
    records: int
    size: int

    def refused(self, error: KafkaError) -> str:
        """Say what the brokers refuse."""
        said = f"the brokers refuse what is written to {self.topic}: {type(error).__name__} ({error})"
        if not isinstance(error, MessageSizeTooLargeError):
            return said
        return (
            f"{said}. Its max.message.bytes is too small for this batch of {self.size:,} bytes (records: "
            f"{self.records}): raise it. PAYSTREAM_TOPICS__MAX_MESSAGE_BYTES is what paystream reckons with"
        )
