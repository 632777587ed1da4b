from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agents.cancellations import cancellations
from agents.payments import payments
from streams.dead_letters.reading import read_dead_letter
from streams.delivery import Batch, Record
from streams.testing import record

Deliver = Callable[..., Awaitable[Batch]]

CANCELLATION: dict[str, Any] = {
    "cancellationId": "can-C1", "orderId": "C1", "paymentId": None, "customerId": "17850", "currency": "GBP",
    "amount": "10.20", "cancelledAt": "2010-12-01T09:41:00Z", "country": "Eire",
    "lines": [{"sku": "HEART", "name": "A heart", "quantity": 4, "unitPrice": "2.55"}],
}  # fmt: skip
ENVELOPE = [
    ("ce_id", b"evt-9"),
    ("ce_time", b"2010-12-01T09:41:03Z"),
    ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
]


def cancellation(value: bytes | dict[str, Any] | None = CANCELLATION, **where: Any) -> Record:
    return record(value, **{"topic": "payment.cancelled", "key": b"C1", **where})


async def test_a_cancellation_takes_its_order_back_everywhere(deliver: Deliver) -> None:
    taken = await deliver(cancellations, cancellation())
    outputs = {output.topic: json.loads(output.value or b"") for output in taken.outputs}
    platform, notification = outputs.pop("platform.orders"), outputs.pop("notification.requests")
    movement, fact = outputs.pop("inventory.movements"), outputs.pop("analytics.sales")
    assert outputs == {}
    assert (platform["kind"], platform["amount"], platform["method"]) == ("cancellation", "10.20", None)
    assert (notification["template"], notification["customerId"]) == ("payment-cancelled", "17850")
    assert movement["lines"] == [{"sku": "HEART", "quantity": -4}]
    assert (fact["kind"], fact["revenue"], fact["units"]) == ("refund", "10.20", 4)
    ids = {dict(output.headers)["ce_id"].decode() for output in taken.outputs}
    assert ids == {f"can-C1:cancellation-{kind}" for kind in ("platform", "notification", "inventory", "analytics")}


async def test_what_follows_names_the_cancellation_for_its_cause_and_its_order_for_a_key(deliver: Deliver) -> None:
    taken = await deliver(cancellations, cancellation(headers=ENVELOPE, partition=3))
    for output in taken.outputs:
        headers = dict(output.headers)
        assert (output.key, output.partition) == (b"C1", 3)
        assert headers["ce_id"].startswith(b"evt-9:")
        assert headers["ce_causationid"] == b"evt-9"
        assert headers["ce_correlationid"] == headers["ce_subject"] == b"C1"
        assert headers["ce_source"] == b"/paystream/cancellations"
        assert headers["ce_time"] == b"2010-12-01T09:41:03Z"
        assert headers["traceparent"] == b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_a_sender_without_envelopes_is_understood_and_the_cancellations_own_time_counts(deliver: Deliver) -> None:
    taken = await deliver(cancellations, cancellation())
    assert {dict(output.headers)["ce_time"] for output in taken.outputs} == {b"2010-12-01T09:41:00+00:00"}


async def test_the_figures_are_known_by_the_cancellation_whatever_envelope_it_comes_in(deliver: Deliver) -> None:
    bare, dressed = [await deliver(cancellations, cancellation(headers=headers)) for headers in ([], ENVELOPE)]
    assert [output.value for output in bare.outputs] == [output.value for output in dressed.outputs]


async def test_a_cancellation_delivered_twice_gives_the_same_records_twice(deliver: Deliver) -> None:
    once, again = [await deliver(cancellations, cancellation(headers=ENVELOPE, offset=7)) for _ in range(2)]
    assert once.outputs == again.outputs


def test_it_reads_its_own_topic_alone() -> None:
    assert (cancellations.channel.topics, payments.channel.topics) == (("payment.cancelled",), ("payment.completed",))


WRONG: dict[str, dict[str, Any]] = {
    "a sum that is none": {"amount": "10.21"},
    "no lines": {"lines": []},
    "no id": {"cancellationId": ""},
    "an amount below zero": {"amount": "-10.20"},
    "pieces below zero": {"lines": [{**CANCELLATION["lines"][0], "quantity": -4}]},
    "nothing given back": {"amount": "0", "lines": [{**CANCELLATION["lines"][0], "unitPrice": "0"}]},
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_cancellation_that_contradicts_itself_is_a_dead_letter_of_its_own_topic(
    deliver: Deliver, name: str
) -> None:
    wrong = cancellation({**CANCELLATION, **WRONG[name]})
    taken = await deliver(cancellations, wrong)
    (letter,) = taken.outputs
    assert (letter.topic, letter.key, letter.value) == ("payment.cancelled.DLT", b"C1", wrong.value)
    assert dict(taken.tally.dead_letters) == {"validate": 1}


@pytest.mark.parametrize("value", [b"\xff", b"{", b""])
async def test_what_is_no_json_is_a_dead_letter_of_the_cancellations_group(deliver: Deliver, value: bytes) -> None:
    taken = await deliver(cancellations, cancellation(value))
    (letter,) = taken.outputs
    assert (letter.topic, letter.value) == ("payment.cancelled.DLT", value)
    hop = read_dead_letter(letter.headers).last_hop
    assert hop is not None
    assert hop.consumer_group == "paystream.cancellations"
    assert dict(taken.tally.dead_letters) == {"decode": 1}


async def test_a_payment_among_cancellations_takes_nothing_back(deliver: Deliver) -> None:
    payment = {**CANCELLATION, "paymentId": "pay-1", "method": "CARD", "paidAt": CANCELLATION["cancelledAt"]}
    del payment["cancellationId"], payment["cancelledAt"]
    taken = await deliver(cancellations, cancellation(payment))
    assert [output.topic for output in taken.outputs] == ["payment.cancelled.DLT"]
