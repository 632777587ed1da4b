"""The payment event: what the shop writes when an order is paid."""

from __future__ import annotations

import datetime

from models.order import OrderEvent
from models.wire import Identifier, Moment


class PaymentCompleted(OrderEvent):
    """A completed payment of one order."""

    platform_kind = "order"
    sale_kind = "sale"
    template = "payment-completed"
    stock_sign = 1

    payment_id: Identifier
    method: Identifier
    paid_at: Moment

    @property
    def event_id(self) -> str:
        """The payment's id."""
        return self.payment_id

    @property
    def occurred_at(self) -> datetime.datetime:
        """When it was paid."""
        return self.paid_at
