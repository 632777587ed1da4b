from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.envelope import Consequences, Envelope, event_headers

TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CAUSE = Envelope(id="pay-1", trace=(("traceparent", TRACEPARENT),))
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def consequences(cause: Envelope = CAUSE) -> Consequences:
    return Consequences(cause, cause_id="pay-1", order_id="7", time="2010-12-01T08:26:00Z", source=b"/shop")


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


def test_bad_utf8_in_a_header_is_replaced_rather_than_raised() -> None:
    assert Envelope.read([("ce_id", b"pay-\xff")]).id == "pay-\ufffd"


def test_a_header_without_a_value_counts_as_missing() -> None:
    headers: list[tuple[str, bytes]] = [("ce_id", None), ("traceparent", None)]  # type: ignore[list-item]
    assert Envelope.read(headers) == Envelope()


def test_the_trace_context_is_kept_byte_for_byte() -> None:
    headers = [("baggage", b"a=1"), ("traceparent", b"\xff"), ("x-request-id", b"9"), ("tracestate", b"v=1")]
    assert Envelope.read(headers).trace == (
        ("traceparent", b"\xff"),
        ("tracestate", b"v=1"),
        ("baggage", b"a=1"),
    )


@given(id=TEXT, source=TEXT, type=TEXT, time=TEXT, subject=TEXT)
def test_what_is_written_is_read_back(id: str, source: str, type: str, time: str, subject: str) -> None:
    headers = event_headers(id=id, source=source, type=type, time=time, subject=subject)
    assert Envelope.read(headers) == Envelope(id, source, type, time, subject)
    assert dict(headers)["ce_specversion"] == b"1.0"
    assert dict(headers)["content-type"] == b"application/json"


def test_a_consequence_names_its_cause_its_order_and_itself() -> None:
    assert dict(consequences().headers("platform", b"shop.platform.order.v1")) == {
        "ce_specversion": b"1.0",
        "ce_id": b"pay-1:platform",
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
    assert dict(first)["ce_id"] == b"pay-1:one"
    assert dict(second)["ce_id"] == b"pay-1:two"
    first.clear()
    assert dict(written.headers("one", b"t"))["ce_subject"] == b"7"


def test_a_cause_without_a_trace_gives_its_consequences_none() -> None:
    assert "traceparent" not in dict(consequences(Envelope()).headers("k", b"t"))
