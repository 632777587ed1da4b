"""The tables of the sales.

A window is a minute of event time, in UTC; hours and days are sums of minutes, made when they are asked for.
Money is in millionths of its currency's unit, a whole number: sums are exact on every database.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Column, String, Table

from streams.database.identity_columns import known
from streams.database.tables import metadata

_IDENTIFIER: Final = 128


def _key() -> tuple[Column[Any], ...]:
    return (
        Column("minute", BigInteger, primary_key=True, autoincrement=False),
        Column("currency", String(3), primary_key=True),
        Column("country", String(_IDENTIFIER), primary_key=True),
    )


def _figures() -> tuple[Column[Any], ...]:
    names = ("orders", "units", "revenue", "refunds", "units_returned", "refunded")
    return tuple(Column(name, BigInteger, nullable=False) for name in names)


sales_facts: Final = Table("sales_facts", metadata, *known("sales_facts", "fact_id"))
"""Facts that have been counted: a repeat is known by its id and by the digest of what it says. ``seen_at``, in seconds
since 1970, says when a row may go: once the topic holds nothing as old."""

sales_totals: Final = Table("sales_totals", metadata, *_key(), *_figures())
"""What was sold in a minute, by currency and country."""

sales_articles: Final = Table(
    "sales_articles", metadata, *_key(), Column("sku", String(_IDENTIFIER), primary_key=True), *_figures()
)
"""The same by article; ``orders`` and ``refunds`` count those that have it."""
