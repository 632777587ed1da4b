from __future__ import annotations

import os
from collections import Counter

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from streams.delivery import Headers, Outbox, Output
from streams.delivery.outbox import BY_KEY, ENVELOPE_BYTES, SqueezedOutput, Tally
from streams.delivery.packing import packed
from streams.failure.errors import Stage, Unpublishable
from streams.kafka.clients import PRODUCER_BATCH_BYTES
from streams.testing import record

ORDER = record(b'{"id":7}', topic="orders", key=b"7", partition=3)


@pytest.fixture
def outbox() -> Outbox:
    made = Outbox(ENVELOPE_BYTES + 100)
    made.open(ORDER)
    return made


def test_an_output_has_key_and_partition_of_its_record_unless_it_is_given_a_key_of_its_own(outbox: Outbox) -> None:
    outbox.emit("mails", b"hello", headers=[("a", b"1")])
    outbox.emit("stock", b"-1", key=b"85123A")
    assert outbox.outputs == [
        Output("mails", 3, b"7", b"hello", [("a", b"1")]),
        Output("stock", BY_KEY, b"85123A", b"-1", []),
    ]


def test_an_empty_key_is_a_key(outbox: Outbox) -> None:
    outbox.emit("mails", b"hello", key=b"")
    assert outbox.outputs[0].key == b""


def test_a_tombstone_can_be_written(outbox: Outbox) -> None:
    outbox.emit("mails", None)
    assert outbox.outputs[0].value is None


def test_the_largest_value_that_fits_is_taken(outbox: Outbox) -> None:
    outbox.emit("mails", b"x" * 99)  # and the key, of one byte
    assert len(outbox.outputs) == 1


def test_a_value_no_broker_would_take_is_refused_with_the_setting_to_raise(outbox: Outbox) -> None:
    with pytest.raises(Unpublishable) as caught:
        outbox.emit("mails", b"x" * 100)
    assert caught.value.stage is Stage.PUBLISH
    assert "mails is 101 bytes with key and headers, more than the 100 that fit" in str(caught.value)
    assert "PAYSTREAM_TOPICS__MAX_MESSAGE_BYTES" in str(caught.value)
    assert outbox.outputs == []


def test_a_rollback_takes_back_what_was_emitted_since_the_savepoint_and_no_more(outbox: Outbox) -> None:
    outbox.emit("mails", b"of the record before")
    savepoint = outbox.open(ORDER)
    outbox.emit("mails", b"one")
    outbox.emit("stock", b"two")
    outbox.rollback(savepoint)
    assert [output.value for output in outbox.outputs] == [b"of the record before"]


def test_emitting_outside_of_a_handler_is_refused(outbox: Outbox) -> None:
    outbox.close()
    with pytest.raises(RuntimeError, match="outside of a handler"):
        outbox.emit("mails", b"too late")
    with pytest.raises(RuntimeError, match="outside of a handler"):
        Outbox(ENVELOPE_BYTES + 100).emit("mails", b"too early")


@pytest.mark.parametrize("value", [b"\xff\x00", b"", None, b"x" * 5000])
def test_a_dead_letter_is_the_very_bytes_of_its_record_whatever_their_size(value: bytes | None) -> None:
    outbox = Outbox(ENVELOPE_BYTES + 100)
    broken = record(value, key=b"\xfe", partition=2)
    outbox.open(broken)
    outbox.dead_letter("orders.DLT", [("x-error-stage", b"decode")])
    (letter,) = outbox.outputs
    assert letter == Output("orders.DLT", 2, b"\xfe", value, [("x-error-stage", b"decode")])
    assert letter.value is value


def test_what_was_drained_is_not_handed_over_again(outbox: Outbox) -> None:
    outbox.emit("mails", b"one")
    drained, *_ = outbox.drain()
    outbox.emit("mails", b"two")
    assert [output.value for output in drained] == [b"one"]
    assert [output.value for output in outbox.drain()[0]] == [b"two"]
    assert outbox.drain() == ([], [], [])


COUNTERS = st.dictionaries(st.sampled_from(["decode", "validate", "guest"]), st.integers(0, 99)).map(Counter)
TALLIES = st.builds(Tally, processed=st.integers(0, 99), dead_letters=COUNTERS, skipped=COUNTERS)


@given(TALLIES, TALLIES)
def test_adding_tallies_adds_every_count(one: Tally, other: Tally) -> None:
    total = Tally()
    total.add(one)
    total.add(other)
    assert total.processed == one.processed + other.processed
    assert total.dead_lettered == one.dead_lettered + other.dead_lettered
    assert total.consumed == one.consumed + other.consumed
    for reason in ("decode", "validate", "guest"):
        assert total.dead_letters[reason] == one.dead_letters[reason] + other.dead_letters[reason]
        assert total.skipped[reason] == one.skipped[reason] + other.skipped[reason]


def test_a_tally_counts_each_record_once() -> None:
    tally = Tally(5, Counter(decode=1, handle=2), Counter(guest=3))
    assert (tally.dead_lettered, tally.consumed) == (3, 11)


def test_effects_are_taken_back_with_the_outputs_of_their_record(outbox: Outbox) -> None:
    outbox.effect("one")
    savepoint = outbox.open(ORDER)
    outbox.effect("two")
    outbox.emit("mails", b"two")
    outbox.rollback(savepoint)
    outbox.effect("three")
    assert outbox.effects == ["one", "three"]
    assert outbox.outputs == []
    assert outbox.drain() == ([], ["one", "three"], [ORDER.offset, ORDER.offset])
    assert outbox.effects == []


def test_an_effect_outside_of_a_handler_is_a_defect() -> None:
    with pytest.raises(RuntimeError, match="outside of a handler"):
        Outbox(ENVELOPE_BYTES + 100).effect("too early")


# -- what is larger than a batch, and than the brokers take ----------------------------------------------


@pytest.fixture
def roomy() -> Outbox:
    made = Outbox(PRODUCER_BATCH_BYTES + 200_000, PRODUCER_BATCH_BYTES + 300_000)
    made.open(ORDER)
    return made


def test_what_fits_as_it_stands_is_not_compressed(roomy: Outbox) -> None:
    roomy.emit("mails", b"x" * PRODUCER_BATCH_BYTES)
    assert type(roomy.outputs[0]) is Output


def test_what_fits_compressed_is_told_apart_and_written_that_way(roomy: Outbox) -> None:
    value = b"x" * 3_000_000
    roomy.emit("mails", value, headers=(("a", b"1"),))
    (output,) = roomy.outputs
    assert type(output) is SqueezedOutput
    assert output == ("mails", 3, b"7", value, [("a", b"1")])
    (batch,) = packed([output], _create, transactional=True)
    assert len(batch._build()) < 10_000


def test_what_fits_in_no_way_is_refused_with_both_of_its_sizes(roomy: Outbox) -> None:
    with pytest.raises(
        Unpublishable, match=r"is 3000001 bytes with key and headers, and [0-9]{7} compressed, more than"
    ):
        roomy.emit("mails", os.urandom(2_000_000) + bytes(1_000_000))


def test_a_dead_letter_that_fits_in_no_way_says_where_its_record_is(roomy: Outbox) -> None:
    said: list[str] = []

    def stub(left_out: str) -> Headers:
        said.append(left_out)
        return [("x-error-stage", b"decode")]

    for size in (1_250_000, 1_300_000):
        roomy.open(record(os.urandom(size), topic="orders", key=b"7", partition=3, offset=17))
        roomy.dead_letter("orders.DLT", [("a", b"1")], stub)
    whole, cut = roomy.outputs
    assert (len(whole.value or b""), whole.headers) == (1_250_000, [("a", b"1")])
    assert cut == Output("orders.DLT", 3, b"7", None, [("x-error-stage", b"decode")])
    assert said == [
        "left out, as it is 1300003 bytes with its headers, more than the 1283616 that fit (see "
        "PAYSTREAM_TOPICS__MAX_MESSAGE_BYTES): the record is orders-3@17, for as long as that is kept"
    ]


def test_what_is_larger_than_a_batch_is_alone_in_one_and_the_order_is_kept() -> None:
    large = SqueezedOutput("mails", 3, b"2", b"x" * 3_000_000, [])
    small = [Output("mails", 3, key, b"x", []) for key in (b"1", b"3")]
    batches = [*packed([small[0], large, small[1]], _create, transactional=False)]
    assert [batch.record_count() for batch in batches] == [1, 1, 1]
    assert len(batches[1]._build()) < 10_000


def _create() -> BatchBuilder:
    return BatchBuilder(PRODUCER_BATCH_BYTES, 0, is_transactional=False)
