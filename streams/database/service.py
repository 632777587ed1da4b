"""The database as a part of a worker: looked at before the first lane starts, closed after the last has ended."""

from __future__ import annotations

from typing import Any

from mode import Service

from streams.database.engine import Database
from streams.database.schema import check_schema
from streams.delivery.machinery import end_process
from streams.failure.errors import PaystreamError


class DatabaseService(Service):
    """Opens and closes a worker's database.

    Arguments:
        database: it.
    """

    def __init__(self, database: Database, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._database = database

    async def on_start(self) -> None:
        """Refuse to work on a schema that is not this version's."""
        try:
            await check_schema(self._database)
        except PaystreamError as error:
            end_process(error)

    async def on_stop(self) -> None:
        """Close every connection."""
        await self._database.close()
