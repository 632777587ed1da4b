"""The notification request: whom to tell what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from pydantic import ConfigDict, TypeAdapter

from models.identity import FORMER_REFUND, FORMER_SALE, completed, consequence_id, digest_of, exactly, former_id, moment
from models.money import Amount, Currency
from models.order import OrderEvent
from models.wire import WIRE, ConsequenceId, Identifier, Moment

OUTPUT: Final = "notification"
"""The end of its ids."""
_FORMER_TEMPLATES: Final = {"payment-completed": FORMER_SALE, "payment-cancelled": FORMER_REFUND}


@dataclass(slots=True)
class NotificationRequest:
    """What the notification service needs to fill the template.

    Names, addresses and the language are the service's own: it looks up the customer's preferences.
    """

    __pydantic_config__: ClassVar[ConfigDict] = WIRE

    request_id: ConsequenceId
    """``<event id>:<kind of event>-notification``: equal for a repeat, so that nobody is told twice."""
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
            request_id=consequence_id(event.event_id, event.platform_kind, OUTPUT),
            order_id=event.order_id,
            customer_id=event.customer_id,
            template=event.template,
            currency=event.currency,
            amount=event.amount,
            occurred_at=event.occurred_at,
            country=event.country,
        )

    @property
    def identity(self) -> str:
        """Its id in the form of today, with what the event was."""
        return completed(self.request_id, OUTPUT, _FORMER_TEMPLATES.get(self.template))

    @property
    def former(self) -> str | None:
        """The id that it had before ids said what the event was; None if it never had one."""
        return former_id(self.identity, OUTPUT)

    def digest(self) -> str:
        """Tell it from another request of the same id."""
        return digest_of(
            self.order_id, self.customer_id or "", self.template, self.currency, exactly(self.amount),
            moment(self.occurred_at), self.country,
        )  # fmt: skip

    def to_json(self) -> bytes:
        """Write it as it goes on the wire."""
        return _SERIALIZER.to_json(self, by_alias=True)


ADAPTER: Final = TypeAdapter(NotificationRequest)
"""Reads it from the wire."""
_SERIALIZER: Final = ADAPTER.serializer
