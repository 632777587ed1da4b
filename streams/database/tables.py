"""The tables' common ground, and the one table that delivery itself needs."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Every table of paystream. Constraints are named here, so that a migration can name them, too."""

# Kafka allows topics 249 characters; a group's name has no limit, and one of 255 would be remarkable.
NAME: Final = 255
_UUID: Final = 36

consumer_offsets: Final = Table(
    "consumer_offsets",
    metadata,
    Column("consumer_group", String(NAME), primary_key=True),
    Column("topic", String(NAME), primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=True),
    Column("epoch", BigInteger, nullable=False),
    Column("topic_id", String(_UUID), nullable=True),
)
"""How far each lane has come. ``next_offset`` is null before the first commit; ``epoch`` counts the owners that
the lane has had, so that the former one is known by its number; ``topic_id`` is the brokers' for the topic of which
``next_offset`` is, null if they have not told."""
