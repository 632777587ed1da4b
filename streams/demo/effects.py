"""What the four who hear of an order have made of it, compared with what went in."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from email.message import EmailMessage
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from models.cancellation import PaymentCancelled
from models.order import OrderEvent
from models.payment import PaymentCompleted
from streams.database.engine import Database
from streams.database.schema import upgrade
from streams.failure.errors import PaystreamError
from streams.invoices.event import COMPLETED, ShopEvent
from streams.parquet.folder import Folder
from streams.stores.customer import Channel, Customer
from streams.stores.notifications import load_customers
from streams.stores.sales_report import By, Sales, read_sales
from streams.stores.stock import count_opening_stock, read_articles

# Fewer than some orders take, so that some pieces are owed.
_OPENING: Final = 60
_PATIENCE: Final = 60.0
_POLL: Final = 0.05


@dataclass(frozen=True, slots=True)
class Expected:
    """What follows from the orders, by plain addition.

    Attributes:
        orders: those that are valid, as often as they were published.
        moved: pieces by article, once for each event however often it was published.
        revenue: by country and currency, less what is given back.
        letters: how many customers are to be told.
        customers: all that the orders name.
    """

    orders: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)
    revenue: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    letters: set[str] = field(default_factory=set)
    customers: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, events: Iterable[ShopEvent]) -> Expected:
        """Add up the events that are valid."""
        expected, seen = cls(), set()
        for event in events:
            read = _read(event)
            if read is None:
                continue
            expected.orders[read.order_id] += 1
            if read.event_id in seen:
                continue
            seen.add(read.event_id)
            sign = -1 if read.takes_back else 1
            for line in read.lines:
                expected.moved[line.sku] += sign * line.quantity
            key = read.country, read.currency
            expected.revenue[key] = expected.revenue.get(key, Decimal(0)) + sign * read.amount
            if read.customer_id is not None:
                expected.customers.add(read.customer_id)
                expected.letters.add(read.event_id)
        return expected


def _read(event: ShopEvent) -> OrderEvent | None:
    model: type[OrderEvent] = PaymentCompleted if event.kind is COMPLETED else PaymentCancelled
    try:
        return model.model_validate_json(event.value)
    except ValidationError:
        return None


@dataclass(frozen=True, slots=True)
class Effects:
    """What was found in the database, in the mailbox and in the files.

    Attributes:
        moved: pieces by article.
        owed: pieces that could not be delivered yet.
        sales: by country.
        letters: how many have come, no repeat among them.
        korean: how many of those are in Korean.
        subject: of one of them.
        rows: orders in the platform's files, as often as they are there.
        files: how many files there are.
    """

    moved: Counter[str]
    owed: int
    sales: Sequence[Sales]
    letters: int
    korean: int
    subject: str
    rows: Counter[str]
    files: int

    def problems(self, expected: Expected) -> tuple[str, ...]:
        """Say in words where this is not what follows from the orders."""
        found = []
        if self.moved != expected.moved:
            found.append(f"stock: {self.moved.total()} pieces were moved, but orders have {expected.moved.total()}")
        if {(each.country, each.currency): each.net for each in self.sales} != expected.revenue:
            net, wanted = sum(each.net for each in self.sales), sum(expected.revenue.values())
            found.append(f"analytics: {net} were counted, but orders make {wanted}")
        if self.letters != len(expected.letters):
            found.append(f"notification: {self.letters} letters were sent, but {len(expected.letters)} are due")
        if self.rows != expected.orders:
            found.append(f"platform: {self.rows.total()} rows in files, but {expected.orders.total()} orders")
        return tuple(found)


class World:
    """The demo's database, mailbox and folder, as the worker leaves them.

    Arguments:
        database: shared with the worker.
        letters: the mailbox's, which grows.
        folder: where the platform's files are.
    """

    def __init__(self, database: Database, letters: list[EmailMessage], folder: Path) -> None:
        self._database = database
        self._letters = letters
        self._folder = folder

    async def prepare(self, expected: Expected) -> None:
        """Make the tables, and let the shop know its customers and its opening stock."""
        await upgrade(self._database)
        await load_customers(self._database, [_customer(each) for each in expected.customers])
        await count_opening_stock(self._database, dict.fromkeys(expected.moved, _OPENING))

    async def settled(self, expected: Expected) -> Effects:
        """Wait until everything has arrived; if that does not come, return what has."""
        until, before = time.monotonic() + _PATIENCE, None
        while True:
            found = await self._look()
            if not found.problems(expected):
                return found
            if found != before:
                before, until = found, time.monotonic() + _PATIENCE
            elif time.monotonic() > until:
                return found
            await asyncio.sleep(_POLL)

    async def _look(self) -> Effects:
        articles = await read_articles(self._database)
        sales = await read_sales(self._database, by=[By.COUNTRY])
        letters = {str(letter["Message-ID"]): str(letter["Subject"]) for letter in self._letters}
        files, rows = await asyncio.to_thread(_rows_in, self._folder)
        return Effects(
            moved=Counter({each.sku: each.moved for each in articles}),
            owed=sum(each.back_ordered for each in articles),
            sales=sales,
            letters=len(letters),
            korean=sum(any("가" <= letter <= "힣" for letter in subject) for subject in letters.values()),
            subject=next(iter(letters.values()), ""),
            rows=rows,
            files=files,
        )


def _rows_in(folder: Path) -> tuple[int, Counter[str]]:
    paths = [path for _, path in Folder(str(folder)).published()]
    rows: Counter[str] = Counter()
    if paths:
        try:
            import pyarrow.dataset as ds

            rows.update(ds.dataset(paths, format="parquet").to_table(columns=["order_id"])["order_id"].to_pylist())
        except OSError as error:
            raise PaystreamError(f"the platform's files cannot be read: {error}") from error
    return len(paths), rows


def _customer(customer_id: str) -> Customer:
    """Give a customer an address that leads nowhere, and one of two languages."""
    number = zlib.crc32(customer_id.encode())
    return Customer(customer_id, Channel.EMAIL, f"customer-{number}@customer.example", "ko" if number % 2 else "en_GB")
