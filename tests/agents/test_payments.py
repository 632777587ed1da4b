from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from secrets import token_urlsafe
from typing import Any

import pytest

from agents.payments import payments
from streams.delivery import Batch, Output, Record
from streams.delivery.outbox import Tally
from streams.testing import record

Deliver = Callable[..., Awaitable[Batch]]

TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ENVELOPE = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"evt-1"),
    ("ce_source", b"/shop/checkout"),
    ("ce_type", b"shop.payment.completed.v1"),
    ("ce_time", b"2010-12-01T08:26:03Z"),
    ("ce_subject", b"536365"),
]
CONSEQUENCES = {
    "platform.orders": ("platform", b"shop.platform.order.v1"),
    "notification.requests": ("notification", b"shop.notification.requested.v1"),
    "inventory.movements": ("inventory", b"shop.inventory.moved.v1"),
    "analytics.sales": ("analytics", b"shop.analytics.sale.v1"),
}


def event(**changes: Any) -> dict[str, Any]:
    """A valid payment; a change to None takes the field away."""
    lines = [
        {"sku": "85123A", "name": "WHITE HANGING HEART", "quantity": 6, "unitPrice": "2.55"},
        {"sku": "71053", "name": "WHITE METAL LANTERN", "quantity": 2, "unitPrice": "3.39"},
    ]
    whole = {
        "paymentId": "pay-536365",
        "orderId": "536365",
        "customerId": "17850",
        "method": "CARD",
        "currency": "GBP",
        "amount": "22.08",
        "paidAt": "2010-12-01T08:26:00Z",
        "country": "United Kingdom",
        "lines": lines,
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


def line(**changes: Any) -> dict[str, Any]:
    return {"sku": "85123A", "name": "HEART", "quantity": 6, "unitPrice": "2.55", **changes}


def payment(value: Any = None, **where: Any) -> Record:
    where = {"topic": "payment.completed", "key": b"536365", "partition": 2, "headers": ENVELOPE, **where}
    return record(event() if value is None else value, **where)


def content(output: Output) -> dict[str, Any]:
    assert output.value is not None
    loaded: dict[str, Any] = json.loads(output.value)
    return loaded


def headers_of(taken: Batch) -> dict[str, dict[str, bytes]]:
    return {output.topic: dict(output.headers) for output in taken.outputs}


# -- what becomes of a payment -----------------------------------------------------------------------


async def test_a_payment_becomes_one_record_on_each_of_the_four_topics(deliver: Deliver) -> None:
    taken = await deliver(payments, payment())
    assert [output.topic for output in taken.outputs] == list(CONSEQUENCES)
    assert taken.tally == Tally(processed=1)


async def test_each_downstream_team_gets_what_it_needs(deliver: Deliver) -> None:
    taken = await deliver(payments, payment())
    platform, notification, inventory, analytics = map(content, taken.outputs)
    assert platform["orderId"] == "536365"
    assert platform["amount"] == "22.08"
    assert [line["total"] for line in platform["lines"]] == ["15.30", "6.78"]
    assert notification["customerId"] == "17850"
    assert notification["template"] == "payment-completed"
    assert inventory["movementId"] == "pay-536365:order-inventory"
    assert inventory["lines"] == [{"sku": "85123A", "quantity": 6}, {"sku": "71053", "quantity": 2}]
    assert analytics["revenue"] == "22.08"
    assert analytics["units"] == 8
    assert "17850" not in json.dumps(analytics)


@pytest.mark.parametrize("partition", [0, 3])
async def test_every_output_has_the_order_for_a_key_and_its_payments_partition(
    deliver: Deliver, partition: int
) -> None:
    taken = await deliver(payments, payment(partition=partition))
    assert {(output.key, output.partition) for output in taken.outputs} == {(b"536365", partition)}


async def test_the_envelope_names_the_cause_the_order_and_the_kind(deliver: Deliver) -> None:
    for topic, headers in headers_of(await deliver(payments, payment())).items():
        kind, type_ = CONSEQUENCES[topic]
        assert headers == {
            "ce_specversion": b"1.0",
            "ce_id": f"evt-1:order-{kind}".encode(),
            "ce_source": b"/paystream/payments",
            "ce_type": type_,
            "ce_time": b"2010-12-01T08:26:03Z",
            "ce_subject": b"536365",
            "ce_correlationid": b"536365",
            "ce_causationid": b"evt-1",
            "content-type": b"application/json",
        }


async def test_a_payment_delivered_twice_gives_the_same_records_twice(deliver: Deliver) -> None:
    once = await deliver(payments, payment(offset=7))
    again = await deliver(payments, payment(offset=7))
    assert once.outputs == again.outputs


async def test_the_trace_goes_on_in_every_output(deliver: Deliver) -> None:
    trace = [("traceparent", TRACEPARENT), ("tracestate", b"shop=1"), ("baggage", b"tier=gold")]
    taken = await deliver(payments, payment(headers=[*ENVELOPE, *trace]))
    for headers in headers_of(taken).values():
        assert {name: headers[name] for name, _ in trace} == dict(trace)


@pytest.mark.parametrize(
    "headers", [[], [("__TypeId__", b"com.shop.PaymentCompleted"), ("spring_json_header_types", b"{}")]]
)
async def test_a_plain_spring_producer_is_understood_and_its_payment_id_takes_the_events_place(
    deliver: Deliver, headers: list[tuple[str, bytes]]
) -> None:
    for topic, written in headers_of(await deliver(payments, payment(headers=headers))).items():
        assert written["ce_id"] == f"pay-536365:order-{CONSEQUENCES[topic][0]}".encode()
        assert written["ce_causationid"] == b"pay-536365"
        assert written["ce_time"] == b"2010-12-01T08:26:00+00:00"
        assert "__TypeId__" not in written


# -- unusual, and still a payment --------------------------------------------------------------------

LONG = [line(sku=f"S{number}", name="N" * 1000) for number in range(870)]

FINE: dict[str, Callable[[], Record]] = {
    "unknown fields": lambda: payment(event(loyalty={"points": 12}, lines=[line(gift=True)], amount="15.30")),
    "a guest": lambda: payment(event(customerId=None)),
    "a gift among the lines": lambda: payment(event(lines=[line(), line(sku="GIFT", unitPrice="0")], amount="15.30")),
    "duplicate headers": lambda: payment(
        headers=[("ce_id", b"older"), *ENVELOPE, ("ce_source", b"/other"), ("x", b"1"), ("x", b"2")]
    ),
    "headers with invalid UTF-8": lambda: payment(headers=[*ENVELOPE, ("x-\xff", b"\xff"), ("ce_time", b"\xfe")]),
    "a null header": lambda: payment(headers=[*ENVELOPE, ("x-null", None), ("traceparent", None)]),
    "no key": lambda: payment(key=None),
    "a key that is no text": lambda: payment(key=b"\xff\x00"),
    "no timestamp": lambda: payment(timestamp=-1),
    "900 KB": lambda: payment(event(lines=LONG, amount="13311.00")),
}


@pytest.mark.parametrize("name", FINE)
async def test_what_is_unusual_is_processed_like_any_other(deliver: Deliver, name: str) -> None:
    taken = await deliver(payments, FINE[name]())
    assert taken.tally == Tally(processed=1)
    assert [output.topic for output in taken.outputs] == list(CONSEQUENCES)
    assert {output.key for output in taken.outputs} == {b"536365"}
    assert headers_of(taken)["platform.orders"]["ce_id"] == b"evt-1:order-platform"
    assert all(len(content(output)) > 3 for output in taken.outputs)


def test_the_large_event_is_as_large_as_it_says() -> None:
    value = FINE["900 KB"]().value
    assert value is not None
    assert 900_000 <= len(value) <= 1_000_000


@pytest.mark.parametrize(
    ("header", "value", "written"),
    [
        ("ce_id", b"evt-\xff", {"ce_id": b"pay-536365:order-platform", "ce_causationid": b"pay-536365"}),
        ("ce_id", b"", {"ce_id": b"pay-536365:order-platform"}),
        ("ce_id", b"evt\n1", {"ce_id": b"pay-536365:order-platform"}),
        ("ce_time", b"yesterday", {"ce_time": b"2010-12-01T08:26:00+00:00"}),
        ("ce_time", b"2010-12-01 08:26:03", {"ce_time": b"2010-12-01T08:26:00+00:00"}),
        ("traceparent", b"\xff", {"traceparent": None}),
    ],
)
async def test_a_header_that_is_not_what_it_should_be_is_copied_nowhere_and_the_events_own_counts(
    deliver: Deliver, header: str, value: bytes, written: dict[str, bytes | None]
) -> None:
    taken = await deliver(payments, payment(headers=[(header, value)]))
    headers = headers_of(taken)["platform.orders"]
    assert {name: headers.get(name) for name in written} == written


# -- what is no payment ------------------------------------------------------------------------------

SECRET = "4111-1111-1111-1111"
NESTED = b'{"orderId":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
BURIED = json.dumps(event()).encode()[:-1] + b',"extra":' + b"[" * 10_000 + b"]" * 10_000 + b"}"

BROKEN: dict[str, tuple[Any, str, str]] = {
    "invalid UTF-8": (json.dumps(event()).encode().replace(b"HEART", b"\xc9"), "decode", "not UTF-8"),
    "invalid UTF-8 in a field nobody reads": (
        json.dumps(event()).encode()[:-1] + b',"extra":"\xff"}', "decode", "not UTF-8",
    ),
    "another encoding": (json.dumps(event()).encode("utf-16"), "decode", "the value is in UTF-16"),
    "invalid JSON": (b'{"paymentId": pay-1}', "decode", "Invalid JSON: expected value at line 1 column 15"),
    "half of an event": (json.dumps(event()).encode()[:50], "decode", "Invalid JSON: EOF"),
    "JSON that is not an object": (b'["' + SECRET.encode() + b'"]', "validate", "should be an object"),
    "JSON null": (b"null", "validate", "should be an object"),
    "an empty value": (b"", "decode", "the value is empty"),
    "an event without its data": (..., "decode", "by its ce_ headers this is an event, and its data is missing"),
    "half of a character": (json.dumps(event(method="\ud83d")).encode(), "decode", "half of a character"),
    "a structured CloudEvent": (
        {"specversion": "1.0", "id": "1", "data": event()}, "decode", "this is a structured CloudEvent",
    ),
    "a missing field": (event(orderId=None), "validate", "orderId: Field required"),
    "a missing field of a line": (
        event(lines=[{"sku": "1", "name": "", "quantity": 1}]), "validate", "lines.0.unitPrice: Field required",
    ),
    "a wrong type": (event(lines="none"), "validate", "lines: Input should be a valid array"),
    "an amount that is a number": (event(amount=22.08), "validate", "amount: must be text"),
    "a time without its offset": (event(paidAt="2010-12-01T08:26:00"), "validate", "paidAt: must be a date"),
    "an unknown time": (event(paidAt=SECRET), "validate", "paidAt: must be a date"),
    "a negative quantity": (
        event(lines=[line(quantity=-6)]), "validate", "lines.0.quantity: Input should be greater than 0",
    ),
    "a negative price": (
        event(lines=[line(), line(unitPrice="-2.55")]), "validate", "lines.1.unitPrice: must not be negative",
    ),
    "an amount of zero": (event(amount="0.00"), "validate", "amount must be greater than 0"),
    "nothing but gifts": (
        event(amount="0", lines=[line(unitPrice="0")]), "validate", "amount must be greater than 0",
    ),
    "no lines": (event(lines=[]), "validate", "there must be at least one line"),
    "an unknown currency": (event(currency="XYZ"), "validate", "currency: unknown currency: expected an ISO 4217"),
    "an amount that is not the sum of the lines": (
        event(amount="22.17"), "validate", "amount is not the sum of the lines",
    ),
    "a fraction of a penny": (event(amount="22.085"), "validate", "more fraction digits than its currency"),
    "nested 10,000 deep": (NESTED, "decode", "recursion limit exceeded"),
    "nested 10,000 deep in a field nobody reads": (BURIED, "decode", "recursion limit exceeded"),
    "a wrong field with a secret in it": (event(method={"card": SECRET}), "validate", "method: must be text"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_payment_is_a_dead_letter_with_the_original_bytes_and_a_reason(
    deliver: Deliver, name: str
) -> None:
    value, stage, reason = BROKEN[name]
    headers = [*ENVELOPE, ("traceparent", TRACEPARENT), ("x-own", b"\xff"), ("x-own", b"again")]
    broken = payment(value, headers=headers, offset=41) if value is not ... else _without_data(headers)
    taken = await deliver(payments, broken)
    (letter,) = taken.outputs
    assert letter.topic == "payment.completed.DLT"
    assert letter.partition == 2
    assert letter.key is broken.key
    assert letter.value is broken.value
    assert list(letter.headers)[: len(headers)] == headers
    said = dict(letter.headers)
    assert reason in said["x-error-reason"].decode()
    assert said["x-error-stage"].decode() == stage
    assert said["x-disposition"] == b"permanent"
    assert said["x-attempts"] == b"1"
    assert said["kafka_dlt-original-topic"] == b"payment.completed"
    assert said["kafka_dlt-original-offset"] == (41).to_bytes(8, "big")
    assert said["kafka_dlt-original-consumer-group"] == b"paystream.payments"
    assert taken.tally.dead_letters == {stage: 1}
    added = b"".join(value for _, value in list(letter.headers)[len(headers) :])
    assert SECRET.encode() not in added
    assert b"17850" not in added


def _without_data(headers: list[tuple[str, bytes]]) -> Record:
    made = payment(b"", headers=headers, offset=41)
    made.value = None
    return made


async def test_a_delete_marker_is_passed_over_and_counted(deliver: Deliver) -> None:
    marker = _without_data([])
    taken = await deliver(payments, marker)
    assert taken.outputs == []
    assert taken.tally.skipped == {"tombstone": 1}


async def test_a_payment_behind_a_byte_order_mark_is_like_any_other(deliver: Deliver) -> None:
    plain = payment(headers=ENVELOPE)
    marked = payment(b"\xef\xbb\xbf" + (plain.value or b""), headers=ENVELOPE)
    one, other = (await deliver(payments, plain)).outputs, (await deliver(payments, marked)).outputs
    assert one == other


async def test_a_dead_letter_behind_a_byte_order_mark_keeps_it(deliver: Deliver) -> None:
    (letter,) = (await deliver(payments, payment(b"\xef\xbb\xbf{}"))).outputs
    assert letter.value == b"\xef\xbb\xbf{}"


async def test_a_dead_letter_without_a_key_stays_without_one(deliver: Deliver) -> None:
    (letter,) = (await deliver(payments, payment(b"{", key=None))).outputs
    assert letter.key is None


async def test_a_broken_payment_does_not_touch_its_neighbours(deliver: Deliver) -> None:
    mixed = [payment(b"{" if offset % 3 == 1 else None, offset=offset) for offset in range(7)]
    taken = await deliver(payments, *mixed)
    assert taken.tally.processed == 5
    assert taken.tally.dead_letters == {"decode": 2}
    topics = [output.topic for output in taken.outputs]
    one, letter = list(CONSEQUENCES), ["payment.completed.DLT"]
    assert topics == one + letter + one + one + letter + one + one


async def test_a_payment_whose_platform_record_no_broker_takes_leaves_nothing_but_its_dead_letter(
    deliver: Deliver,
) -> None:
    # Of random characters: what can be compressed would be.
    lines = [line(sku=token_urlsafe(90), name=token_urlsafe(190)) for _ in range(10_000)]
    value = json.dumps(event(lines=lines, amount="153000.00"), ensure_ascii=False).encode()
    (letter,) = (await deliver(payments, payment(value))).outputs
    assert letter.topic == "payment.completed.DLT"
    assert dict(letter.headers)["x-error-stage"] == b"publish"
    assert b"PAYSTREAM_TOPICS__MAX_MESSAGE_BYTES" in dict(letter.headers)["x-error-reason"]
