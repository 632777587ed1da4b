"""Connections to PostgreSQL, straight or through a pooler."""

from __future__ import annotations

import itertools
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from streams.database.address import Address
from streams.database.servers import Servers, is_itself
from streams.settings import DatabaseSettings

# A name would be known to one of the pooler's connections to the server, and the next transaction may have another.
_NOT_KEPT: Final[dict[str, Any]] = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": str}


def make_engine(address: Address, settings: DatabaseSettings) -> AsyncEngine:
    """Make the engine; it connects when it is first needed.

    Raises:
        SetupError: the address has an option that cannot be meant.
    """
    servers = Servers(address, settings.timeout)
    numbers = itertools.count(1)
    kept = {
        "prepared_statement_name_func": lambda: f"paystream_{next(numbers)}",
        "async_creator_fn": servers.connect,
    }
    engine = create_async_engine(
        URL.create("postgresql+asyncpg"),
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.timeout,
        connect_args=kept,
        hide_parameters=True,  # they are payload, and an error's text ends up in logs
    )

    @event.listens_for(engine.sync_engine, "do_connect")
    def _connect(dialect: Dialect, _entry: object, arguments: Any, options: Any) -> Any:
        connection: Any = dialect.connect(*arguments, **options)
        keep = settings.prepared_statements
        try:
            if keep is None:
                keep = connection.run_async(is_itself)
        except BaseException:
            connection.driver_connection.terminate()  # nobody else knows of it yet
            raise
        return connection if keep else _keeping_nothing(dialect, connection.driver_connection)

    return engine


def _keeping_nothing(dialect: Dialect, driver_connection: Any) -> Any:
    """Take a connection that is there for one that keeps no statements."""

    async def there() -> Any:
        return driver_connection

    return dialect.connect(async_creator_fn=there, **_NOT_KEPT)
