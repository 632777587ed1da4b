"""The sales."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _columns(*key: sa.Column[Any]) -> tuple[sa.Column[Any], ...]:
    figures = ("orders", "units", "revenue", "refunds", "units_returned", "refunded")
    return (
        sa.Column("minute", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("country", sa.String(128), nullable=False),
        *key,
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in figures),
    )


def _whole(table: str) -> sa.CheckConstraint:
    """Have SQLite refuse a sum beyond 64 bits, as PostgreSQL does; by itself it would go on with a rounded one."""
    return sa.CheckConstraint(
        "typeof(revenue) = 'integer' AND typeof(refunded) = 'integer'", name=f"ck_{table}_whole"
    ).ddl_if(dialect="sqlite")  # fmt: skip


def upgrade() -> None:
    """Create the tables of the sales."""
    op.create_table(
        "sales_facts",
        sa.Column("fact_id", sa.String(255), nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("fact_id", name="pk_sales_facts"),
    )
    op.create_table(
        "sales_totals",
        *_columns(),
        _whole("sales_totals"),
        sa.PrimaryKeyConstraint("minute", "currency", "country", name="pk_sales_totals"),
    )
    op.create_table(
        "sales_articles",
        *_columns(sa.Column("sku", sa.String(128), nullable=False)),
        _whole("sales_articles"),
        sa.PrimaryKeyConstraint("minute", "currency", "country", "sku", name="pk_sales_articles"),
    )
