"""Giving up all connections of a pool at once, when what they lead to has stopped doing its work."""

from __future__ import annotations

import time
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from streams.database.trouble import is_lost

_SINCE: Final = "paystream_since"


class Pool:
    """An engine's pool, which can be told that its connections lead nowhere.

    Whoever asks next is given a new connection; those in use are not disturbed, and are given up when they come back.

    Arguments:
        engine: whose pool it is.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._idle: dict[ConnectionPoolEntry, Any] = {}
        self._given_up = 0.0
        event.listen(engine.sync_engine, "connect", self._comes)
        event.listen(engine.sync_engine, "handle_error", _ends_what_is_lost)
        event.listen(engine.sync_engine, "checkout", self._leaves)
        event.listen(engine.sync_engine, "checkin", self._comes_back)

    def give_up(self) -> None:
        """Give up all connections that there are."""
        self._given_up = time.monotonic()
        for connection in self._idle.values():
            end(connection)
        self._idle.clear()

    def _comes(self, _connection: Any, entry: ConnectionPoolEntry) -> None:
        entry.info[_SINCE] = time.monotonic()

    def _leaves(self, connection: Any, entry: ConnectionPoolEntry, _: object) -> None:
        self._idle.pop(entry, None)
        if entry.info[_SINCE] <= self._given_up:
            end(connection)
            raise DisconnectionError("given up")

    def _comes_back(self, connection: Any, entry: ConnectionPoolEntry) -> None:
        if connection is not None:
            self._idle[entry] = connection


def _ends_what_is_lost(context: ExceptionContext) -> None:
    """End the connection before SQLAlchemy does, which rolls back and says farewell: neither may ever be answered."""
    connection = context.connection
    error = context.sqlalchemy_exception or context.original_exception
    if connection is None or connection.invalidated or not is_lost(error):
        return
    end(connection.connection)
    context.is_disconnect = True


def end(connection: Any) -> None:
    """End PostgreSQL's connection at once; SQLite's needs no such thing, as nobody has to answer."""
    terminate = getattr(connection.driver_connection, "terminate", None)
    if terminate is not None:
        terminate()
