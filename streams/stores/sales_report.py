"""Reading the sales: sums over any time, by window, country, currency and article."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from itertools import groupby, islice
from typing import Any, Final

from sqlalchemy import ColumnElement, func, literal, select

from models.money import written
from streams.database.engine import Database
from streams.database.sales_tables import sales_articles, sales_totals


class By(str, enum.Enum):
    """What sales can be shown by. Currencies are always told apart: their sums would mean nothing."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    COUNTRY = "country"
    SKU = "sku"
    CURRENCY = "currency"


_FIGURES: Final = ("orders", "units", "revenue", "refunds", "units_returned", "refunded")
# Any number far below the root of 2**63: neither part of a sum can then leave 64 bits.
_PART: Final = 1_000_000
_SECONDS: Final = {By.MINUTE: 60, By.HOUR: 3_600, By.DAY: 86_400}


@dataclass(frozen=True, slots=True)
class Sales:
    """What was sold, and given back.

    Attributes:
        window: when the minute, hour or day began, in UTC; None if they are not told apart.
        country: None if they are not told apart.
        sku: the article; None if they are not told apart.
        currency: of the money.
        orders: sales, with this article if there is one.
        units: pieces sold.
        revenue: what they brought in.
        refunds: cancellations.
        units_returned: pieces that came back.
        refunded: what was given back for them.
    """

    window: datetime | None
    country: str | None
    sku: str | None
    currency: str
    orders: int
    units: int
    revenue: Decimal
    refunds: int
    units_returned: int
    refunded: Decimal

    @property
    def net(self) -> Decimal:
        """Revenue less what was given back."""
        return self.revenue - self.refunded


async def read_sales(
    database: Database,
    begin: datetime | None = None,
    end: datetime | None = None,
    by: Sequence[By] = (),
    top: int | None = None,
) -> list[Sales]:
    """Add up the sales of a time.

    Arguments:
        database: where they are.
        begin: the first moment that counts.
        end: the first that does not count any more.
        by: what to tell apart; currencies always are.
        top: only so many rows of each currency, those with the highest net revenue.

    Returns:
        rows in the order of what they are told apart by, or, with `top`, by currency and the highest first.

    Raises:
        DependencyUnavailable: the database is down.
    """
    table = sales_articles if By.SKU in by else sales_totals
    columns = table.c
    size = next((_SECONDS[each] for each in by if each in _SECONDS), None)
    key: list[ColumnElement[Any]] = [
        (columns.minute - columns.minute % size if size else literal(None)).label("start"),
        (columns.country if By.COUNTRY in by else literal(None)).label("country"),
        (columns.sku if By.SKU in by else literal(None)).label("sku"),
        columns.currency,
    ]
    grouped = [each for each, wanted in zip(key, (size, By.COUNTRY in by, By.SKU in by, True), strict=True) if wanted]
    query = select(*key, *(part for name in _FIGURES for part in _parts(columns[name]))).group_by(*grouped)
    if begin is not None:
        query = query.where(columns.minute >= int(begin.timestamp()))
    if end is not None:
        query = query.where(columns.minute < int(end.timestamp()))
    query = query.order_by(*grouped)
    async with database.reading() as connection:
        sales = [_sales(*row) for row in await connection.execute(query)]
    return sales if top is None else _highest(sales, top)


def _parts(figure: ColumnElement[int]) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """Sum a figure in two parts: SQLite's sums end at 64 bits, which a year in rupiah exceeds."""
    return func.sum(figure // literal(_PART)), func.sum(figure % literal(_PART))


def _highest(sales: list[Sales], top: int) -> list[Sales]:
    """Choose the rows with the highest net revenue, of each currency by itself."""
    by_currency = groupby(sorted(sales, key=lambda each: (each.currency, -each.net)), lambda each: each.currency)
    return [each for _, rows in by_currency for each in islice(rows, top)]


def _sales(start: int | None, country: str | None, sku: str | None, currency: str, *parts: int | Decimal) -> Sales:
    # PostgreSQL's sums of whole numbers are decimals.
    orders, units, revenue, refunds, returned, refunded = (
        int(whole) * _PART + int(rest) for whole, rest in zip(parts[::2], parts[1::2], strict=True)
    )
    window = None if start is None else datetime.fromtimestamp(int(start), timezone.utc)
    return Sales(
        window, country, sku, currency, orders, units, _money(revenue, currency), refunds, returned,
        _money(refunded, currency),
    )  # fmt: skip


def _money(millionths: int, currency: str) -> Decimal:
    return written(Decimal(millionths).scaleb(-6), currency)
