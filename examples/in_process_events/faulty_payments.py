"""paystream's own payments agent, with the shop's faults put before its handler.

For a worker with ``PAYSTREAM_AGENTS=agents.payments,examples.in_process_events.faulty_payments``. The agent, its policy
and its delivery stay what they are in production: only what it calls for each record fails as it is told to.
"""

from __future__ import annotations

import asyncio

from agents import payments
from examples.in_process_events.faults import Faults, Refused
from streams.delivery import Outbox, Record
from streams.failure.errors import PermanentError

_faults = Faults.read()
_on_payment = payments.on_payment


async def on_payment(record: Record, out: Outbox) -> None:
    """Do what the agent does, where the mail server lets it."""
    await asyncio.sleep(_faults.delay)
    _on_payment(record, out)
    try:
        # After the outputs, which therefore have to be taken back. Busy stays what it is: an exception
        # that the policy does not know is tried again.
        _faults.check((record.key or b"").decode())
    except Refused as error:
        raise PermanentError(str(error)) from error


payments.on_payment = on_payment  # type: ignore[assignment]  # a handler may be a coroutine function
