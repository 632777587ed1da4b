"""The sales in the database: every fact counted once, in the minute in which it happened, whenever it arrives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from models.analytics import SaleFact
from streams.database.effects import Declined
from streams.database.sales_tables import sales_facts
from streams.database.statements import packed, with_rows
from streams.stores.former import counted_before, minute_of
from streams.stores.known import Known, Placed

MOST: Final = Decimal(10) ** 11
"""No single amount may reach it. A window holds 64 bits, which is 92 such orders in one minute and country; an
order of a hundred billion, in whatever currency, is an accident."""

_KNOWN: Final = Known(sales_facts)
_FIGURES: Final = ("orders", "units", "revenue", "refunds", "units_returned", "refunded")
_KEY: Final = ("minute", "currency", "country")
_TYPES: Final = {"minute": int, "currency": str, "country": str, "sku": str, **dict.fromkeys(_FIGURES, int)}

Key = tuple[int, str, str] | tuple[int, str, str, str]


def _adding(table: str, key: tuple[str, ...]) -> str:
    columns = ", ".join((*key, *_FIGURES))
    added = ", ".join(f"{each} = {table}.{each} + excluded.{each}" for each in _FIGURES)
    return f"INSERT INTO {table} ({columns}) {{rows}} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {added}"


_TOTALS: Final = ("sales_totals", _KEY)
_ARTICLES: Final = ("sales_articles", (*_KEY, "sku"))


class SalesEffects:
    """Counts sales and refunds."""

    async def apply(self, connection: AsyncConnection, effects: Sequence[Placed[SaleFact]]) -> Sequence[Declined]:
        """Count the facts, except those that have been counted before.

        A fact whose id is another's is declined.
        """
        found = await _KNOWN.sort(connection, effects, counted_before)
        totals, articles = folded(found.new)
        for (table, key), windows in ((_TOTALS, totals), (_ARTICLES, articles)):
            # In the order of their keys: two lanes that touch the same windows do not wait for each other.
            rows = [(*window, *figures) for window, figures in sorted(windows.items())]
            if rows:
                types = {name: _TYPES[name] for name in (*key, *_FIGURES)}
                await connection.execute(with_rows(connection, _adding(table, key), **types), packed(rows))
        return found.declined


def folded(facts: Iterable[SaleFact]) -> tuple[dict[Key, list[int]], dict[Key, list[int]]]:
    """Add facts up by their windows: once as a whole, and once by article."""
    totals: dict[Key, list[int]] = {}
    articles: dict[Key, list[int]] = {}
    for fact in facts:
        minute = minute_of(fact.occurred_at)
        first = 0 if fact.kind == "sale" else 3
        whole = minute, fact.currency, fact.country
        _add(totals.setdefault(whole, [0] * 6), first, fact.units, fact.revenue)
        for line in fact.lines:
            _add(articles.setdefault((*whole, line.sku), [0] * 6), first, line.quantity, line.revenue)
    return totals, articles


def _add(figures: list[int], first: int, units: int, money: Decimal) -> None:
    figures[first] += 1
    figures[first + 1] += units
    # In millionths of the unit: models.money allows six fraction digits.
    figures[first + 2] += int(money.scaleb(6))
