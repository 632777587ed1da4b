"""The platform record: the whole order, in one stable form, for the data platform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from pydantic import ConfigDict, TypeAdapter

from models.identity import consequence_id
from models.money import EXACT, Amount, Currency, written
from models.order import OrderEvent, Quantity
from models.wire import WIRE, ConsequenceId, Identifier, Label, Moment

OUTPUT: Final = "platform"
"""The end of its ids."""


@dataclass(slots=True)
class PlatformLine:
    """A line and its total, which is exact: the totals add up to the amount before it is rounded."""

    __pydantic_config__: ClassVar[ConfigDict] = WIRE

    sku: Identifier
    name: Label
    quantity: Quantity
    unit_price: Amount
    total: Amount


@dataclass(slots=True)
class PlatformOrder:
    """One paid order, cancellation or the like: times in UTC, money with all the digits of its currency.

    It has no schema version (the envelope's type carries one) and no time of processing: the same
    event always gives the same bytes.
    """

    __pydantic_config__: ClassVar[ConfigDict] = WIRE

    kind: Identifier
    """Which event it was: ``order``, ``cancellation``… Amount and quantities are positive in all; a cancellation is to
    be taken off."""
    record_id: ConsequenceId
    """``<event id>:<kind>-platform``: equal for a repeat, so that no record counts twice."""
    payment_id: Identifier | None
    """None for a cancellation of which the shop does not know the payment."""
    order_id: Identifier
    customer_id: Identifier | None
    method: Identifier | None
    """None for a cancellation."""
    currency: Currency
    amount: Amount
    occurred_at: Moment
    country: Identifier
    item_count: int
    """Number of lines."""
    units: int
    """Number of pieces, over all lines."""
    lines: tuple[PlatformLine, ...]

    @classmethod
    def of(cls, event: OrderEvent) -> PlatformOrder:
        """Build the record of an event."""
        currency = event.currency
        lines = tuple(
            [
                PlatformLine(
                    line.sku,
                    line.name,
                    line.quantity,
                    written(line.unit_price, currency),
                    written(EXACT.multiply(line.unit_price, line.quantity), currency),
                )
                for line in event.lines
            ]
        )
        return cls(
            kind=event.platform_kind,
            record_id=consequence_id(event.event_id, event.platform_kind, OUTPUT),
            payment_id=event.payment_id,
            order_id=event.order_id,
            customer_id=event.customer_id,
            method=event.method,
            currency=currency,
            amount=event.amount,
            occurred_at=event.occurred_at,
            country=event.country,
            item_count=len(lines),
            units=sum([line.quantity for line in lines]),
            lines=lines,
        )

    def to_json(self) -> bytes:
        """Write it as it goes on the wire."""
        return _SERIALIZER.to_json(self, by_alias=True)


ADAPTER: Final = TypeAdapter(PlatformOrder)
"""Reads it from the wire."""
_SERIALIZER: Final = ADAPTER.serializer
