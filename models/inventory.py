"""The stock movement: what leaves the shelf for an order, or comes back to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from pydantic import ConfigDict, TypeAdapter

from models.identity import FORMER_REFUND, FORMER_SALE, completed, consequence_id, digest_of, former_id, moment
from models.order import OrderEvent, Pieces
from models.wire import WIRE, ConsequenceId, Identifier, Moment

OUTPUT: Final = "inventory"
"""The end of its ids."""


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
    """``<event id>:<kind of event>-inventory``: equal for a repeat, so that no stock is moved twice."""
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
            movement_id=consequence_id(event.event_id, event.platform_kind, OUTPUT),
            order_id=event.order_id,
            occurred_at=event.occurred_at,
            lines=tuple([StockLine(sku, sign * quantity) for sku, quantity in pieces.items()]) if sign else (),
        )

    @property
    def identity(self) -> str:
        """Its id in the form of today, with what the event was."""
        return completed(self.movement_id, OUTPUT, self._former_kind)

    @property
    def former(self) -> str | None:
        """The id that it had before ids said what the event was; None if it never had one."""
        return former_id(self.identity, OUTPUT)

    @property
    def _former_kind(self) -> str | None:
        if not self.lines:
            return None  # of an event that moves nothing, whichever that was
        return FORMER_SALE if self.lines[0].quantity > 0 else FORMER_REFUND

    def digest(self) -> str:
        """Tell it from another movement of the same id."""
        lines = sorted([f"{line.sku}\0{line.quantity}" for line in self.lines])
        return digest_of(self.order_id, moment(self.occurred_at), *lines)

    def to_json(self) -> bytes:
        """Write it as it goes on the wire."""
        return _SERIALIZER.to_json(self, by_alias=True)


ADAPTER: Final = TypeAdapter(StockMovement)
"""Reads it from the wire."""
_SERIALIZER: Final = ADAPTER.serializer
