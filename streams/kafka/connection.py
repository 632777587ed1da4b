"""Opening and closing one connection to a broker, with nothing of it left behind when it fails.

aiokafka's own way leaves a connection that it has refused half closed: the socket goes when the loop comes round, and
a command's loop ends before that.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection

# Closing takes a round trip with TLS; a peer that does not answer is not waited for.
_CLOSE_SECONDS: Final = 0.5


async def open_connection(host: str, port: int, **options: Any) -> AIOKafkaConnection:
    """Open a connection; what it raises is aiokafka's, or the system's.

    Arguments:
        host: where.
        port: where.
        options: those of :class:`aiokafka.conn.AIOKafkaConnection`.
    """
    connection = AIOKafkaConnection(host, port, **options)
    try:
        await connection.connect()
    except BaseException:
        await close_connection(connection)
        raise
    return connection


async def close_connection(connection: AIOKafkaConnection) -> None:
    """Close a connection, and wait until it is; never raises."""
    closed = connection.close()
    if closed is not None and connection._protocol is not None:  # else there never was one
        await asyncio.wait({closed}, timeout=_CLOSE_SECONDS)
