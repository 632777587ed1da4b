"""Batches that nobody can read: where such a one begins, where what can be read goes on, and how much is lost with it.

A byte that has flipped on a disk, a body that does not unzip, a codec that nobody knows, records that are none: Kafka
keeps such a batch and hands it out, or its broker fails at it. The records before it are read. How far it reaches is
told, in this order, by its header, if its checksum is right; by the next whole batch; by its header, if what lies
behind its end can be read; and if by none of them, by trying which offset can be read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    ConsumerStoppedError,
    CorruptRecordException,
    KafkaError,
    RecordTooLargeError,
    UnsupportedCodecError,
    for_code,
)

from streams.kafka.raw_batches import RawBatch, Unpacked, batches_in, unpack
from streams.kafka.raw_fetch import RawFetch, fetch_raw

# So that the batch behind a damaged one is in the same answer: topics accept batches of 1 MB by default.
_FETCH_BYTES: Final = 4 * 1_048_576
_UNKNOWN_SERVER_ERROR: Final = -1
_CORRUPT_MESSAGE: Final = 2
_INVALID_RECORD: Final = 87
_CANNOT_READ: Final = frozenset({_UNKNOWN_SERVER_ERROR, _CORRUPT_MESSAGE, _INVALID_RECORD})
"""What a broker answers that trips over a batch itself; all else passes, or has nothing to do with it."""


# What aiokafka calls a batch that it cannot read; the last, one whose length is wrong. What decompressors and parsers
# raise has no common name.
_UNREADABLE: Final = (CorruptRecordException, UnsupportedCodecError, RecordTooLargeError)


@dataclass(frozen=True, slots=True)
class DamagedBatch:
    """What cannot be read of a partition.

    Attributes:
        first_offset: of the first record that cannot be read.
        next_offset: where it can be read again.
        records: how many there are in between, as far as can be known.
        counted: whether that is their number; else it is that of their offsets, which is more.
        cause: what is wrong with them, without their contents.
    """

    first_offset: int
    next_offset: int
    records: int
    counted: bool
    cause: str

    def __str__(self) -> str:
        """Say where it lies and how much it is."""
        last = self.next_offset - 1
        where = f"offset {last}" if last == self.first_offset else f"offsets {self.first_offset} to {last}"
        number = f"{self.records} record" + ("s" if self.records != 1 else "")
        return f"{where} ({number if self.counted else f'up to {number}'})"


@dataclass(frozen=True, slots=True)
class Looked:
    """What a second look at a partition has found.

    Attributes:
        records: that can be read, in their order.
        next_offset: where to read on behind them.
        damaged: what cannot be read there; None if nothing is wrong.
    """

    records: Sequence[ConsumerRecord]
    next_offset: int
    damaged: DamagedBatch | None = None


def is_unreadable(error: Exception) -> bool:
    """Tell whether aiokafka has raised this over what it fetched, and not because something is away or forbidden."""
    if isinstance(error, KafkaError):
        return isinstance(error, _UNREADABLE)
    return not isinstance(error, ConsumerStoppedError)


async def look_closer(client: AIOKafkaClient, source: TopicPartition, offset: int, end: int) -> Looked:
    """Read what can be read from an offset on, and find how far that reaches which cannot.

    Arguments:
        client: connected; knows the partition's leader.
        source: the partition.
        offset: where to read.
        end: where what may be read ended a moment ago.

    Raises:
        KafkaError: the leader does not answer, or says something else than that it cannot read.
    """
    raw = await fetch_raw(client, source, offset, _FETCH_BYTES)
    if raw.error:
        if raw.error not in _CANNOT_READ:
            raise for_code(raw.error)()
        found = await _beyond(client, source, offset, end)
        cause = f"its broker fails at it: {for_code(raw.error).message} ({raw.error})"
        return Looked((), offset, DamagedBatch(offset, found, found - offset, False, cause))
    end = max(end, raw.end)
    batches = batches_in(raw.data)
    if not batches:
        if offset >= end:
            return Looked((), offset)
        found = await _beyond(client, source, offset, end)
        return Looked((), offset, DamagedBatch(offset, found, found - offset, False, "its length is wrong"))
    unpacked = unpack(source, batches, raw.aborted, offset, end)
    if unpacked.failed is None or unpacked.error is None:
        return Looked(unpacked.records, unpacked.next_offset)
    damaged = await _extent(client, source, unpacked, end)
    return Looked(unpacked.records, damaged.first_offset, damaged)


async def _extent(client: AIOKafkaClient, source: TopicPartition, unpacked: Unpacked, end: int) -> DamagedBatch:
    batch, first, following = unpacked.failed, unpacked.next_offset, unpacked.following
    assert batch is not None
    claimed = batch.claimed_next
    limit = following.base_offset if following is not None and following.is_whole() else -1
    if limit <= first:
        limit = -1
    found = limit
    if claimed is not None and first < claimed <= (end if limit < 0 else limit):
        # A checksum covers what the header says of the end; retention or compaction may have left a gap behind it.
        # Without a checksum, two that agree are right, though both be damaged elsewhere.
        agreed = following is not None and following.base_offset == claimed
        trusted = batch.is_whole() or agreed
        if not trusted and limit < 0:
            trusted = await _readable_at(client, source, claimed, end)
        found = claimed if trusted else limit
    if found < 0:
        found = await _beyond(client, source, first, end)
    records = batch.claimed_records - sum(1 for each in unpacked.records if each.offset >= batch.base_offset)
    counted = (claimed == found or batch.is_whole()) and 0 < records <= found - first
    return DamagedBatch(first, found, records if counted else found - first, counted, _cause(batch, unpacked.error))


def _cause(batch: RawBatch, error: Exception | None) -> str:
    if not batch.is_whole():
        return "its checksum is wrong"
    # The class alone: what a decompressor or a parser says may quote what it choked on.
    return f"its checksum is right, but its records cannot be read ({type(error).__name__})"


async def _readable_at(client: AIOKafkaClient, source: TopicPartition, offset: int, end: int) -> bool:
    """Tell whether a batch that can be read begins at an offset, or the log ends there."""
    return offset == end or await _next_whole(client, source, offset) == offset


async def _beyond(client: AIOKafkaClient, source: TopicPartition, first: int, end: int) -> int:
    """Find where a partition can be read again behind `first`, trying few offsets; its end at the latest."""
    low, step = first, 1
    found = end
    while low + step < end:
        there = await _next_whole(client, source, low + step, behind=first)
        if there is not None:
            found = there
            break
        low += step
        step *= 2
    # Between an offset at which it fails and one at which it does not, the least is looked for.
    high = found
    while high - low > 1:
        middle = (low + high) // 2
        there = await _next_whole(client, source, middle, behind=first)
        if there is None:
            low = middle
        else:
            found = min(found, there)
            high = min(high, middle)
    return found


async def _next_whole(client: AIOKafkaClient, source: TopicPartition, offset: int, *, behind: int = -1) -> int | None:
    """Return where the first whole batch behind `behind` begins in what lies at an offset; None if there is none."""
    raw: RawFetch = await fetch_raw(client, source, offset, _FETCH_BYTES)
    if raw.error:
        if raw.error not in _CANNOT_READ:
            raise for_code(raw.error)()
        return None
    return next(
        (each.base_offset for each in batches_in(raw.data) if each.base_offset > behind and each.is_whole()), None
    )
