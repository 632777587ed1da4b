"""Which database the agents use."""

from __future__ import annotations

from pydantic import Field, SecretStr

from streams.settings.section import Section


class DatabaseSettings(Section):
    """Where agents keep what they know: stock, sales, whom to notify, and with it how far they have come."""

    url: SecretStr = Field(
        SecretStr("sqlite:///paystream.db"),
        description="sqlite:///FILE, or postgresql://user:password@host/database; hosts may be several, with commas "
        "in between; never shown or logged",
    )
    # A lane uses one connection at a time, and a worker of the defaults has at most some 16 lanes that do.
    pool_size: int = Field(8, ge=1, description="most connections of one worker (PostgreSQL)")
    timeout: float = Field(10.0, gt=0, description="for a connection or a statement, before the database is down")
    prepared_statements: bool | None = Field(
        None,
        description="whether PostgreSQL may be asked to keep statements from one transaction to the next; if not set, "
        "unless a pooler such as pgbouncer is seen in between",
    )
