"""The tables of the stock."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, String, Table

from streams.database.identity_columns import known
from streams.database.tables import metadata

# models.wire: an Identifier has at most 128 characters.
_SKU: Final = 128

stock: Final = Table(
    "stock",
    metadata,
    Column("sku", String(_SKU), primary_key=True),
    Column("opening", BigInteger, nullable=False),
    Column("on_hand", BigInteger, nullable=False),
    Column("back_ordered", BigInteger, nullable=False),
    Column("moved", BigInteger, nullable=False),
    Column("lines", BigInteger, nullable=False),
)
"""One row an article. ``opening - on_hand + back_ordered = moved``, always; ``lines`` numbers its back-orders."""

stock_movements: Final = Table("stock_movements", metadata, *known("stock_movements", "movement_id"))
"""Movements that have been applied: a repeat is known by its id and by the digest of what it says. ``seen_at``, in
seconds since 1970, says when a row may go: once the topic holds nothing as old."""

back_orders: Final = Table(
    "back_orders",
    metadata,
    Column("sku", String(_SKU), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("order_id", String(_SKU), nullable=False),
    Column("quantity", BigInteger, nullable=False),
)
"""Pieces owed to an order; the lowest number of an article is the oldest."""
