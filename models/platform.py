"""The platform record: the whole order, in one stable form, for the data platform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter

from models.money import EXACT, Amount, Currency, written
from models.payment import PaymentCompleted, Quantity
from models.wire import WIRE, Identifier, Label, Moment


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
    """One paid order: times in UTC, money with all the digits of its currency.

    It has no schema version (the envelope's type carries one) and no time of processing: the same
    payment always gives the same bytes.
    """

    __pydantic_config__: ClassVar[ConfigDict] = WIRE

    payment_id: Identifier
    order_id: Identifier
    customer_id: Identifier | None
    method: Identifier
    currency: Currency
    amount: Amount
    paid_at: Moment
    country: Identifier
    item_count: int
    """Number of lines."""
    units: int
    """Number of pieces, over all lines."""
    lines: tuple[PlatformLine, ...]

    @classmethod
    def of(cls, payment: PaymentCompleted) -> PlatformOrder:
        """Build the record of a payment."""
        currency = payment.currency
        lines = tuple(
            [
                PlatformLine(
                    line.sku,
                    line.name,
                    line.quantity,
                    written(line.unit_price, currency),
                    written(EXACT.multiply(line.unit_price, line.quantity), currency),
                )
                for line in payment.lines
            ]
        )
        return cls(
            payment_id=payment.payment_id,
            order_id=payment.order_id,
            customer_id=payment.customer_id,
            method=payment.method,
            currency=currency,
            amount=payment.amount,
            paid_at=payment.paid_at,
            country=payment.country,
            item_count=len(lines),
            units=sum([line.quantity for line in lines]),
            lines=lines,
        )

    def to_json(self) -> bytes:
        """Write it as it goes on the wire."""
        return _SERIALIZER.to_json(self, by_alias=True)


_SERIALIZER = TypeAdapter(PlatformOrder).serializer
