"""The same call for the shop, with paystream behind it: publish to Kafka, and wait until the brokers have it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from examples.in_process_events.events import OrderPaid
from streams.invoices.event import COMPLETED, shop_event
from streams.kafka.clients import make_producer
from streams.settings import KafkaSettings
from streams.topics import PAYMENT_COMPLETED


class KafkaPublisher:
    """Publishes to ``payment.completed``; takes the place of the in-process publisher.

    Arguments:
        servers: bootstrap address.
    """

    def __init__(self, servers: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._run(self._open(servers))

    async def _open(self, servers: str) -> None:
        self._producer = make_producer(KafkaSettings(bootstrap_servers=servers))
        await self._producer.start()
        # A shop that is open for a while knows its topics.
        await self._producer.partitions_for(PAYMENT_COMPLETED)

    def publish(self, event: OrderPaid) -> None:
        """Return when all replicas in sync have the event.

        Raises:
            aiokafka.errors.KafkaError: they do not.
        """
        payment = event.payment
        sent = shop_event(
            COMPLETED, event.body, order_id=payment.order_id, id=payment.payment_id, time=payment.paid_at.isoformat()
        )
        self._run(self._producer.send_and_wait(PAYMENT_COMPLETED, sent.value, key=sent.key, headers=list(sent.headers)))

    def close(self) -> None:
        """Disconnect."""
        self._run(self._producer.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
