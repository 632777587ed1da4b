"""The sale fact: one row for the warehouse, with the figures already added up."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter

from models.money import EXACT, Amount, Currency, written
from models.payment import PaymentCompleted
from models.wire import WIRE, Identifier, Moment

_ZERO = Decimal(0)


@dataclass(slots=True)
class SaleLine:
    """What one article brought in. Exact: the lines add up to the revenue before it is rounded."""

    __pydantic_config__: ClassVar[ConfigDict] = WIRE

    sku: Identifier
    quantity: int
    revenue: Amount


@dataclass(slots=True)
class SaleFact:
    """One sale. It names no customer: analytics counts orders, not people."""

    __pydantic_config__: ClassVar[ConfigDict] = WIRE

    order_id: Identifier
    payment_id: Identifier
    paid_at: Moment
    country: Identifier
    currency: Currency
    revenue: Amount
    """The amount paid."""
    units: int
    """Number of pieces, over all lines."""
    lines: tuple[SaleLine, ...]
    """One entry per article, so that (order, article) is a key; in the payment's order."""

    @classmethod
    def of(cls, payment: PaymentCompleted) -> SaleFact:
        """Build the fact of a payment; lines of the same article are added together."""
        currency = payment.currency
        sold: dict[str, tuple[int, Decimal]] = {}
        for line in payment.lines:
            quantity, revenue = sold.get(line.sku, (0, _ZERO))
            sold[line.sku] = (
                quantity + line.quantity,
                EXACT.fma(line.unit_price, line.quantity, revenue),
            )
        return cls(
            order_id=payment.order_id,
            payment_id=payment.payment_id,
            paid_at=payment.paid_at,
            country=payment.country,
            currency=currency,
            revenue=payment.amount,
            units=sum([quantity for quantity, _ in sold.values()]),
            lines=tuple(
                [SaleLine(sku, quantity, written(revenue, currency)) for sku, (quantity, revenue) in sold.items()]
            ),
        )

    def to_json(self) -> bytes:
        """Write it as it goes on the wire."""
        return _SERIALIZER.to_json(self, by_alias=True)


_SERIALIZER = TypeAdapter(SaleFact).serializer
