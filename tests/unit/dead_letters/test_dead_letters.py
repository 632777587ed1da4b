from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from models.dead_letter import DeadLetterView
from streams.dead_letters.reading import DeadLetterInfo, Hop, read_dead_letter
from streams.dead_letters.view import dead_letter_view
from streams.dead_letters.writing import Failure, Limits, Origin, dead_letter_headers
from streams.failure.errors import InvalidRecord, Stage, TransientError
from streams.failure.fingerprint import fingerprint
from streams.failure.policy import Disposition
from streams.settings import FailureSettings

ORIGIN = Origin("orders", 3, 42, 1_700_000_000_000, "CreateTime", "billing")
LIMITS = Limits(message_bytes=1024, trace_bytes=8192)
ERROR = InvalidRecord("no lines")


def failure(error: Exception = ERROR, **others: object) -> Failure:
    made = Failure(
        error=error,
        stage=Stage.VALIDATE,
        disposition=Disposition.PERMANENT,
        attempts=1,
        first_failed_at=1_767_225_600.5,
        failed_at=1_767_225_607.123,
    )
    return dataclasses.replace(made, **others)  # type: ignore[arg-type]


def write(
    headers: Sequence[tuple[str, bytes]] = (),
    error: Exception = ERROR,
    origin: Origin = ORIGIN,
    limits: Limits = LIMITS,
) -> list[tuple[str, bytes]]:
    return dead_letter_headers(headers, origin, failure(error), limits)


def values(headers: Sequence[tuple[str, bytes]], name: str) -> list[bytes]:
    return [value for each, value in headers if each == name]


def last(headers: Sequence[tuple[str, bytes]], name: str) -> bytes:
    return values(headers, name)[-1]


# -- writing -----------------------------------------------------------------------------------------


def test_a_dead_letter_is_springs_to_the_byte_and_then_ours() -> None:
    own = [("ce_id", b"1"), ("trace", b"a"), ("ce_id", b"2")]
    assert write(own) == [
        *own,
        ("kafka_dlt-exception-fqcn", b"streams.failure.errors.InvalidRecord"),
        ("kafka_dlt-exception-cause-fqcn", b"streams.failure.errors.InvalidRecord"),
        ("kafka_dlt-exception-message", b"no lines"),
        ("kafka_dlt-exception-stacktrace", b"streams.failure.errors.InvalidRecord\n"),
        ("kafka_dlt-original-topic", bytes.fromhex("6f7264657273")),
        ("kafka_dlt-original-partition", bytes.fromhex("00000003")),
        ("kafka_dlt-original-offset", bytes.fromhex("000000000000002a")),
        ("kafka_dlt-original-timestamp", bytes.fromhex("0000018bcfe56800")),
        ("kafka_dlt-original-timestamp-type", bytes.fromhex("43726561746554696d65")),
        ("kafka_dlt-original-consumer-group", b"billing"),
        ("x-error-stage", b"validate"),
        ("x-disposition", b"permanent"),
        ("x-attempts", b"1"),
        ("x-first-failed-at", b"2026-01-01T00:00:00.500Z"),
        ("x-failed-at", b"2026-01-01T00:00:07.123Z"),
        ("x-error-fingerprint", fingerprint(ERROR, Stage.VALIDATE).encode()),
        ("x-error-reason", b"no lines"),
    ]


# Printed by a JVM: ByteBuffer.putInt, ByteBuffer.putLong and BigInteger.toByteArray.
GOLDEN = [
    (0, "00000000", "0000000000000000", "00"),
    (1, "00000001", "0000000000000001", "01"),
    (127, "0000007f", "000000000000007f", "7f"),
    (128, "00000080", "0000000000000080", "0080"),
    (255, "000000ff", "00000000000000ff", "00ff"),
    (-1, "ffffffff", "ffffffffffffffff", "ff"),
    (1_700_000_000_000, None, "0000018bcfe56800", "018bcfe56800"),
    (1_767_225_600_000, None, "0000019b76daa800", "019b76daa800"),
    (2**40 - 1, None, "000000ffffffffff", "00ffffffffff"),
    (2**63 - 1, None, "7fffffffffffffff", "7fffffffffffffff"),
]


@pytest.mark.parametrize(("number", "int32", "int64", "big_integer"), GOLDEN)
def test_numbers_are_written_and_read_as_java_does(
    number: int, int32: str | None, int64: str, big_integer: str
) -> None:
    partition = number if int32 else 0
    origin = Origin("orders", partition, number, number, "CreateTime", "billing")
    written = write(origin=origin)
    assert last(written, "kafka_dlt-original-partition").hex() == (int32 or "00000000")
    assert last(written, "kafka_dlt-original-offset").hex() == int64
    assert last(written, "kafka_dlt-original-timestamp").hex() == int64
    assert read_dead_letter(written).origin == Hop(**dataclasses.asdict(origin))
    raw = bytes.fromhex(big_integer)
    assert read_dead_letter([("retry_topic-original-timestamp", raw)]).retry_original_timestamp_ms == number
    assert read_dead_letter([("retry_topic-backoff-timestamp", raw)]).retry_due_ms == number


def test_the_second_dead_letter_appends_where_it_was_and_replaces_why() -> None:
    first = write([("ce_id", b"1")], ValueError("first"))
    second = write(first, KeyError(), Origin("orders.DLT", 3, 7, -1, "NoTimestampType", "repair"))
    names = [name for name, _ in second]
    assert names.count("kafka_dlt-original-topic") == 2
    assert values(second, "kafka_dlt-original-topic") == [b"orders", b"orders.DLT"]
    assert values(second, "kafka_dlt-exception-fqcn") == [b"builtins.KeyError"]
    # Spring would leave the first exception's message beside the second exception's class.
    assert values(second, "kafka_dlt-exception-message") == []
    for name in ("x-error-stage", "x-disposition", "x-attempts", "x-failed-at", "x-error-reason"):
        assert names.count(name) == 1
    assert [name for name in names[:7] if not name.startswith("kafka_dlt-original-")] == ["ce_id"]


def test_what_an_older_failure_to_read_the_key_left_behind_is_dropped() -> None:
    stale = [(f"kafka_dlt-key-exception-{part}", b"x") for part in ("fqcn", "message", "stacktrace")]
    assert not [name for name, _ in write(stale) if "key-exception" in name]


def test_headers_of_spring_that_only_java_may_write_are_not_passed_on() -> None:
    java = [
        ("springDeserializerExceptionKey", b"\xac\xed\x00\x05"),
        ("springDeserializerExceptionValue", b""),
    ]
    assert not [name for name, _ in write(java) if name.startswith("springDeserializerException")]
    assert not [name for name, _ in write() if name == "spring_json_header_types"]


def test_the_records_own_type_headers_are_part_of_the_record() -> None:
    own = [("spring_json_header_types", b'{"a":"java.lang.String"}'), ("__TypeId__", b"shop.Payment")]
    assert write(own)[:2] == own


def test_replay_headers_are_carried_in_place_and_not_invented() -> None:
    carried = [("x-replay-count", b"2"), ("ce_id", b"1"), ("x-replay-id", b"r-9")]
    assert write(carried)[:3] == carried
    assert not [name for name, _ in write() if name.startswith("x-replay")]


def test_a_null_header_stays_null() -> None:
    own: list[Any] = [("nothing", None)]
    assert write(own)[:1] == own


def test_the_root_cause_is_named_and_the_message_tells_both() -> None:
    error, root = TransientError("stock is busy"), KeyError("sku 7")
    error.__cause__ = RuntimeError("between")
    error.__cause__.__cause__ = root
    written = write(error=error)
    assert last(written, "kafka_dlt-exception-fqcn") == b"streams.failure.errors.TransientError"
    assert last(written, "kafka_dlt-exception-cause-fqcn") == b"builtins.KeyError"
    assert last(written, "kafka_dlt-exception-message") == b"stock is busy; 'sku 7'"
    assert last(written, "x-error-reason") == b"stock is busy"


@pytest.mark.parametrize(
    ("outer", "inner", "message"),
    [
        ("refused: no route", "no route", ["refused: no route"]),
        ("refused", "", ["refused"]),
        ("", "no route", ["no route"]),
        ("", "", []),
    ],
)
def test_a_message_is_never_repeated_nor_left_dangling(outer: str, inner: str, message: list[str]) -> None:
    error = TransientError(outer)
    error.__cause__ = OSError(inner)
    assert values(write(error=error), "kafka_dlt-exception-message") == [each.encode() for each in message]


def test_a_validation_error_is_told_without_the_record() -> None:
    class Payment(BaseModel):
        amount: int

    with pytest.raises(ValidationError) as caught:
        Payment.model_validate({"amount": "4" + "111 1111"})
    written = write(error=caught.value)
    assert b"4111" not in b"".join(value for _, value in written)
    assert last(written, "kafka_dlt-exception-message").startswith(b"amount: Input should be a valid integer")


def test_the_trace_and_the_reason_hold_no_payload_though_the_message_may() -> None:
    def handler(value: str) -> None:
        raise KeyError(value)

    with pytest.raises(KeyError) as caught:
        handler("Jane " + "Doe")
    written = write(error=caught.value)
    assert last(written, "kafka_dlt-exception-message") == b"'Jane Doe'"
    assert [name for name, value in written if b"Jane Doe" in value] == ["kafka_dlt-exception-message"]
    assert b"in handler" in last(written, "kafka_dlt-exception-stacktrace")


def test_an_exception_that_cannot_be_printed_still_becomes_a_dead_letter() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    written = write(error=MuteError())
    assert values(written, "kafka_dlt-exception-message") == []
    assert last(written, "x-error-reason").endswith(b"MuteError")


def test_a_long_message_keeps_its_beginning_and_a_long_trace_its_end() -> None:
    def handler(depth: int) -> None:
        if depth:
            handler(depth - 1)
        raise InvalidRecord("a" * 5000)

    with pytest.raises(InvalidRecord) as caught:
        handler(3)
    written = write(error=caught.value, limits=Limits(100, 200))
    message, trace = (
        last(written, "kafka_dlt-exception-message"),
        last(written, "kafka_dlt-exception-stacktrace"),
    )
    assert message.decode() == "a" * 97 + "…"
    assert last(written, "x-error-reason") == message
    assert len(trace) <= 200
    assert trace.decode().startswith("…")
    assert trace.decode().endswith("streams.failure.errors.InvalidRecord\n")


def test_a_trace_of_no_bytes_is_left_out() -> None:
    assert values(write(limits=Limits(100, 0)), "kafka_dlt-exception-stacktrace") == []


@given(st.text(max_size=200), st.integers(3, 100))
def test_a_text_is_cut_between_characters_and_never_longer_than_allowed(text: str, limit: int) -> None:
    written = write(error=InvalidRecord(text), limits=Limits(limit, 0))
    for message in values(written, "kafka_dlt-exception-message"):
        assert len(message) <= limit
        assert message.decode() == text or text.startswith(message.decode()[:-1])


@pytest.mark.parametrize(("message_bytes", "trace_bytes"), [(2, 100), (100, 2), (100, -1)])
def test_a_limit_without_room_for_the_mark_is_refused(message_bytes: int, trace_bytes: int) -> None:
    with pytest.raises(ValueError, match="must be 3 bytes or more"):
        Limits(message_bytes, trace_bytes)


def test_the_limits_are_read_from_the_settings() -> None:
    assert Limits.of(FailureSettings(max_message_bytes=64, max_trace_bytes=0)) == Limits(64, 0)


def test_lone_surrogates_do_not_break_a_dead_letter() -> None:
    written = write(error=InvalidRecord("file \udcff"))
    assert last(written, "kafka_dlt-exception-message") == b"file \\udcff"


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
ORIGINS = st.builds(
    Origin,
    topic=TEXT,
    partition=st.integers(-(2**31), 2**31 - 1),
    offset=st.integers(-(2**63), 2**63 - 1),
    timestamp_ms=st.integers(-(2**63), 2**63 - 1),
    timestamp_type=st.sampled_from(["CreateTime", "LogAppendTime", "NoTimestampType"]),
    consumer_group=TEXT,
)


@given(st.lists(ORIGINS, min_size=1, max_size=4), TEXT)
def test_what_was_written_is_what_is_read_after_any_number_of_hops(origins: list[Origin], text: str) -> None:
    headers: list[tuple[str, bytes]] = [("ce_id", b"1")]
    for origin in origins:
        headers = write(headers, TransientError(text), origin)
    info = read_dead_letter(headers)
    assert info.origin == Hop(**dataclasses.asdict(origins[0]))
    assert info.last_hop == Hop(**dataclasses.asdict(origins[-1]))
    assert (info.message or "") == text
    assert info.unreadable == ()


# -- reading -----------------------------------------------------------------------------------------


def int32(number: int) -> bytes:
    return number.to_bytes(4, "big", signed=True)


def int64(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)


def test_our_own_dead_letter_is_read_back_whole() -> None:
    info = read_dead_letter(write([("x-replay-count", b"2"), ("x-replay-id", b"r-9")]))
    here = Hop("orders", 3, 42, 1_700_000_000_000, "CreateTime", "billing")
    assert info == DeadLetterInfo(
        origin=here,
        last_hop=here,
        exception_class="streams.failure.errors.InvalidRecord",
        cause_class="streams.failure.errors.InvalidRecord",
        message="no lines",
        stacktrace="streams.failure.errors.InvalidRecord\n",
        stage="validate",
        disposition="permanent",
        attempts=1,
        reason="no lines",
        fingerprint=fingerprint(ERROR, Stage.VALIDATE),
        first_failed_at=1_767_225_600.5,
        failed_at=1_767_225_607.123,
        replay_count=2,
        replay_id="r-9",
    )


def test_a_record_that_is_no_dead_letter_says_nothing() -> None:
    assert read_dead_letter([("ce_id", b"1"), ("kafka_deliveryAttempt", int32(1))]) == DeadLetterInfo()


def test_springs_retry_topics_are_read_though_the_group_has_the_other_familys_name() -> None:
    info = read_dead_letter(
        [
            ("kafka_original-topic", b"orders"),
            ("kafka_original-partition", int32(3)),
            ("kafka_original-offset", int64(42)),
            ("kafka_original-timestamp", int64(1_700_000_000_000)),
            ("kafka_original-timestamp-type", b"CreateTime"),
            ("kafka_dlt-original-consumer-group", b"billing"),
            ("kafka_exception-fqcn", b"Wrapper"),
            ("kafka_exception-cause-fqcn", b"java.lang.IllegalStateException"),
            ("kafka_exception-message", b"Listener failed; boom"),
            ("retry_topic-original-timestamp", bytes.fromhex("018bcfe56800")),
            # appended at each hop: the last counts, and is one ahead on the dead-letter topic
            ("retry_topic-attempts", int32(2)),
            ("retry_topic-attempts", int32(4)),
        ]
    )
    here = Hop("orders", 3, 42, 1_700_000_000_000, "CreateTime", "billing")
    assert (info.origin, info.last_hop) == (here, here)
    assert (info.exception_class, info.cause_class) == ("Wrapper", "java.lang.IllegalStateException")
    assert info.message == "Listener failed; boom"
    assert info.attempts == 3
    assert info.retry_original_timestamp_ms == 1_700_000_000_000


def test_a_letter_of_springs_retry_topics_that_we_dead_letter_again_has_two_hops() -> None:
    retried = [
        ("kafka_original-topic", b"orders"),
        ("kafka_original-offset", int64(42)),
        ("kafka_dlt-original-consumer-group", b"billing"),
        ("kafka_exception-fqcn", b"Wrapper"),
        ("kafka_exception-message", b"boom"),
    ]
    info = read_dead_letter(write(retried, KeyError(), Origin("orders-dlt", 0, 7, -1, "NoTimestampType", "repair")))
    assert info.origin == Hop("orders", offset=42, consumer_group="billing")
    assert info.last_hop == Hop("orders-dlt", 0, 7, -1, "NoTimestampType", "repair")
    # the newest family is told whole, without the older one's message in its gap
    assert (info.exception_class, info.message) == ("builtins.KeyError", None)


def test_a_hop_that_did_not_name_its_group_is_not_given_the_next_ones() -> None:
    info = read_dead_letter(
        [
            ("kafka_dlt-original-topic", b"a"),
            ("kafka_dlt-original-offset", int64(1)),
            ("kafka_dlt-original-topic", b"b"),
            ("kafka_dlt-original-consumer-group", b"g"),
        ]
    )
    assert info.origin == Hop("a", offset=1)
    assert info.last_hop == Hop("b", consumer_group="g")


def test_what_two_programs_say_is_not_mixed_into_one_place() -> None:
    info = read_dead_letter([("__streams.errors.topic", b"a"), ("kafka_dlt-original-offset", int64(7))])
    assert (info.origin, info.last_hop) == (Hop("a"), Hop(offset=7))


@pytest.mark.parametrize("length", [0, 9])
def test_a_retry_timestamp_of_no_possible_length_is_named(length: int) -> None:
    info = read_dead_letter([("retry_topic-backoff-timestamp", b"\x01" * length)])
    assert (info.retry_due_ms, info.unreadable) == (None, ("retry_topic-backoff-timestamp",))


def test_parts_of_one_place_may_be_scattered_among_the_headers() -> None:
    info = read_dead_letter(
        [
            ("kafka_dlt-original-offset", int64(42)),
            ("kafka_dlt-exception-message", b"boom"),
            ("kafka_dlt-original-topic", b"orders"),
            ("ce_id", b"1"),
            ("kafka_dlt-original-consumer-group", b"billing"),
        ]
    )
    assert info.origin == info.last_hop == Hop("orders", offset=42, consumer_group="billing")


@pytest.mark.parametrize("prefix", ["kafka_dlt-", "kafka_"])
def test_a_key_that_could_not_be_read_is_told_though_the_exceptions_own_class_is_missing(prefix: str) -> None:
    info = read_dead_letter(
        [
            (prefix + "key-exception-fqcn", b"DeserializationException"),
            (prefix + "exception-cause-fqcn", b"DeserializationException"),
            (prefix + "key-exception-message", b"failed to deserialize"),
            (prefix + "key-exception-stacktrace", b"at ..."),
        ]
    )
    assert info == DeadLetterInfo(
        cause_class="DeserializationException",
        key_exception_class="DeserializationException",
        key_exception_message="failed to deserialize",
        key_exception_stacktrace="at ...",
    )


@pytest.mark.parametrize(
    ("raw", "attempts"),
    [
        (b"\x00\x00\x00\x02", 1),
        (b"\x04", 3),  # before Spring Kafka 2.7.9
        (b"\xff", 254),  # unsigned
        (b"\x00\x00\x7f\xff", 32766),
        (b"\x00\x00\x80\x00", None),
        (b"\x00", None),
        (b"", None),
        (b"\x00\x02", None),
    ],
)
def test_attempts_of_retry_topics_are_one_byte_or_four(raw: bytes, attempts: int | None) -> None:
    info = read_dead_letter([("retry_topic-attempts", raw)])
    assert info.attempts == attempts
    assert info.unreadable == (() if attempts is not None else ("retry_topic-attempts",))


def test_our_count_of_attempts_goes_before_springs() -> None:
    assert read_dead_letter([("x-attempts", b"6"), ("retry_topic-attempts", int32(2))]).attempts == 6


DIALECTS = [
    # Kafka Streams: all text
    (
        [
            ("__streams.errors.exception", b"java.lang.RuntimeException"),
            ("__streams.errors.message", b"boom"),
            ("__streams.errors.stacktrace", b"at ..."),
            ("__streams.errors.topic", b"orders"),
            ("__streams.errors.partition", b"3"),
            ("__streams.errors.offset", b"42"),
        ],
        None,
    ),
    # Kafka Connect: all text, with a stage of its own
    (
        [
            ("__connect.errors.topic", b"orders"),
            ("__connect.errors.partition", b"3"),
            ("__connect.errors.offset", b"42"),
            ("__connect.errors.connector.name", b"sink"),
            ("__connect.errors.stage", b"VALUE_CONVERTER"),
            ("__connect.errors.exception.class.name", b"java.lang.RuntimeException"),
            ("__connect.errors.exception.message", b"boom"),
            ("__connect.errors.exception.stacktrace", b"at ..."),
        ],
        "VALUE_CONVERTER",
    ),
    # Spring Cloud Stream writes binary numbers
    (
        [
            ("x-original-topic", b"orders"),
            ("x-original-partition", int32(3)),
            ("x-original-offset", int64(42)),
            ("x-exception-fqcn", b"java.lang.RuntimeException"),
            ("x-exception-message", b"boom"),
            ("x-exception-stacktrace", b"at ..."),
        ],
        None,
    ),
    # and others write text under the same names
    (
        [
            ("x-exception-message", b"boom"),
            ("x-exception-stacktrace", b"at ..."),
            ("x-exception-fqcn", b"java.lang.RuntimeException"),
            ("x-original-offset", b"42"),
            ("x-original-partition", b"3"),
            ("x-original-topic", b"orders"),
        ],
        None,
    ),
]


@pytest.mark.parametrize(("headers", "stage"), DIALECTS, ids=["streams", "connect", "cloud-stream", "text"])
def test_other_programs_dead_letters_are_read(headers: list[tuple[str, bytes]], stage: str | None) -> None:
    info = read_dead_letter(headers)
    assert info.origin == info.last_hop == Hop("orders", 3, 42)
    assert (info.exception_class, info.message, info.stacktrace, info.stage, info.unreadable) == (
        "java.lang.RuntimeException",
        "boom",
        "at ...",
        stage,
        (),
    )


@pytest.mark.parametrize(
    ("name", "raw", "offset"),
    [
        ("kafka_dlt-original-offset", b"42", 42),
        ("kafka_dlt-original-offset", b"-1", -1),
        # eight bytes are Spring's binary under Spring's name, and eight digits are text under the others
        ("kafka_dlt-original-offset", b"12345678", 0x3132333435363738),
        ("x-original-offset", b"12345678", 12345678),
        ("__streams.errors.offset", b"12345678", 12345678),
        ("kafka_dlt-original-offset", b"\x00\x00\x00\x2a", None),
        ("kafka_dlt-original-offset", b"", None),
        ("kafka_dlt-original-offset", "٤٢".encode(), None),
        ("x-original-offset", b"4 2", None),
        ("x-original-offset", b"1" * 20, None),
    ],
)
def test_a_number_in_the_wrong_encoding_is_read_or_named(name: str, raw: bytes, offset: int | None) -> None:
    info = read_dead_letter([("kafka_dlt-original-consumer-group", b"g"), (name, raw)])
    assert info.origin is not None
    assert (info.origin.offset, info.origin.consumer_group) == (offset, "g")
    assert info.unreadable == (() if offset is not None else (name,))


@pytest.mark.parametrize(
    "raw", [b"yesterday", b"", b"2026-01-01T00:00:00", b"\xff", b"2026-13-01T00:00:00Z", b"1767225600"]
)
def test_a_time_that_is_none_is_named(raw: bytes) -> None:
    info = read_dead_letter([("x-failed-at", raw), ("x-first-failed-at", b"2026-01-01T02:00:00.000+02:00")])
    assert (info.failed_at, info.first_failed_at) == (None, 1_767_225_600.0)
    assert info.unreadable == ("x-failed-at",)


def test_all_that_is_unreadable_is_listed_once_and_in_order() -> None:
    broken = [(name, b"?") for name in ("x-attempts", "kafka_dlt-original-offset", "x-attempts", "x-replay-count")]
    assert read_dead_letter(broken).unreadable == (
        "x-attempts",
        "kafka_dlt-original-offset",
        "x-replay-count",
    )


KNOWN = [
    *(name for name, _ in write([("x-replay-count", b""), ("x-replay-id", b"")])),
    *(name for headers, _ in DIALECTS for name, _ in headers),
    *("kafka_" + name for name in ("original-topic", "original-offset", "original-timestamp", "exception-fqcn")),
    *("retry_topic-" + name for name in ("attempts", "original-timestamp", "backoff-timestamp")),
    "kafka_dlt-key-exception-fqcn",
    "x-original-timestamp",
]
TIMES = st.datetimes().map(lambda moment: moment.isoformat().encode() + b"Z")
GARBAGE = st.lists(
    st.tuples(
        st.one_of(st.sampled_from(KNOWN), st.text(max_size=10)),
        st.one_of(st.none(), st.binary(max_size=12), st.integers().map(lambda n: b"%d" % n), TIMES),
    ),
    max_size=30,
)


@given(GARBAGE, st.one_of(st.none(), st.binary(max_size=10)))
def test_no_garbage_whatever_stops_the_reader_or_the_view(
    headers: list[tuple[str, bytes | None]], key: bytes | None
) -> None:
    info = read_dead_letter(headers)
    assert set(info.unreadable) <= {name for name, _ in headers}
    json.loads(dead_letter_view("orders.DLT", 0, 0, key, info).model_dump_json())


@given(GARBAGE)
def test_a_record_with_any_headers_can_be_dead_lettered(headers: list[tuple[str, bytes]]) -> None:
    info = read_dead_letter(write(headers))
    assert info.last_hop == Hop("orders", 3, 42, 1_700_000_000_000, "CreateTime", "billing")
    assert (info.message, info.reason, info.attempts) == ("no lines", "no lines", 1)


# -- the view ----------------------------------------------------------------------------------------


def test_the_view_shows_where_from_why_and_when() -> None:
    headers = write(write([("x-replay-count", b"1")]), origin=Origin("orders.DLT", 1, 2, -1, "CreateTime", "repair"))
    view = dead_letter_view("orders.DLT.DLT", 3, 9, b"536365", read_dead_letter(headers))
    assert json.loads(view.model_dump_json()) == {
        "topic": "orders.DLT.DLT",
        "partition": 3,
        "offset": 9,
        "order_id": "536365",
        "origin_topic": "orders",
        "origin_partition": 3,
        "origin_offset": 42,
        "origin_timestamp": "2023-11-14T22:13:20Z",
        "consumer_group": "repair",
        "stage": "validate",
        "disposition": "permanent",
        "attempts": 1,
        "reason": "no lines",
        "exception_class": "streams.failure.errors.InvalidRecord",
        "first_failed_at": "2026-01-01T00:00:00.500000Z",
        "failed_at": "2026-01-01T00:00:07.123000Z",
        "fingerprint": fingerprint(ERROR, Stage.VALIDATE),
        "replay_count": 1,
    }


def test_the_view_of_a_foreign_record_shows_its_place() -> None:
    assert dead_letter_view("orders.DLT", 0, 1, b"\xff", DeadLetterInfo()) == DeadLetterView(
        topic="orders.DLT", partition=0, offset=1
    )


def test_the_view_names_the_cause_rather_than_springs_wrapper() -> None:
    info = DeadLetterInfo(exception_class="Wrapper", cause_class="Cause", key_exception_class="Key")
    assert dead_letter_view("t", 0, 0, None, info).exception_class == "Cause"
    assert dead_letter_view("t", 0, 0, None, DeadLetterInfo(key_exception_class="K")).exception_class == "K"


@pytest.mark.parametrize("timestamp", [-1, 2**63 - 1, -(2**63)])
def test_a_timestamp_that_no_calendar_has_is_left_out(timestamp: int) -> None:
    info = DeadLetterInfo(origin=Hop(timestamp_ms=timestamp))
    assert dead_letter_view("t", 0, 0, None, info).origin_timestamp is None
