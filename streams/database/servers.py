"""PostgreSQL's servers: connections to the one that can be written to, whichever it is at present.

Several servers are asked at once if the first takes its time, for one that died with its machine does not even refuse:
the client's own way, one after the other within one time limit, never comes to the second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import asyncpg

from streams.database.address import Address, Host
from streams.database.trouble import NoServer, is_down, refusal, said
from streams.failure.errors import SetupError

# Source: PostgreSQL's documentation, "SSL Support", table "SSL Mode Descriptions".
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# Source: PostgreSQL's documentation, "Parameter Key Words", target_session_attrs. Its others are for readers alone.
_WANTED: Final[Mapping[str, str | None]] = {
    "any": None,
    "read-write": "current_setting('transaction_read_only') = 'off'",
    "primary": "NOT pg_is_in_recovery()",
}
_LONGEST_TIMEOUT: Final = 24 * 3600
# A server in good health has let somebody in long before; one that is merely slow is asked on beside the next.
_HEAD_START: Final = 1.0


class Servers:
    """The servers of a database, of which one at a time can be written to.

    Arguments:
        address: where they are.
        timeout: for a statement, and for a connection if the address does not say how long.

    Raises:
        SetupError: the address has an option that cannot be meant.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        self._arguments = _arguments(address, timeout)
        wanted = address.options.get("target_session_attrs", "read-write")
        if wanted not in _WANTED:
            raise SetupError(
                f"PAYSTREAM_DATABASE__URL: target_session_attrs must be one of {', '.join(_WANTED)}: paystream writes "
                "to its database; for a command that only reads, any will do"
            )
        self._condition = _WANTED[wanted]
        self._hosts = list(address.hosts) or [Host("")]

    async def connect(self) -> asyncpg.Connection:
        """Connect to the first server that can do what is wanted; the one that did last is asked first.

        Raises:
            NoServer: none can at present.
            PostgresError: one of them refuses who asks, or knows no such database.
        """
        waiting, asked, failed = list(self._hosts), dict[asyncio.Task[Any], Host](), dict[Host, BaseException]()
        try:
            while waiting or asked:
                if waiting:
                    host = waiting.pop(0)
                    asked[asyncio.create_task(self._connect(host))] = host
                head_start = _HEAD_START if waiting else None
                done, _ = await asyncio.wait(asked, timeout=head_start, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    error = each.exception()
                    if error is None:
                        host = asked.pop(each)
                        self._hosts = [host, *(other for other in self._hosts if other != host)]
                        return each.result()
                    if not is_down(error) or refusal(error) is not None:
                        raise error
                    failed[asked.pop(each)] = error
        finally:
            await _forget(asked)
        if len(failed) == 1:
            raise next(iter(failed.values()))
        raise NoServer("; ".join(f"{host}: {said(failed[host])}" for host in self._hosts))

    async def _connect(self, host: Host) -> asyncpg.Connection:
        connection = await asyncpg.connect(host=host.name or None, port=host.port, **self._arguments)
        try:
            if self._condition is not None and not await _holds(connection, self._condition):
                raise NoServer("it cannot be written to: a standby, or a server that was set to be read only")
        except BaseException:
            connection.terminate()
            raise
        return connection


async def is_itself(connection: asyncpg.Connection) -> bool:
    """Tell whether the server that the connection was made to is the one that answers, and no pooler in between.

    A pooler gives its clients numbers of its own, since a server's process serves one client after the other.
    """
    return await _holds(connection, f"pg_backend_pid() = {int(connection.get_server_pid() or 0)}")


async def _holds(connection: asyncpg.Connection, condition: str) -> bool:
    # A statement by itself, not prepared: behind a pooler the next one may be another server's.
    return bool(await connection.execute(f"SELECT 1 WHERE {condition}") == "SELECT 1")


async def _forget(asked: Mapping[asyncio.Task[Any], Host]) -> None:
    for each in asked:
        each.cancel()
    for found in await asyncio.gather(*asked, return_exceptions=True):
        if not isinstance(found, BaseException):
            found.terminate()


def _arguments(address: Address, timeout: float) -> dict[str, Any]:
    """Translate the options that PostgreSQL's own client, and so every example, has other names for than asyncpg."""
    options = address.options
    arguments: dict[str, Any] = {
        "user": address.user,
        "password": address.password,
        "database": address.database or None,
        "passfile": options.get("passfile"),
        "timeout": timeout,
        "command_timeout": timeout,
        # SQLAlchemy keeps statements by itself, where they may be kept.
        "statement_cache_size": 0,
    }
    mode = options.get("sslmode", options.get("ssl"))
    if mode is not None:
        if mode not in _SSL_MODES:
            raise SetupError(f"PAYSTREAM_DATABASE__URL: sslmode is not one of {', '.join(_SSL_MODES)}")
        arguments["ssl"] = mode
    if "application_name" in options:
        arguments["server_settings"] = {"application_name": options["application_name"]}
    seconds = options.get("connect_timeout")
    if seconds is not None:
        if not (seconds.isdecimal() and 0 < int(seconds) < _LONGEST_TIMEOUT):
            raise SetupError("PAYSTREAM_DATABASE__URL: connect_timeout is not a number of seconds")
        arguments["timeout"] = float(seconds)
    return arguments
