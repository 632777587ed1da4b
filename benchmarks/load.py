"""The payments that every program of the benchmark reads, and the topics they are in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

OUTPUTS = ("platform.orders", "notification.requests", "inventory.movements", "analytics.sales")

_PAYMENT = (
    b'{"paymentId": "pay-%d", "orderId": "%d", "customerId": "17850", "method": "CARD", "currency": "GBP", '
    b'"amount": "139.12", "paidAt": "2010-12-01T08:26:00Z", "country": "United Kingdom", '
    b'"lines": [{"sku": "85123A", "name": "WHITE HANGING HEART T-LIGHT HOLDER", "quantity": 6, '
    b'"unitPrice": "2.55"}, {"sku": "71053", "name": "WHITE METAL LANTERN", "quantity": 2, "unitPrice": "61.91"}]}'
)


Message = tuple[bytes, bytes, list[tuple[str, bytes]]]


def payment(number: int) -> Message:
    """Return key, value and headers of one payment of two lines, as the shop would write it."""
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"pay-%d" % number),
        ("ce_source", b"/shop/orders"),
        ("ce_type", b"shop.payment.completed.v1"),
        ("ce_time", b"2010-12-01T08:26:00Z"),
        ("content-type", b"application/json"),
    ]
    return b"%d" % number, _PAYMENT % (number, number), headers


async def make_topics(bootstrap: str, names: Sequence[str], partitions: int) -> None:
    """Make empty topics of these names, deleting what was there."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        old = [name for name in names if name in await admin.list_topics()]
        if old:
            await admin.delete_topics(old)
        deadline = time.monotonic() + 30
        while set(names) & set(await admin.list_topics()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the broker did not delete {names}")
            await asyncio.sleep(0.1)
        await admin.create_topics([NewTopic(name, partitions, 1) for name in names])
    finally:
        await admin.close()


async def preload(
    bootstrap: str, topic: str, partitions: int, count: int, make: Callable[[int], Message] = payment
) -> None:
    """Write `count` payments, or what `make` makes of a number, spread evenly over the partitions."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, max_batch_size=500_000)
    await producer.start()
    try:
        while len(await producer.partitions_for(topic)) != partitions:
            await producer.client.force_metadata_update()
        for partition in range(partitions):
            builder = producer.create_batch()
            for number in range(partition, count, partitions):
                key, value, headers = make(number)
                if builder.append(timestamp=None, key=key, value=value, headers=headers) is None:
                    await (await producer.send_batch(builder, topic, partition=partition))
                    builder = producer.create_batch()
                    builder.append(timestamp=None, key=key, value=value, headers=headers)
            await (await producer.send_batch(builder, topic, partition=partition))
    finally:
        await producer.stop()
