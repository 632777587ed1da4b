"""The sale fact: one row for the warehouse, with the figures already added up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from pydantic import ConfigDict, TypeAdapter

from models.identity import FORMER_REFUND, FORMER_SALE, completed, consequence_id, digest_of, exactly, former_id, moment
from models.money import Amount, Currency, written
from models.order import OrderEvent, Pieces, SaleKind, by_article
from models.wire import WIRE, ConsequenceId, Identifier, Moment

OUTPUT: Final = "analytics"
"""The end of its ids."""


@dataclass(slots=True)
class SaleLine:
    """What one article brought in. Exact: the lines add up to the revenue before it is rounded."""

    __pydantic_config__: ClassVar[ConfigDict] = WIRE

    sku: Identifier
    quantity: Pieces
    revenue: Amount


@dataclass(slots=True)
class SaleFact:
    """One sale, or one refund. It names no customer: analytics counts orders, not people."""

    __pydantic_config__: ClassVar[ConfigDict] = WIRE

    kind: SaleKind
    """Figures are positive in both; a refund is to be taken off."""
    fact_id: ConsequenceId
    """``<event id>:<kind of event>-analytics``: equal for a repeat, so that nothing is counted twice."""
    order_id: Identifier
    occurred_at: Moment
    country: Identifier
    currency: Currency
    revenue: Amount
    """The amount paid, or given back."""
    units: Pieces
    """Number of pieces, over all lines; none if no goods moved."""
    lines: tuple[SaleLine, ...]
    """One entry per article, so that (fact, article) is a key; in the event's order."""

    @classmethod
    def of(cls, event: OrderEvent) -> SaleFact:
        """Build the fact of an event; lines of the same article are added together."""
        currency = event.currency
        sold = by_article(event.lines)
        # Where money goes without goods, no piece was sold and none came back.
        counted = abs(event.stock_sign)
        return cls(
            kind=event.sale_kind,
            fact_id=consequence_id(event.event_id, event.platform_kind, OUTPUT),
            order_id=event.order_id,
            occurred_at=event.occurred_at,
            country=event.country,
            currency=currency,
            revenue=event.amount,
            units=counted * sum([quantity for quantity, _ in sold.values()]),
            lines=tuple(
                [
                    SaleLine(sku, counted * quantity, written(revenue, currency))
                    for sku, (quantity, revenue) in sold.items()
                ]
            ),
        )

    @property
    def identity(self) -> str:
        """Its id in the form of today, with what the event was."""
        return completed(self.fact_id, OUTPUT, FORMER_SALE if self.kind == "sale" else FORMER_REFUND)

    @property
    def former(self) -> str | None:
        """The id that it had before ids said what the event was; None if it never had one."""
        return former_id(self.identity, OUTPUT)

    def digest(self) -> str:
        """Tell it from another fact of the same id."""
        lines = sorted([f"{line.sku}\0{line.quantity}\0{exactly(line.revenue)}" for line in self.lines])
        return digest_of(
            self.kind, self.order_id, moment(self.occurred_at), self.country, self.currency,
            exactly(self.revenue), str(self.units), *lines,
        )  # fmt: skip

    def to_json(self) -> bytes:
        """Write it as it goes on the wire."""
        return _SERIALIZER.to_json(self, by_alias=True)


ADAPTER: Final = TypeAdapter(SaleFact)
"""Reads it from the wire."""
_SERIALIZER: Final = ADAPTER.serializer
