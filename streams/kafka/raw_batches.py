"""Batches of records as bytes: telling them apart, and reading what can be read of them, up to the first that cannot.

aiokafka's consumer raises somewhere in what it has fetched, does not say in which batch, and forgets the records before
it; the next call raises again. Here the same parser is led from one batch to the next, so that it is known where it
failed.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.legacy_records import LegacyRecordBatch

from streams.kafka.tolerant_records import ForgivingBatch

# Record batch, version 2: https://kafka.apache.org/documentation/#recordbatch. Older formats begin with the same three.
_PREFIX: Final = struct.Struct(">qi")
_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_MAGIC_AT: Final = 16
_WITH_HEADER: Final = 2


@dataclass(frozen=True, slots=True)
class RawBatch:
    """One batch.

    Attributes:
        data: all of it.
        base_offset: of its first record, as it says.
    """

    data: memoryview
    base_offset: int

    @property
    def claimed_next(self) -> int | None:
        """The offset after its last record, as its header says; None if the header is too short or too old for that."""
        if len(self.data) < _HEADER.size or self.data[_MAGIC_AT] < _WITH_HEADER:
            return None
        return self.base_offset + int(_HEADER.unpack_from(self.data)[6]) + 1

    @property
    def claimed_records(self) -> int:
        """How many records it holds, as its header says; 0 if it does not say so."""
        return 0 if self.claimed_next is None else max(int(_HEADER.unpack_from(self.data)[12]), 0)

    def is_whole(self) -> bool:
        """Tell whether its checksum is right; the offset that it begins with is not part of that."""
        try:
            return bool(self.open().validate_crc())
        except Exception:
            return False

    def open(self) -> Any:
        """Return it as aiokafka's parser takes it.

        Raises:
            CorruptRecordException: it is too short to be a batch.
        """
        if len(self.data) < _HEADER.size and (len(self.data) <= _MAGIC_AT or self.data[_MAGIC_AT] >= _WITH_HEADER):
            raise CorruptRecordException(f"a batch of {len(self.data)} bytes is shorter than its header")
        if self.data[_MAGIC_AT] >= _WITH_HEADER:
            return ForgivingBatch(self.data)
        return LegacyRecordBatch(self.data, self.data[_MAGIC_AT])


def batches_in(data: bytes) -> list[RawBatch]:
    """Tell batches apart by the lengths that they begin with; the last one, if it is cut off, is left out."""
    found, at, whole = [], 0, memoryview(data)
    while len(data) - at >= _PREFIX.size:
        base_offset, length = _PREFIX.unpack_from(data, at)
        end = at + _PREFIX.size + length
        if length <= 0 or end > len(data):
            break
        found.append(RawBatch(whole[at:end], base_offset))
        at = end
    return found


@dataclass(slots=True)
class Unpacked:
    """What could be read.

    Attributes:
        records: in their order.
        next_offset: where to read on.
        failed: which batch could not be read; None if all could.
        following: the batch behind that; None if it is not here.
        error: why not.
    """

    records: list[ConsumerRecord] = field(default_factory=list)
    next_offset: int = 0
    failed: RawBatch | None = None
    following: RawBatch | None = None
    error: Exception | None = None


class _OneByOne:
    """Batches for aiokafka's reader, which asks for nothing else of its ``MemoryRecords``."""

    def __init__(self, batches: Sequence[RawBatch]) -> None:
        self._batches = batches
        self.read = 0

    def has_next(self) -> bool:
        return self.read < len(self._batches)

    def next_batch(self) -> Any:
        self.read += 1
        return self._batches[self.read - 1].open()


def unpack(
    source: TopicPartition, batches: Sequence[RawBatch], aborted: Sequence[tuple[int, int]], offset: int, end: int
) -> Unpacked:
    """Read the records from an offset on, without those of aborted transactions, up to the first that cannot be read.

    Arguments:
        source: the partition.
        batches: at least one.
        aborted: transactions, as the broker told them along.
        offset: where to begin.
        end: of the log; a record that says it lies behind that is none.
    """
    # A header that promises more offsets than its batch has makes brokers begin with a batch that lies before.
    while len(batches) > 1 and batches[1].base_offset <= offset and batches[1].is_whole():
        batches = batches[1:]
    led = _OneByOne(batches)
    unpacking = PartitionRecords(source, led, aborted, offset, None, None, True, READ_COMMITTED)
    found = Unpacked()
    try:
        for record in unpacking:
            _refuse_outside(record.offset, batches[led.read - 1], end)
            found.records.append(record)
            found.next_offset = record.offset + 1
        found.next_offset = unpacking.next_fetch_offset
    except Exception as error:  # what decompressors raise has no common name
        found.error = error
        found.failed = batches[led.read - 1]
        found.following = batches[led.read] if led.has_next() else None
        found.next_offset = max(found.next_offset, offset)
    return found


def _refuse_outside(offset: int, batch: RawBatch, end: int) -> None:
    """Refuse a record whose offset is not its batch's, or not the log's: what lies between would be skipped.

    Raises:
        CorruptRecordException: it is not.
    """
    behind = min(end, batch.claimed_next or end)
    if not batch.base_offset <= offset < behind:
        raise CorruptRecordException(f"a record says that it has offset {offset}, in a batch that ends before {behind}")
