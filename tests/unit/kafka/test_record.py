from __future__ import annotations

import pytest
from aiokafka import ConsumerRecord
from pydantic import BaseModel, ConfigDict, TypeAdapter

from streams.delivery import Record, Skip
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
        (None, Undecodable, "the value is null, and so is the key"),
        (b"", Undecodable, "empty"),
        (b" ", Undecodable, "Invalid JSON: EOF"),
        (b'{"id":', Undecodable, "Invalid JSON: EOF"),
        (b"{} {}", Undecodable, "Invalid JSON: trailing"),
        (b"[" * 10_000, Undecodable, "recursion limit exceeded"),
        (b'{"id":"\xff","pieces":2}', Undecodable, "not UTF-8"),
        ("{}".encode("utf-16"), Undecodable, "the value is in UTF-16, and not UTF-8"),
        ("{}".encode("utf-16-le"), Undecodable, "the value is in UTF-16, and not UTF-8"),
        ("{}".encode("utf-16-be"), Undecodable, "the value is in UTF-16, and not UTF-8"),
        ("{}".encode("utf-32"), Undecodable, "the value is in UTF-32, and not UTF-8"),
        ("{}".encode("utf-32-be"), Undecodable, "the value is in UTF-32, and not UTF-8"),
        (b"\xef\xbb\xbf", Undecodable, "Invalid JSON: EOF"),
        (b'\xef\xbb\xbf{"id":', Undecodable, "Invalid JSON: EOF"),
        (b'\xef\xbb\xbf{"id":"7"}', InvalidRecord, "pieces: Field required"),
        (b'\xef\xbb\xbf\xef\xbb\xbf{"id":"7","pieces":2}', Undecodable, "Invalid JSON: expected value"),
        (b'{"id":"\\ud83d","pieces":2}', Undecodable, "half of a character"),
        (b'{"id":"\\ude00\\ud83d","pieces":2}', Undecodable, "half of a character"),
        (b'{"id":"7","pieces":2,"other":["\\udfff"]}', Undecodable, "half of a character"),
        (b'{"id":"\\ud83d', Undecodable, "Invalid JSON"),
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


@pytest.mark.parametrize("escaped", ["\\ud83d\\ude00", "\\u00e9"])
def test_whole_characters_may_be_escaped(escaped: str) -> None:
    assert record(f'{{"id":"{escaped}","pieces":2}}'.encode()).parse(Order).pieces == 2


def test_a_byte_order_mark_does_not_count_and_stays_where_it_is() -> None:
    marked = record(b'\xef\xbb\xbf{"id":"7","pieces":2}')
    assert marked.parse(Order) == marked.parse_as(TypeAdapter(Order)) == Order(id="7", pieces=2)
    assert marked.value == b'\xef\xbb\xbf{"id":"7","pieces":2}'


# -- a value that is null ----------------------------------------------------------------------------


def test_a_delete_marker_is_passed_over_and_counted_as_one() -> None:
    marker = record(None, key=b"7", headers=[("deleted-by", b"cleaner")])
    for parse in (lambda: marker.parse(Order), lambda: marker.parse_as(TypeAdapter(Order))):
        with pytest.raises(Skip) as skip:
            parse()
        assert skip.value.reason == "tombstone"


@pytest.mark.parametrize(
    ("key", "headers", "reason"),
    [
        (
            b"7",
            [("ce_id", b"pay-7"), ("ce_type", b"t")],
            "by its ce_ headers this is an event, and its data is missing",
        ),
        (None, [("ce_id", b"pay-7")], "by its ce_ headers this is an event, and its data is missing"),
        (None, [], "neither an event nor a delete marker"),
    ],
)
def test_a_null_value_that_marks_no_deletion_cannot_be_decoded(
    key: bytes | None, headers: list[tuple[str, bytes]], reason: str
) -> None:
    with pytest.raises(Undecodable, match=reason):
        record(None, key=key, headers=headers).parse(Order)


# -- CloudEvents in other modes ------------------------------------------------------------------------

EVENT = b'{"specversion":"1.0","id":"1","source":"/shop","type":"t","data":{"id":"7","pieces":2}}'


@pytest.mark.parametrize(
    ("value", "headers", "named"),
    [
        (EVENT, [("content-type", b"application/cloudevents+json; charset=UTF-8")], "a structured CloudEvent"),
        (EVENT, [("Content-Type", b"Application/CloudEvents+JSON")], "a structured CloudEvent"),
        (EVENT, [("contentType", b'"application/cloudevents+json"')], "a structured CloudEvent"),
        (EVENT, [], "a structured CloudEvent"),
        (b"\xef\xbb\xbf" + EVENT, [], "a structured CloudEvent"),
        (b"\x0aAvro", [("content-type", b"application/cloudevents+avro")], "a structured CloudEvent"),
        (b"[%s]" % EVENT, [("content-type", b"application/cloudevents-batch+json")], "a batch of CloudEvents"),
        (b"[%s,%s]" % (EVENT, EVENT), [], "a batch of CloudEvents"),
        (b"[]", [("content-type", b"application/cloudevents-batch+json")], "a batch of CloudEvents"),
    ],
)
def test_a_cloudevent_in_another_mode_is_named(value: bytes, headers: list[tuple[str, bytes]], named: str) -> None:
    with pytest.raises(Undecodable, match=f"this is {named} .*, which is not read yet"):
        record(value, headers=headers).parse(Order)


@pytest.mark.parametrize("value", [b'{"specversion":"1.0"}', b'["specversion"]', b'"specversion"', b"[]"])
def test_what_only_speaks_of_a_specversion_is_no_cloudevent(value: bytes) -> None:
    with pytest.raises(InvalidRecord):
        record(value, headers=[("content-type", b"application/json"), ("contenttype", b"")]).parse(Order)


def test_a_record_that_can_be_read_is_read_whatever_its_content_type_says() -> None:
    odd = record(b'{"id":"7","pieces":2}', headers=[("content-type", b"application/cloudevents+json")])
    assert odd.parse(Order).id == "7"


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
