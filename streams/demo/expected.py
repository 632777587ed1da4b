"""What must follow from the orders, by plain addition: the pipeline's agents and stores have no part in it."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple

from babel.numbers import format_currency
from pydantic import ValidationError

from models.cancellation import PaymentCancelled
from models.order import OrderEvent
from models.payment import PaymentCompleted
from streams.failure.errors import PaystreamError
from streams.invoices.event import CANCELLED, COMPLETED, ShopEvent
from streams.stores.customer import Channel, Customer

OPENING: Final = 60
"""Pieces of each article at the beginning; fewer than some orders take, so that some are owed."""

_MODELS: Final[dict[str, type[OrderEvent]]] = {COMPLETED.topic: PaymentCompleted, CANCELLED.topic: PaymentCancelled}


@dataclass(frozen=True, slots=True)
class Row:
    """An order or a cancellation, as a row of the platform's files has it.

    Attributes:
        kind: ``order`` or ``cancellation``.
        record_id: equal for a repeat.
        order_id: of the order.
        country: of the customer.
        currency: of the amount.
        amount: positive in both kinds.
        units: pieces; likewise.
    """

    kind: str
    record_id: str
    order_id: str
    country: str
    currency: str
    amount: Decimal
    units: int

    def __str__(self) -> str:
        return f"{self.kind} {self.order_id} of {self.amount.normalize():,f} {self.currency} in {self.country}"


class Figures(NamedTuple):
    """What sales of a country add up to."""

    revenue: Decimal = Decimal(0)
    refunded: Decimal = Decimal(0)
    orders: int = 0
    refunds: int = 0
    units: int = 0
    units_returned: int = 0


ByCountry = dict[tuple[str, str], Figures]
"""Figures by country and currency."""


def added_up(rows: Iterable[Row]) -> ByCountry:
    """Add up rows; a repeat counts once."""
    figures: ByCountry = {}
    seen: set[str] = set()
    for row in rows:
        if row.record_id in seen:
            continue
        seen.add(row.record_id)
        before = figures.get((row.country, row.currency), Figures())
        figures[row.country, row.currency] = _with_row(before, row)
    return figures


def _with_row(figures: Figures, row: Row) -> Figures:
    if row.kind == "order":
        return figures._replace(
            revenue=figures.revenue + row.amount, orders=figures.orders + 1, units=figures.units + row.units
        )
    return figures._replace(
        refunded=figures.refunded + row.amount,
        refunds=figures.refunds + 1,
        units_returned=figures.units_returned + row.units,
    )


@dataclass(frozen=True, slots=True)
class Due:
    """A letter that somebody is to get.

    Attributes:
        recipient: the address.
        order_id: what its subject names.
        amount: as it is written in the recipient's country.
    """

    recipient: str
    order_id: str
    amount: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What follows from the orders.

    Attributes:
        rows: those that are valid, as often as they were published.
        moved: pieces by article, once for each event however often it was published.
        sales: by country and currency; likewise.
        letters: those that are due; likewise.
        customers: all that the orders name.
    """

    rows: Counter[Row] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)
    sales: ByCountry = field(default_factory=dict)
    letters: list[Due] = field(default_factory=list)
    customers: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, events: Iterable[ShopEvent]) -> Expected:
        """Add up the events that are valid."""
        expected, seen = cls(), set()
        for event in events:
            read = _read(event)
            if read is None:
                continue
            expected.rows[_row(read)] += 1
            name = event.kind.topic, read.event_id
            if name not in seen:
                seen.add(name)
                expected._count(read)
        expected.sales.update(added_up(expected.rows))
        return expected

    def _count(self, event: OrderEvent) -> None:
        for line in event.lines:
            self.moved[line.sku] += -line.quantity if event.takes_back else line.quantity
        if event.customer_id is not None:
            self.customers.add(event.customer_id)
            customer = customer_of(event.customer_id)
            amount = format_currency(event.amount, event.currency, locale=customer.locale)
            self.letters.append(Due(customer.address, event.order_id, amount))


def _read(event: ShopEvent) -> OrderEvent | None:
    model = _MODELS.get(event.kind.topic)
    if model is None:
        raise PaystreamError(f"the demo cannot add up what follows from {event.kind.topic}: leave such events out")
    try:
        return model.model_validate_json(event.value)
    except ValidationError:
        return None


def _row(event: OrderEvent) -> Row:
    kind = "cancellation" if event.takes_back else "order"
    return Row(
        kind=kind,
        record_id=f"{event.event_id}:{kind}-platform",
        order_id=event.order_id,
        country=event.country,
        currency=event.currency,
        amount=event.amount,
        units=sum(line.quantity for line in event.lines),
    )


def customer_of(customer_id: str) -> Customer:
    """Give a customer an address that leads nowhere, and one of two languages."""
    number = zlib.crc32(customer_id.encode())
    return Customer(customer_id, Channel.EMAIL, f"customer-{number}@customer.example", "ko" if number % 2 else "en_GB")
