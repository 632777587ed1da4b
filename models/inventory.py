"""The stock movement: what leaves the shelf for an order, or comes back to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from pydantic import ConfigDict, TypeAdapter

from models.order import OrderEvent, Pieces
from models.wire import WIRE, ConsequenceId, Identifier, Moment


@dataclass(slots=True)
class StockLine:
    """So many pieces of one article: positive if they leave, negative if they come back."""

    __pydantic_config__: ClassVar[ConfigDict] = WIRE

    sku: Identifier
    quantity: Pieces


@dataclass(slots=True)
class StockMovement:
    """The pieces that one order takes from stock, or gives back to it."""

    __pydantic_config__: ClassVar[ConfigDict] = WIRE

    movement_id: ConsequenceId
    """``<event id>:inventory``: equal for a repeat, so that no stock is moved twice."""
    order_id: Identifier
    occurred_at: Moment
    lines: tuple[StockLine, ...]
    """One entry per article, in the order in which the event first names them; none if no goods move."""

    @classmethod
    def of(cls, event: OrderEvent) -> StockMovement:
        """Build the movement of an event; lines of the same article are added together."""
        pieces: dict[str, int] = {}
        for line in event.lines:
            pieces[line.sku] = pieces.get(line.sku, 0) + line.quantity
        sign = event.stock_sign
        return cls(
            movement_id=f"{event.event_id}:inventory",
            order_id=event.order_id,
            occurred_at=event.occurred_at,
            lines=tuple([StockLine(sku, sign * quantity) for sku, quantity in pieces.items()]) if sign else (),
        )

    def to_json(self) -> bytes:
        """Write it as it goes on the wire."""
        return _SERIALIZER.to_json(self, by_alias=True)


ADAPTER: Final = TypeAdapter(StockMovement)
"""Reads it from the wire."""
_SERIALIZER: Final = ADAPTER.serializer
