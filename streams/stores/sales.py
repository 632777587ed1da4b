"""The sales in the database: every fact counted once, in the minute in which it happened, whenever it arrives."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from models.analytics import SaleFact
from streams.database.statements import packed, with_rows

MOST: Final = Decimal(10) ** 11
"""No single amount may reach it. A window holds 64 bits, which is 92 such orders in one minute and country; an
order of a hundred billion, in whatever currency, is an accident."""

_MINUTE: Final = 60

_NEW_FACTS: Final = (
    "INSERT INTO sales_facts (fact_id, seen_at) {rows} ON CONFLICT (fact_id) DO NOTHING RETURNING fact_id"
)
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

    async def apply(self, connection: AsyncConnection, effects: Sequence[SaleFact]) -> None:
        """Count the facts, except those that have been counted before."""
        # Of a fact that is there twice the first counts, as it does across batches.
        facts = {fact.fact_id: fact for fact in reversed(effects)}
        now = int(time.time())
        inserted = await connection.execute(
            with_rows(connection, _NEW_FACTS, fact_id=str, seen_at=int), packed([(each, now) for each in sorted(facts)])
        )
        totals, articles = folded(facts[each] for each in inserted.scalars())
        for (table, key), windows in ((_TOTALS, totals), (_ARTICLES, articles)):
            # In the order of their keys: two lanes that touch the same windows do not wait for each other.
            rows = [(*window, *figures) for window, figures in sorted(windows.items())]
            if rows:
                types = {name: _TYPES[name] for name in (*key, *_FIGURES)}
                await connection.execute(with_rows(connection, _adding(table, key), **types), packed(rows))


def folded(facts: Iterable[SaleFact]) -> tuple[dict[Key, list[int]], dict[Key, list[int]]]:
    """Add facts up by their windows: once as a whole, and once by article."""
    totals: dict[Key, list[int]] = {}
    articles: dict[Key, list[int]] = {}
    for fact in facts:
        # Without its fraction, which a float of many seconds may round up into the next minute.
        second = int(fact.occurred_at.replace(microsecond=0).timestamp())
        minute = second - second % _MINUTE
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
