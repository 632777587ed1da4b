"""How somebody tests an agent of their own: Faust's test_context, streams.testing, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import faust
import pytest

from streams.delivery import Batch, Outbox, Record, Skip, batches
from streams.delivery.outbox import BY_KEY, Tally
from streams.failure.errors import InvalidRecord, TransientError
from streams.testing import batch, record

APP = faust.App("test-own-agents", store="memory://", autodiscover=False)
# What the confirmations' mail server answers, in turn; it takes the mail when there is nothing left.
ANSWERS: list[Exception] = []


def confirm(record: Record, out: Outbox) -> None:
    out.emit("confirmations", record.value)
    out.emit("copies", record.value, key=b"archive")
    if ANSWERS:
        raise ANSWERS.pop(0)


@APP.agent(batches(APP, "orders"))
async def confirmations(stream: Any) -> AsyncIterator[Batch]:
    async for taken in stream:
        yield await taken.handle(confirm)


@APP.agent(batches(APP, "orders"))
async def careless(stream: Any) -> AsyncIterator[Batch]:
    async for taken in stream:
        raise ValueError(f"cannot take {taken!r}")
        yield taken


@pytest.fixture(autouse=True)
def _no_answers_left() -> None:
    ANSWERS.clear()


async def put(taken: Batch, *, times: int = 1) -> Batch:
    async with confirmations.test_context() as agent:
        for _ in range(times):
            await agent.put(taken)
    return taken


async def test_what_a_handler_emits_is_in_the_batchs_outputs() -> None:
    taken = await put(batch(record({"orderId": "7"}, key=b"7", partition=3)))
    assert [(output.topic, output.key, output.partition) for output in taken.outputs] == [
        ("confirmations", b"7", 3),
        ("copies", b"archive", BY_KEY),
    ]


async def test_a_handler_that_fails_after_emitting_leaves_nothing_but_the_dead_letter() -> None:
    ANSWERS.append(InvalidRecord("no such order"))
    taken = await put(batch(record(b"broken", topic="orders", key=b"7"), record(b"fine", topic="orders", offset=1)))
    assert [(output.topic, output.value) for output in taken.outputs] == [
        ("orders.DLT", b"broken"),
        ("confirmations", b"fine"),
        ("copies", b"fine"),
    ]
    assert dict(taken.outputs[0].headers)["x-error-reason"] == b"no such order"


async def test_a_handler_that_succeeds_at_the_second_attempt_has_emitted_once() -> None:
    ANSWERS.append(TransientError("the mail server is busy"))
    taken = await put(batch(record(b"7")))
    assert taken.outputs == []
    await put(taken)
    assert [output.topic for output in taken.outputs] == ["confirmations", "copies"]
    assert taken.tally == Tally(processed=1)


async def test_a_handler_that_never_succeeds_leaves_a_dead_letter_after_three_attempts() -> None:
    ANSWERS.extend([TransientError(), KeyError(), TransientError("still busy")])
    taken = await put(batch(record(b"7", topic="orders")), times=3)
    (letter,) = taken.outputs
    assert letter.topic == "orders.DLT"
    assert dict(letter.headers)["x-attempts"] == b"3"


async def test_a_skipped_record_leaves_nothing() -> None:
    ANSWERS.append(Skip("test order"))
    taken = await put(batch(record(b"7")))
    assert taken.outputs == []
    assert taken.tally.skipped == {"test order": 1}


async def test_an_agents_own_body_that_raises_fails_the_test() -> None:
    async with careless.test_context() as agent:
        with pytest.raises(ValueError, match="cannot take <Batch test-0@0"):
            await agent.put(batch(record(b"7")))
