"""Connecting a lane's producer, however long it takes to end what its former owner has left.

With transactions, connecting ends the former owner's open one, and that cannot end while a partition that it wrote to
has no leader. So it is waited for; only while all partitions have leaders do brokers have a deadline.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from aiokafka.client import AIOKafkaClient

from streams.delivery.guarantee import Finisher
from streams.delivery.status import Standing, State
from streams.kafka.leaders import unled_partitions

# Connecting takes milliseconds, and as long as a broker's election at worst.
_LOOK_SECONDS: Final = 5.0
_NAMED: Final = 3


async def open_finisher(finisher: Finisher, client: AIOKafkaClient, standing: Standing, deadline: float) -> None:
    """Connect.

    Arguments:
        finisher: a lane's.
        client: any that is connected: it is asked for partitions without a leader.
        standing: the lane's; says while it waits, and for what.
        deadline: how many seconds it may take while every partition has a leader.

    Raises:
        asyncio.TimeoutError: it took longer.
    """
    opening = asyncio.ensure_future(finisher.open())
    give_up = time.monotonic() + deadline
    try:
        while True:
            await asyncio.wait({opening}, timeout=min(_LOOK_SECONDS, deadline))
            if opening.done():
                opening.result()
                return
            if unled := await unled_partitions(client):
                names = ", ".join(f"{topic}-{partition}" for topic, partition in unled[:_NAMED])
                more = f" and {len(unled) - _NAMED} more" if len(unled) > _NAMED else ""
                standing.enter(
                    State.PAUSED, f"a transaction of before cannot end while partitions have no leader: {names}{more}"
                )
                give_up = time.monotonic() + deadline
            elif time.monotonic() >= give_up:
                raise asyncio.TimeoutError
    finally:
        if not opening.done():
            opening.cancel()
            await asyncio.wait({opening})
        standing.enter(State.STARTING)
