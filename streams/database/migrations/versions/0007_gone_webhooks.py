"""Webhooks that are gone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make room for when a customer's webhook said that it is gone for good."""
    op.add_column("customers", sa.Column("gone_at", sa.BigInteger, nullable=True))
