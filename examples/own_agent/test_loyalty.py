"""How to test an agent: no broker, no mocks. ``cd examples/own_agent && python -m pytest``."""
# ruff: noqa: D103

from __future__ import annotations

import asyncio

from loyalty import loyalty

from streams.delivery import Batch, Record
from streams.testing import batch, record

PAYMENT = {
    "paymentId": "pay-7",
    "orderId": "7",
    "customerId": "17850",
    "method": "CARD",
    "currency": "GBP",
    "amount": "15.30",
    "paidAt": "2010-12-01T08:26:00Z",
    "country": "United Kingdom",
    "lines": [{"sku": "85123A", "name": "T-LIGHT HOLDER", "quantity": 6, "unitPrice": "2.55"}],
}


def delivered(*records: Record) -> Batch:
    """Hand the agent a batch, and return it with what became of its records."""
    taken = batch(*records)

    async def run() -> None:
        async with loyalty.test_context() as agent:
            await agent.put(taken)

    asyncio.run(run())
    return taken


def test_a_payment_brings_a_point_for_every_whole_pound() -> None:
    (points,) = delivered(record(PAYMENT, key=b"7")).outputs
    assert (points.topic, points.key, points.value) == ("loyalty.points", b"7", b"17850 15")


def test_a_guest_is_counted_and_passed_over() -> None:
    taken = delivered(record({**PAYMENT, "customerId": None}))
    assert taken.outputs == []
    assert taken.tally.skipped == {"guest": 1}


def test_a_delete_marker_is_passed_over_too() -> None:
    assert delivered(record(None, key=b"7")).tally.skipped == {"tombstone": 1}


def test_what_is_no_payment_becomes_a_dead_letter_with_its_bytes_untouched() -> None:
    (letter,) = delivered(record(b"\xffnot a payment", topic="payment.completed")).outputs
    assert (letter.topic, letter.value) == ("payment.completed.DLT", b"\xffnot a payment")
