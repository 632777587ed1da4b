"""Reading records whose header names are not UTF-8.

Kafka's protocol says that header names are UTF-8, but brokers do not check and C clients do not either.
aiokafka's parser raises on such a name, from the call that fetches: no lane could ever get past it. So the
first time it happens the process changes over to aiokafka's own Python parser, a little more forgiving
and some ten times slower, until it is started again.
"""

from __future__ import annotations

import logging
from typing import Any
from weakref import WeakSet

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

logger = logging.getLogger(__name__)

_changed_over: WeakSet[AIOKafkaConsumer] = WeakSet()


class _Forgiving(bytearray):
    """Bytes whose text is read with escapes, such as \\xff, where it is not UTF-8."""

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return _Forgiving(found) if isinstance(index, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return bytes(self).decode(encoding, "backslashreplace")


class ForgivingBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    """A batch whose header names are read with escapes where they are not UTF-8."""

    _buffer: bytearray

    def __iter__(self) -> Any:
        batch = super().__iter__()
        self._buffer = _Forgiving(self._buffer)
        return batch


class _ForgivingRecords(_MemoryRecordsPy):  # type: ignore[misc]
    def next_batch(self) -> Any:
        batch_bytes = self._next_slice
        batch = super().next_batch()
        if batch is None or batch_bytes[self.MAGIC_OFFSET] < 2:  # formats before Kafka 0.11 have no headers
            return batch
        return ForgivingBatch(batch_bytes)


def read_tolerantly(
    consumer: AIOKafkaConsumer, source: TopicPartition, next_offset: int, error: UnicodeDecodeError
) -> None:
    """Read on with the forgiving parser, from `next_offset`.

    Raises:
        UnicodeDecodeError: `error`, if this consumer has been changed over to that parser already.
    """
    if consumer in _changed_over:
        raise error
    # Each consumer once: what another has fetched already was still taken apart by the parser that raised.
    _changed_over.add(consumer)
    logger.warning(
        "%s-%d, at or after offset %d: a header's name is not UTF-8. It is read with escapes, "
        "and all records of this process by a slower parser from now on.",
        source.topic, source.partition, next_offset,
    )  # fmt: skip
    fetcher.MemoryRecords = _ForgivingRecords
    # What was fetched is in the hands of the parser that raised, part of it read and lost.
    consumer._fetcher._records.clear()
    consumer.seek(source, next_offset)
