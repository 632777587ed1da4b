"""Telling batches apart, and reading them up to the first that cannot be read."""

from __future__ import annotations

from aiokafka import TopicPartition
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from streams.kafka.damage import DamagedBatch
from streams.kafka.raw_batches import batches_in, unpack

PLACE = TopicPartition("orders", 0)


def batch(base: int, *values: bytes) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=False, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=100_000,
    )  # fmt: skip
    for offset, value in enumerate(values):
        builder.append(offset, timestamp=1, key=None, value=value, headers=[])
    return base.to_bytes(8, "big") + bytes(builder.build())[8:]


def offsets(data: bytes, at: int = 0, end: int = 100) -> list[int]:
    return [each.offset for each in unpack(PLACE, batches_in(data), [], at, end).records]


def test_a_batch_that_is_cut_off_is_left_out() -> None:
    data = batch(0, b"a", b"b") + batch(2, b"c")
    assert [each.base_offset for each in batches_in(data)] == [0, 2]
    assert [each.base_offset for each in batches_in(data[:-1])] == [0]
    assert batches_in(b"\0" * 11) == []


def test_records_are_read_from_an_offset_on_over_gaps() -> None:
    assert offsets(batch(0, b"a", b"b") + batch(5, b"c", b"d"), at=1) == [1, 5, 6]


def test_what_is_read_ends_before_the_batch_that_cannot_be_read() -> None:
    bad = bytearray(batch(2, b"c", b"d"))
    bad[-3] ^= 0xFF
    found = unpack(PLACE, batches_in(batch(0, b"a", b"b") + bytes(bad) + batch(4, b"e")), [], 0, 100)
    assert [each.offset for each in found.records] == [0, 1]
    assert found.next_offset == 2
    assert found.failed is not None
    assert (found.failed.base_offset, found.failed.claimed_next, found.failed.claimed_records) == (2, 4, 2)
    assert found.following is not None
    assert found.following.base_offset == 4


def test_records_whose_batch_says_that_it_lies_behind_the_logs_end_are_not_believed() -> None:
    data = batch(0, b"a") + batch(1 << 40, b"b") + batch(2, b"c")
    found = unpack(PLACE, batches_in(data), [], 0, 3)
    assert [each.offset for each in found.records] == [0]
    assert found.failed is not None


def test_a_batch_before_what_is_wanted_does_no_harm_though_it_cannot_be_read() -> None:
    bad = bytearray(batch(0, b"a"))
    bad[-1] ^= 0xFF
    assert offsets(bytes(bad) + batch(1, b"b"), at=1) == [1]


def test_what_is_damaged_says_where_it_is_and_how_much() -> None:
    assert str(DamagedBatch(5, 10, 5, True, "")) == "offsets 5 to 9 (5 records)"
    assert str(DamagedBatch(5, 6, 1, True, "")) == "offset 5 (1 record)"
    assert str(DamagedBatch(5, 20, 15, False, "")) == "offsets 5 to 19 (up to 15 records)"
