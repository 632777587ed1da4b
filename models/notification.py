"""The notification request: whom to tell what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from pydantic import ConfigDict, TypeAdapter

from models.money import Amount, Currency
from models.order import OrderEvent
from models.wire import WIRE, ConsequenceId, Identifier, Moment


@dataclass(slots=True)
class NotificationRequest:
    """What the notification service needs to fill the template.

    Names, addresses and the language are the service's own: it looks up the customer's preferences.
    """

    __pydantic_config__: ClassVar[ConfigDict] = WIRE

    request_id: ConsequenceId
    """``<event id>:notification``: equal for a repeat, so that nobody is told twice."""
    order_id: Identifier
    customer_id: Identifier | None
    """None for a guest, whom only the order itself can lead to."""
    template: Identifier
    currency: Currency
    amount: Amount
    occurred_at: Moment
    country: Identifier

    @classmethod
    def of(cls, event: OrderEvent) -> NotificationRequest:
        """Build the request that tells the customer of an event."""
        return cls(
            request_id=f"{event.event_id}:notification",
            order_id=event.order_id,
            customer_id=event.customer_id,
            template=event.template,
            currency=event.currency,
            amount=event.amount,
            occurred_at=event.occurred_at,
            country=event.country,
        )

    def to_json(self) -> bytes:
        """Write it as it goes on the wire."""
        return _SERIALIZER.to_json(self, by_alias=True)


ADAPTER: Final = TypeAdapter(NotificationRequest)
"""Reads it from the wire."""
_SERIALIZER: Final = ADAPTER.serializer
