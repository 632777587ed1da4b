"""The columns by which a repeat is told from another event of the same id."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Column, Index, String, text

# models.wire: the id of a consequence has at most 255 characters.
_ID: Final = 255
_DIGEST: Final = 64
# A topic has 249 characters at most; a partition, an offset and two signs are the rest.
_PLACE: Final = 300
_FORMER: Final = text("digest IS NULL")


def digest_column() -> Column[str]:
    """Make the column of what the contents were; null in rows of before schema 0006."""
    return Column("digest", String(_DIGEST), nullable=True)


def place_column() -> Column[str]:
    """Make the column of where the first one was read, as ``topic-partition@offset``; null likewise."""
    return Column("place", String(_PLACE), nullable=True)


def known(table: str, key: str) -> tuple[Any, ...]:
    """Make what a table consists of that keeps the ids of what was done."""
    return (
        Column(key, String(_ID), primary_key=True),
        Column("seen_at", BigInteger, nullable=False),
        digest_column(),
        place_column(),
        # Those of before schema 0006, of which there are fewer every day: that there is none left costs nothing to see.
        Index(f"ix_{table}_former", key, postgresql_where=_FORMER, sqlite_where=_FORMER),
    )
