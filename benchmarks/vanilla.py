"""A plain Faust agent doing the same work with ``await topic.send``; it may lose payments."""

from __future__ import annotations

import logging
import os

import faust

from models.analytics import SaleFact
from models.inventory import StockMovement
from models.notification import NotificationRequest
from models.payment import PaymentCompleted
from models.platform import PlatformOrder
from streams.kafka.envelope import Consequences, Envelope

logging.getLogger("aiokafka").setLevel(logging.WARNING)

app = faust.App(
    os.environ["BENCHMARK_GROUP"],
    broker=f"kafka://{os.environ['BENCHMARK_BOOTSTRAP']}",
    store="memory://",
    web_enabled=False,
    topic_allow_declare=False,
    topic_disable_leader=True,
)


def raw(name: str) -> faust.TopicT:
    return app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")


payments = raw(os.environ["BENCHMARK_TOPIC"])
platform, notification = raw("platform.orders"), raw("notification.requests")
inventory, analytics = raw("inventory.movements"), raw("analytics.sales")


@app.agent(payments)
async def fan_out(stream):
    async for event in stream.events():
        payment = PaymentCompleted.__pydantic_validator__.validate_json(event.value)
        envelope = Envelope.read(event.message.headers)
        follow = Consequences(
            envelope,
            cause_id=envelope.id or payment.event_id,
            cause_kind=payment.platform_kind,
            order_id=payment.order_id,
            time=envelope.time or payment.occurred_at.isoformat(),
            source=b"/vanilla",
        )
        key = payment.order_id.encode()
        for topic, kind, value in (
            (platform, "platform", PlatformOrder.of(payment).to_json()),
            (notification, "notification", NotificationRequest.of(payment).to_json()),
            (inventory, "inventory", StockMovement.of(payment).to_json()),
            (analytics, "analytics", SaleFact.of(payment).to_json()),
        ):
            await topic.send(key=key, value=value, headers=follow.headers(kind, b"shop.v1"))
