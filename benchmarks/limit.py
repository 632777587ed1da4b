"""The limit in Python: a plain aiokafka loop, one transaction a poll, the same work for each payment.

No agents, no retry, no dead letters, no savepoints, one lane for all partitions: what is left is what
any program must do. Run with bootstrap address, group and input topic as arguments.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections import defaultdict

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from models.analytics import SaleFact
from models.inventory import StockMovement
from models.notification import NotificationRequest
from models.payment import PaymentCompleted
from models.platform import PlatformOrder
from streams.kafka.envelope import Consequences, Envelope

Outputs = dict[tuple[str, int], list[tuple[bytes, bytes, list[tuple[str, bytes]]]]]


def transform(message, outputs: Outputs) -> None:
    """The work itself, exactly as agents/payments.py does it."""
    payment = PaymentCompleted.__pydantic_validator__.validate_json(message.value)
    envelope = Envelope.read(message.headers)
    event = Consequences(
        envelope,
        cause_id=envelope.id or payment.event_id,
        cause_kind=payment.platform_kind,
        order_id=payment.order_id,
        time=envelope.time or payment.occurred_at.isoformat(),
        source=b"/limit",
    )
    key = payment.order_id.encode()
    partition = message.partition
    outputs["platform.orders", partition].append(
        (key, PlatformOrder.of(payment).to_json(), event.headers("platform", b"shop.platform.order.v1"))
    )
    outputs["notification.requests", partition].append(
        (
            key,
            NotificationRequest.of(payment).to_json(),
            event.headers("notification", b"shop.notification.requested.v1"),
        )
    )
    outputs["inventory.movements", partition].append(
        (key, StockMovement.of(payment).to_json(), event.headers("inventory", b"shop.inventory.moved.v1"))
    )
    outputs["analytics.sales", partition].append(
        (key, SaleFact.of(payment).to_json(), event.headers("analytics", b"shop.analytics.sale.v1"))
    )


async def write(producer: AIOKafkaProducer, outputs: Outputs) -> None:
    deliveries = []
    for (topic, partition), records in outputs.items():
        builder = producer.create_batch()
        for key, value, headers in records:
            if builder.append(timestamp=None, key=key, value=value, headers=headers) is None:
                deliveries.append(await producer.send_batch(builder, topic, partition=partition))
                builder = producer.create_batch()
                builder.append(timestamp=None, key=key, value=value, headers=headers)
        deliveries.append(await producer.send_batch(builder, topic, partition=partition))
    await asyncio.gather(*deliveries)


async def main(bootstrap: str, group: str, topic: str) -> None:
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4_194_304,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, transactional_id=f"{group}-limit", max_batch_size=1_000_000
    )
    await consumer.start()
    await producer.start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000)  # as the worker does
    while True:
        fetched = await consumer.getmany(timeout_ms=1000, max_records=8000)
        if not fetched:
            continue
        outputs: Outputs = defaultdict(list)
        for messages in fetched.values():
            for message in messages:
                transform(message, outputs)
        async with producer.transaction():
            await write(producer, outputs)
            offsets = {source: messages[-1].offset + 1 for source, messages in fetched.items()}
            await producer.send_offsets_to_transaction(offsets, group)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
