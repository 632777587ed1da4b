"""The notification request: whom to tell what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from pydantic import ConfigDict, TypeAdapter

from models.money import Amount, Currency
from models.payment import PaymentCompleted
from models.wire import WIRE, Identifier, Moment

PAYMENT_COMPLETED: Final = "payment-completed"
"""The template that thanks for a payment."""


@dataclass(slots=True)
class NotificationRequest:
    """What the notification service needs to fill the template.

    Names, addresses and the language are the service's own: it looks up the customer's preferences.
    """

    __pydantic_config__: ClassVar[ConfigDict] = WIRE

    order_id: Identifier
    customer_id: Identifier | None
    """None for a guest, whom only the order itself can lead to."""
    template: Identifier
    currency: Currency
    amount: Amount
    paid_at: Moment
    country: Identifier

    @classmethod
    def of(cls, payment: PaymentCompleted) -> NotificationRequest:
        """Build the request that tells the customer of a payment."""
        return cls(
            order_id=payment.order_id,
            customer_id=payment.customer_id,
            template=PAYMENT_COMPLETED,
            currency=payment.currency,
            amount=payment.amount,
            paid_at=payment.paid_at,
            country=payment.country,
        )

    def to_json(self) -> bytes:
        """Write it as it goes on the wire."""
        return _SERIALIZER.to_json(self, by_alias=True)


_SERIALIZER = TypeAdapter(NotificationRequest).serializer
