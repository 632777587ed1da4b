"""The cancellation event: what the shop writes when it takes goods back and gives the money back for them."""

from __future__ import annotations

import datetime

from models.order import OrderEvent
from models.wire import Identifier, Moment


class PaymentCancelled(OrderEvent):
    """Goods that come back and money that goes back, in part or in whole: quantities and amount are positive.

    ``order_id`` is the cancellation's own order, as shops that write credit notes number them.
    """

    platform_kind = "cancellation"
    sale_kind = "refund"
    template = "payment-cancelled"
    stock_sign = -1

    cancellation_id: Identifier
    payment_id: Identifier | None = None
    """The payment that it takes back; None where the shop does not know."""
    cancelled_at: Moment

    @property
    def event_id(self) -> str:
        """The cancellation's id."""
        return self.cancellation_id

    @property
    def occurred_at(self) -> datetime.datetime:
        """When it was cancelled."""
        return self.cancelled_at
