"""Sending events, with every delivery confirmed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from streams.failure.errors import BrokerDeadlineExceeded, SetupError
from streams.invoices.event import CANCELLED, COMPLETED, EventKind, ShopEvent

# Enough to keep several batches of every partition under way, and to be confirmed within a second or so.
IN_FLIGHT = 2000

DESTINATIONS: Mapping[EventKind, str] = {kind: kind.topic for kind in (COMPLETED, CANCELLED)}
"""Each kind of event in its own topic."""


class Publisher:
    """Sends events to their topics and counts those that the brokers have confirmed.

    Arguments:
        producer: started, idempotent; stays the caller's to stop.
        topics: where each kind goes; they exist.
        deadline: seconds that may pass without any confirmation while some are awaited.
        rate: events per second; as fast as possible if None.
        on_confirmed: called with the count so far whenever it grows.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topics: Mapping[EventKind, str] = DESTINATIONS,
        *,
        deadline: float,
        rate: float | None = None,
        on_confirmed: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.confirmed = 0
        self._producer = producer
        self._topics = topics
        self._deadline = deadline
        self._rate = rate
        self._on_confirmed = on_confirmed
        self._under_way: set[asyncio.Future[object]] = set()
        self._failure: BaseException | None = None
        self._heard = 0.0
        """When the last confirmation came, or the waiting for one began."""

    async def publish(self, events: Iterable[ShopEvent]) -> None:
        """Send the events in their order and return when all are confirmed.

        Raises:
            BrokerDeadlineExceeded: no confirmation came for too long.
            SetupError: the brokers refused an event.
        """
        started = asyncio.get_running_loop().time()
        try:
            for index, event in enumerate(events):
                if self._rate is not None:
                    await self._until(started + index / self._rate)
                await self._send(event)
                if len(self._under_way) >= IN_FLIGHT:
                    await self._settle()
            await self._settle()
        except KafkaTimeoutError:
            raise self._too_late() from None
        except KafkaError as error:
            raise SetupError(
                f"the brokers refused an event for {self._named()}: {type(error).__name__}; {self._so_far()}"
            ) from None

    async def _until(self, moment: float) -> None:
        pause = moment - asyncio.get_running_loop().time()
        if pause > 0:
            await asyncio.sleep(pause)

    async def _send(self, event: ShopEvent) -> None:
        self._check()
        topic = self._topics[event.kind]
        future = await self._producer.send(topic, event.value, key=event.key, headers=list(event.headers))
        if not self._under_way:
            self._heard = time.monotonic()
        self._under_way.add(future)
        future.add_done_callback(self._landed)

    def _landed(self, future: asyncio.Future[object]) -> None:
        self._under_way.discard(future)
        if future.cancelled():
            return
        error = future.exception()
        if error is not None:
            self._failure = self._failure or error
            return
        self.confirmed += 1
        self._heard = time.monotonic()
        self._on_confirmed(self.confirmed)

    async def _settle(self) -> None:
        while self._under_way:
            left = self._heard + self._deadline - time.monotonic()
            await asyncio.wait(self._under_way, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            self._check()
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        # An idempotent producer never gives a batch up by itself, so the deadline has to be ours.
        if self._under_way and time.monotonic() - self._heard >= self._deadline:
            raise self._too_late()

    def _too_late(self) -> BrokerDeadlineExceeded:
        return BrokerDeadlineExceeded(f"the brokers do not confirm events for {self._named()}; {self._so_far()}")

    def _named(self) -> str:
        return " or ".join(self._topics.values())

    def _so_far(self) -> str:
        return f"{self.confirmed} events are confirmed, others may be stored. Publish again: a repeat has the same ids"
