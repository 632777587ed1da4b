"""What was done, and not only under which id; and where it was asked for first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make room. Rows that are there stay without: of those nobody knows what they were about, or of which event."""
    for table in ("stock_movements", "sales_facts", "notifications"):
        op.add_column(table, sa.Column("digest", sa.String(64), nullable=True))
        op.add_column(table, sa.Column("place", sa.String(300), nullable=True))
    for table, key in (("stock_movements", "movement_id"), ("sales_facts", "fact_id")):
        without = sa.text("digest IS NULL")
        op.create_index(f"ix_{table}_former", table, [key], postgresql_where=without, sqlite_where=without)
