"""The stock movement: what leaves the shelf for an order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter

from models.payment import PaymentCompleted
from models.wire import WIRE, Identifier, Moment


@dataclass(slots=True)
class StockLine:
    """So many pieces of one article."""

    __pydantic_config__: ClassVar[ConfigDict] = WIRE

    sku: Identifier
    quantity: int


@dataclass(slots=True)
class StockMovement:
    """The pieces that one order takes from stock."""

    __pydantic_config__: ClassVar[ConfigDict] = WIRE

    movement_id: Identifier
    """``<payment id>:inventory``: equal for a repeat, so that no stock is moved twice."""
    order_id: Identifier
    occurred_at: Moment
    lines: tuple[StockLine, ...]
    """One entry per article, in the order in which the payment first names them."""

    @classmethod
    def of(cls, payment: PaymentCompleted) -> StockMovement:
        """Build the movement of a payment; lines of the same article are added together."""
        pieces: dict[str, int] = {}
        for line in payment.lines:
            pieces[line.sku] = pieces.get(line.sku, 0) + line.quantity
        return cls(
            movement_id=f"{payment.payment_id}:inventory",
            order_id=payment.order_id,
            occurred_at=payment.paid_at,
            lines=tuple([StockLine(sku, quantity) for sku, quantity in pieces.items()]),
        )

    def to_json(self) -> bytes:
        """Write it as it goes on the wire."""
        return _SERIALIZER.to_json(self, by_alias=True)


_SERIALIZER = TypeAdapter(StockMovement).serializer
