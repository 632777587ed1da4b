"""Turns each paid order into what the rest of the shop must hear about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, Protocol

from models.analytics import SaleFact
from models.inventory import StockMovement
from models.notification import NotificationRequest
from models.payment import PaymentCompleted
from models.platform import PlatformOrder
from streams.app import app
from streams.delivery import Batch, Outbox, Record
from streams.envelope import Consequences
from streams.topics import (
    ANALYTICS_SALES,
    INVENTORY_MOVEMENTS,
    NOTIFICATION_REQUESTS,
    PAYMENT_COMPLETED,
    PLATFORM_ORDERS,
)

SOURCE: Final = b"/paystream/payments"


class _Output(Protocol):
    """A message that follows from a payment."""

    @classmethod
    def of(cls, payment: PaymentCompleted) -> _Output:
        """Build it."""

    def to_json(self) -> bytes:
        """Write it."""


_CONSEQUENCES: Final[tuple[tuple[str, str, bytes, type[_Output]], ...]] = (
    (PLATFORM_ORDERS, "platform", b"shop.platform.order.v1", PlatformOrder),
    (NOTIFICATION_REQUESTS, "notification", b"shop.notification.requested.v1", NotificationRequest),
    (INVENTORY_MOVEMENTS, "inventory", b"shop.inventory.moved.v1", StockMovement),
    (ANALYTICS_SALES, "analytics", b"shop.analytics.sale.v1", SaleFact),
)
"""What follows from a payment: topic, kind (part of its id), CloudEvents type, message."""


def fan_out(record: Record, out: Outbox) -> None:
    """Turn one payment into a platform record, a notification, a stock movement and a sale fact."""
    payment = record.parse(PaymentCompleted)
    event = Consequences(
        record.envelope,
        cause_id=record.envelope.id or payment.payment_id,
        order_id=payment.order_id,
        time=record.envelope.time or payment.paid_at.isoformat(),
        source=SOURCE,
    )
    key = payment.order_id.encode()
    for topic, kind, type_, output in _CONSEQUENCES:
        out.emit(topic, output.of(payment).to_json(), key=key, headers=event.headers(kind, type_))


@app.agent(app.batches(PAYMENT_COMPLETED), concurrency=app.settings.delivery.concurrency)
async def payments(stream: Any) -> AsyncIterator[Batch]:
    """Turn each paid order into platform, notification, inventory and analytics records."""
    async for batch in stream:
        yield await batch.handle(fan_out)
