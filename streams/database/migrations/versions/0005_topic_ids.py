"""Of which topic an offset is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make room for the topic's id; who takes a lane over next writes it down."""
    op.add_column("consumer_offsets", sa.Column("topic_id", sa.String(36), nullable=True))
