from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.envelope import Consequences, Envelope, event_headers

TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CAUSE = Envelope(id="pay-1", trace=(("traceparent", TRACEPARENT),))
# What CloudEvents lets a text be made of.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), min_size=1)
TIME = st.datetimes(timezones=st.just(timezone.utc)).map(datetime.isoformat)


def consequences(cause: Envelope = CAUSE) -> Consequences:
    return Consequences(
        cause, cause_id="pay-1", cause_kind="order", order_id="7", time="2010-12-01T08:26:00Z", source=b"/shop"
    )


def test_every_attribute_is_read() -> None:
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"pay-1"),
        ("ce_source", b"/shop"),
        ("ce_type", b"shop.payment.completed.v1"),
        ("ce_time", b"2010-12-01T08:26:00Z"),
        ("ce_subject", b"7"),
    ]
    assert Envelope.read(headers) == Envelope(
        "pay-1", "/shop", "shop.payment.completed.v1", "2010-12-01T08:26:00Z", "7"
    )


@pytest.mark.parametrize(
    "headers", [(), [("__TypeId__", b"com.shop.PaymentCompleted")], [("id", b"1"), ("CE_ID", b"1")]]
)
def test_a_record_without_cloudevents_headers_has_an_empty_envelope(headers: list[tuple[str, bytes]]) -> None:
    assert Envelope.read(headers) == Envelope()


def test_of_repeated_headers_the_last_counts() -> None:
    assert Envelope.read([("ce_id", b"first"), ("other", b""), ("ce_id", b"last")]).id == "last"


@pytest.mark.parametrize(
    "value",
    [
        b"", b"pay-\xff", b"pay\n1", b"pay\x00", b"\x1b[2J", b"\x7f", "pay\x9b2J".encode(), "\ufffe".encode(),
        b"\xed\xa0\xbd", b"p" * 1025,
    ],
)  # fmt: skip
@pytest.mark.parametrize("attribute", ["id", "source", "type", "subject"])
def test_what_is_no_text_of_cloudevents_counts_as_missing(attribute: str, value: bytes) -> None:
    assert Envelope.read([(f"ce_{attribute}", value)]) == Envelope()


@pytest.mark.parametrize("text", ["pay-1", "결제-1", "a b", "a\u00a0b", "p" * 1024, "\N{PILE OF POO}"])
def test_any_other_text_is_an_id(text: str) -> None:
    assert Envelope.read([("ce_id", text.encode())]).id == text


@pytest.mark.parametrize(
    "time",
    [
        "2010-12-01T08:26:00Z",
        "2010-12-01t08:26:00z",
        "2010-12-01T08:26:00.123456789Z",
        "2010-12-01T09:26:00+01:00",
        "2010-11-30T23:26:00-09:00",
        "2016-12-31T23:59:60Z",
        "2024-02-29T00:00:00Z",
        "2000-02-29T00:00:00Z",
    ],
)
def test_a_time_in_rfc_3339_is_read_as_it_is(time: str) -> None:
    assert Envelope.read([("ce_time", time.encode())]).time == time


@pytest.mark.parametrize(
    "time",
    [
        "",
        "yesterday",
        "1291191960",
        "2010-12-01",
        "2010-12-01T08:26:00",
        "2010-12-01T08:26Z",
        "2010-12-01 08:26:00Z",
        "2010-12-01T08:26:00+0100",
        "2010-12-01T08:26:00.Z",
        "2010-13-01T08:26:00Z",
        "2010-00-01T08:26:00Z",
        "2010-04-31T08:26:00Z",
        "2010-02-30T08:26:00Z",
        "2023-02-29T08:26:00Z",
        "1900-02-29T08:26:00Z",
        "2010-12-01T24:00:00Z",
        "2010-12-01T08:60:00Z",
        "2010-12-01T08:26:61Z",
        "2010-12-01T08:26:00+24:00",
        "2010-12-01T08:26:00Z\n",
        "Wed, 01 Dec 2010 08:26:00 GMT",
        "\uff12010-12-01T08:26:00Z",
        "2010-12-01T08:26:00." + "0" * 1024 + "Z",
    ],
)
def test_a_time_that_is_no_rfc_3339_counts_as_missing(time: str) -> None:
    assert Envelope.read([("ce_time", time.encode())]).time is None


def test_a_header_without_a_value_counts_as_missing() -> None:
    headers: list[tuple[str, bytes]] = [("ce_id", None), ("traceparent", None)]  # type: ignore[list-item]
    assert Envelope.read(headers) == Envelope()


def test_the_trace_context_is_kept_byte_for_byte() -> None:
    headers = [("baggage", b"a=1"), ("traceparent", TRACEPARENT), ("x-request-id", b"9"), ("tracestate", b"v=1")]
    assert Envelope.read(headers).trace == (
        ("traceparent", TRACEPARENT),
        ("tracestate", b"v=1"),
        ("baggage", b"a=1"),
    )


@pytest.mark.parametrize("parent", [TRACEPARENT, b"cc" + TRACEPARENT[2:], b"cc" + TRACEPARENT[2:] + b"-what-comes"])
def test_a_traceparent_of_this_version_or_a_later_one_is_carried_on(parent: bytes) -> None:
    assert Envelope.read([("traceparent", parent)]).trace == (("traceparent", parent),)


@pytest.mark.parametrize(
    "parent",
    [
        b"\xff",
        b"",
        TRACEPARENT.upper(),
        TRACEPARENT[:-1],
        TRACEPARENT + b"-more",
        TRACEPARENT + b"\n",
        b"ff" + TRACEPARENT[2:],
        b"00-" + b"0" * 32 + TRACEPARENT[35:],
        TRACEPARENT[:36] + b"0" * 16 + TRACEPARENT[52:],
        TRACEPARENT.replace(b"-", b"_"),
    ],
)
def test_what_is_no_traceparent_is_not_carried_on_and_neither_is_its_tracestate(parent: bytes) -> None:
    headers = [("traceparent", parent), ("tracestate", b"v=1"), ("baggage", b"a=1")]
    assert Envelope.read(headers).trace == (("baggage", b"a=1"),)


@pytest.mark.parametrize("name", ["tracestate", "baggage"])
@pytest.mark.parametrize("value", [b"a=\x00", b"a=1\r\nb=2", "a=é".encode(), b"a" * 8193])
def test_a_tracestate_or_baggage_that_could_break_a_header_is_not_carried_on(name: str, value: bytes) -> None:
    assert Envelope.read([("traceparent", TRACEPARENT), (name, value)]).trace == (("traceparent", TRACEPARENT),)


@given(id=TEXT, source=TEXT, type=TEXT, time=TIME, subject=TEXT)
def test_what_is_written_is_read_back(id: str, source: str, type: str, time: str, subject: str) -> None:
    headers = event_headers(id=id, source=source, type=type, time=time, subject=subject)
    assert Envelope.read(headers) == Envelope(id, source, type, time, subject)
    assert dict(headers)["ce_specversion"] == b"1.0"
    assert dict(headers)["content-type"] == b"application/json"


def test_a_consequence_names_its_cause_its_order_and_itself() -> None:
    assert dict(consequences().headers("platform", b"shop.platform.order.v1")) == {
        "ce_specversion": b"1.0",
        "ce_id": b"pay-1:order-platform",
        "ce_source": b"/shop",
        "ce_type": b"shop.platform.order.v1",
        "ce_time": b"2010-12-01T08:26:00Z",
        "ce_subject": b"7",
        "ce_correlationid": b"7",
        "ce_causationid": b"pay-1",
        "content-type": b"application/json",
        "traceparent": TRACEPARENT,
    }


def test_no_header_of_a_consequence_is_repeated() -> None:
    names = [name for name, _ in consequences().headers("platform", b"t")]
    assert len(names) == len(set(names))


def test_two_consequences_of_one_cause_do_not_share_a_list() -> None:
    written = consequences()
    first, second = written.headers("one", b"t"), written.headers("two", b"t")
    assert dict(first)["ce_id"] == b"pay-1:order-one"
    assert dict(second)["ce_id"] == b"pay-1:order-two"
    first.clear()
    assert dict(written.headers("one", b"t"))["ce_subject"] == b"7"


def test_a_cause_without_a_trace_gives_its_consequences_none() -> None:
    assert "traceparent" not in dict(consequences(Envelope()).headers("k", b"t"))
