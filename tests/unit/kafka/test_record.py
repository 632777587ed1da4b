from __future__ import annotations

import pytest
from aiokafka import ConsumerRecord
from pydantic import BaseModel, ConfigDict

from streams.delivery import Record
from streams.failure.errors import InvalidRecord, PermanentError, Stage, Undecodable
from streams.testing import record


class Order(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str
    pieces: int


def test_a_record_holds_what_the_consumer_returned() -> None:
    message: ConsumerRecord[bytes, bytes] = ConsumerRecord(
        topic="orders", partition=2, offset=41, timestamp=1000, timestamp_type=1, key=b"7", value=b"{}",
        checksum=None, serialized_key_size=1, serialized_value_size=2, headers=(("a", b"1"), ("a", b"2")),
    )  # fmt: skip
    made = Record.of(message)
    assert (made.topic, made.partition, made.offset) == ("orders", 2, 41)
    assert (made.timestamp, made.timestamp_type) == (1000, 1)
    assert made.key is message.key
    assert made.value is message.value
    assert list(made.headers) == [("a", b"1"), ("a", b"2")]


def test_valid_json_becomes_the_model() -> None:
    assert record(b'{"id":"7","pieces":2,"new":"field"}').parse(Order) == Order(id="7", pieces=2)


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        (None, Undecodable, "null (a tombstone)"),
        (b"", Undecodable, "empty"),
        (b" ", Undecodable, "Invalid JSON: EOF"),
        (b'{"id":', Undecodable, "Invalid JSON: EOF"),
        (b"{} {}", Undecodable, "Invalid JSON: trailing"),
        (b"[" * 10_000, Undecodable, "recursion limit exceeded"),
        (b'{"id":"\xff","pieces":2}', Undecodable, "not UTF-8"),
        ("{}".encode("utf-16"), Undecodable, "not UTF-8"),
        (b"[]", InvalidRecord, "should be an object"),
        (b"null", InvalidRecord, "should be an object"),
        (b'{"id":"7"}', InvalidRecord, "pieces: Field required"),
        (b'{"id":"7","pieces":"many"}', InvalidRecord, "pieces: Input should be a valid integer"),
    ],
)
def test_what_is_wrong_with_a_value_is_said(value: bytes | None, kind: type[PermanentError], reason: str) -> None:
    with pytest.raises(PermanentError) as caught:
        record(value).parse(Order)
    assert type(caught.value) is kind
    assert reason in str(caught.value)


def test_what_cannot_be_decoded_and_what_is_invalid_are_different_stages() -> None:
    with pytest.raises(Undecodable) as undecodable:
        record(b"{").parse(Order)
    with pytest.raises(InvalidRecord) as invalid:
        record(b"{}").parse(Order)
    assert undecodable.value.stage is Stage.DECODE
    assert invalid.value.stage is Stage.VALIDATE


@pytest.mark.parametrize(
    "value",
    [
        b'{"id":"7","pieces":"4111-1111-1111-1111"}',
        b'{"id":{"card":"4111111111111111"},"pieces":1}',
        b'{"card":4111111111111111',
        b'"4111111111111111"',
    ],
)
def test_what_is_said_of_a_value_never_quotes_it(value: bytes) -> None:
    with pytest.raises(PermanentError) as caught:
        record(value).parse(Order)
    assert "4111" not in str(caught.value)


def test_the_envelope_is_read_once_and_only_when_asked_for() -> None:
    made = record(b"{}", headers=[("ce_id", b"pay-1")])
    assert made.envelope.id == "pay-1"
    assert made.envelope is made.envelope


@pytest.mark.parametrize(
    ("timestamp", "timestamp_type", "kind"),
    [(1000, 0, "CreateTime"), (1000, 1, "LogAppendTime"), (-1, 0, "NoTimestampType")],
)
def test_the_kind_of_timestamp_has_kafkas_name(timestamp: int, timestamp_type: int, kind: str) -> None:
    assert Record("t", 0, 0, timestamp, timestamp_type, None, b"", ()).timestamp_kind == kind


def test_a_records_repr_names_its_place_and_none_of_its_contents() -> None:
    made = record(b"secret", topic="orders", partition=3, offset=41, key=b"secret", headers=[("a", b"secret")])
    assert repr(made) == str(made) == "<Record orders-3@41>"
