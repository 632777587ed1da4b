"""A null value under a key is Kafka's delete marker: no agent takes it for an event, and none halts for it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import pytest
from faust.types import AgentT

from agents.analytics import analytics
from agents.cancellations import cancellations
from agents.dead_letters import dead_letters
from agents.inventory import inventory
from agents.notifications import notifications
from agents.payments import payments
from agents.platform import platform
from streams.app import app
from streams.delivery import Batch
from streams.delivery.outbox import Tally
from streams.testing import record

Deliver = Callable[..., Awaitable[Batch]]
# More in a row than there may be dead letters.
MANY = app.settings.failure.max_consecutive_dead_letters + 50


@pytest.mark.parametrize(
    "agent",
    [payments, cancellations, platform, notifications, inventory, analytics],
    ids=lambda agent: agent.name.rpartition(".")[2],
)
async def test_delete_markers_in_an_event_topic_are_passed_over_and_counted(
    deliver: Deliver, agent: AgentT[Batch]
) -> None:
    taken = await deliver(agent, *(record(None, key=b"7", offset=offset) for offset in range(MANY)))
    assert (taken.outputs, taken.effects) == ([], [])
    assert taken.tally == Tally(skipped=taken.tally.skipped)
    assert taken.tally.skipped == {"tombstone": MANY}


async def test_a_dead_letter_whose_value_is_null_stays_a_letter(
    deliver: Deliver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lost = record(None, topic="payment.completed", headers=[("ce_id", b"pay-7")], offset=41)
    (letter,) = (await deliver(payments, lost)).outputs
    found = record(letter.value, topic=letter.topic, key=letter.key, headers=letter.headers)
    taken = await deliver(dead_letters, found)
    assert taken.tally == Tally(processed=1)
    assert "payment.completed-0@41" in caplog.text
    assert "the value is null" in caplog.text
