"""The tables of the notifications."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table

from streams.database.identity_columns import digest_column, place_column
from streams.database.tables import metadata

_IDENTIFIER: Final = 128
_ID: Final = 255
_ADDRESS: Final = 2048

customers: Final = Table(
    "customers",
    metadata,
    Column("customer_id", String(_IDENTIFIER), primary_key=True),
    Column("channel", String(16), nullable=False),
    Column("address", String(_ADDRESS), nullable=False),
    Column("locale", String(16), nullable=False),
    Column("secret", String(_IDENTIFIER), nullable=False),
    Column("gone_at", BigInteger, nullable=True),
)
"""How customers want to be told. ``secret`` signs their webhooks; it is empty for everybody else.

``gone_at``: when it answered that it is gone for good (410), in seconds since 1970; it is not asked any more.
"""

notifications: Final = Table(
    "notifications",
    metadata,
    Column("request_id", String(_ID), primary_key=True),
    Column("order_id", String(_IDENTIFIER), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("claimed_at", BigInteger, nullable=False),
    Column("sent_at", BigInteger, nullable=True),
    digest_column(),
    place_column(),
    Index("ix_notifications_order_id", "order_id"),
)
"""The ledger: what was claimed, sent, refused and gone; times in seconds since 1970. It holds no address. A repeat is
known by its id and by the digest of what it says."""
