"""What an error of the database means: it is down, the transaction got in another's way, or the statement is wrong."""

from __future__ import annotations

import asyncio
import enum
import sqlite3
from typing import Final

from asyncpg import ClientConfigurationError, InterfaceError, PostgresError
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import InterfaceError as SQLAlchemyInterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from streams.failure.open_files import shortage

# Source: PostgreSQL's documentation, appendix A, "PostgreSQL Error Codes".
_DOWN_CLASSES: Final = (
    "08",  # connection exception; also whatever a pooler such as pgbouncer has to say
    "28",  # the password is refused: nothing that a record could help
    "53",  # out of memory, disk or connections
    "57",  # an operator, a crash or a start-up in the way; also a statement that took too long
    "58",  # an error of the system around it
    "3D",  # no such database
    "25P03",  # a transaction was idle for longer than the server allows, so it hung up
    "25P04",  # or took longer
    "55000",  # it does not accept connections
    "25006",  # read only: a standby, or a server that is being failed over
    "55P03",  # a lock that could not be had in time
)
# Who answers one of these is the right server, and what is connected to it may stay so.
_IN_SERVICE: Final = (
    "53300",  # it has as many connections as it allows: those that there are, are worth the more
    "55P03",
    "57014",  # a statement took too long, or somebody has cancelled it
)
_CONFLICTS: Final = (
    "40001",  # serialization failure
    "40P01",  # deadlock
)
# Source: sqlite.org/rescode.html. 1 is an error of the statement; the codes below are the file's and the system's.
_SQLITE_DOWN: Final = (
    "locked",
    "busy",
    "readonly",
    "disk i/o",
    "unable to open",
    "full",
    "malformed",
    "not a database",
)


class Refusal(enum.Enum):
    """Why a database will not do what every paystream asks of it; somebody has to change something about it."""

    FORBIDDEN = "42501"
    NO_SUCH_TABLE = "42P01"
    TABLE_EXISTS = "42P07"
    LOGIN = "28P01"
    NO_SUCH_DATABASE = "3D000"
    STATEMENT_OF_ANOTHER = "42P05"
    NO_DATABASE = "file is not a database"


_ALSO: Final = {
    "28000": Refusal.LOGIN,
    "26000": Refusal.STATEMENT_OF_ANOTHER,
}
_SQLITE_REFUSALS: Final = {
    "no such table": Refusal.NO_SUCH_TABLE,
    "already exists": Refusal.TABLE_EXISTS,
    "not a database": Refusal.NO_DATABASE,
}


class NoServer(ConnectionError):
    """None of the servers can be used at present. The message says why not, and repeats no secret."""


def is_down(error: BaseException) -> bool:
    """Tell whether the database cannot be used at present, whatever the statement."""
    if is_misuse(error):
        return False
    if isinstance(error, (PoolTimeout, OSError, asyncio.TimeoutError, InterfaceError, SQLAlchemyInterfaceError)):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    state = _sqlstate(error)
    if state is not None:
        return state.startswith(_DOWN_CLASSES)
    if isinstance(error, (OperationalError, sqlite3.OperationalError, sqlite3.DatabaseError, DBAPIError)):
        text = str(getattr(error, "orig", None) or error).lower()
        return any(part in text for part in _SQLITE_DOWN)
    return False


def is_lost(error: BaseException) -> bool:
    """Tell whether the server cannot do its work, or cannot be heard: another may have taken its place.

    What is connected to it would be told the same for ever, or nothing.
    """
    if not is_down(error) or isinstance(error, PoolTimeout) or is_locked(error):
        return False
    return _sqlstate(error) not in _IN_SERVICE


def is_misuse(error: BaseException) -> bool:
    """Tell whether PostgreSQL's client was asked for something that no server would be asked for.

    An option that contradicts another, a value that does not fit its column: waiting helps neither.
    """
    # asyncpg has both as interface errors, and as value errors what is its caller's fault.
    original = _original(error)
    return isinstance(original, InterfaceError) and isinstance(original, ValueError)


def is_locked(error: BaseException) -> bool:
    """Tell whether somebody else has SQLite's file at present."""
    original = _original(error)
    return isinstance(original, sqlite3.OperationalError) and any(
        part in str(original).lower() for part in ("locked", "busy")
    )


def refusal(error: BaseException | None) -> Refusal | None:
    """Tell what somebody has to change about the database; None if that is not what is wrong."""
    if error is None:
        return None
    original = _original(error)
    if isinstance(original, sqlite3.Error):
        said_by_it = str(original).lower()
        return next((kind for part, kind in _SQLITE_REFUSALS.items() if part in said_by_it), None)
    state = _sqlstate(error)
    return _ALSO.get(state or "") or next((kind for kind in Refusal if kind.value == state), None)


def is_conflict(error: BaseException) -> bool:
    """Tell whether the transaction was rolled back for another's sake, and may just be run again."""
    return _sqlstate(error) in _CONFLICTS


def is_database_error(error: BaseException) -> bool:
    """Tell whether the error comes from the database or its client at all."""
    return isinstance(error, (SQLAlchemyError, PostgresError, InterfaceError, sqlite3.Error))


def said(error: BaseException) -> str:
    """Name the error without the statement and its parameters, which are payload."""
    original, state = _original(error), _sqlstate(error)
    if is_down(error) and (short := shortage(error)):
        return short  # SQLite says that it is "unable to open database file", and PostgreSQL's client likewise
    if isinstance(original, (asyncio.CancelledError, asyncio.TimeoutError)):
        return "no answer in time"
    if isinstance(original, NoServer):
        return str(original)
    name, words = type(original).__name__, str(original).partition("\n")[0]
    if isinstance(original, (sqlite3.Error, ClientConfigurationError)) or is_down(error):
        return f"{name} ({words})"
    if state is None:
        return name
    # The server's words about a refusal name a table or a schema, and no value.
    return f"{name} ({state}: {words})" if refusal(error) is not None else f"{name} ({state})"


def _original(error: BaseException) -> BaseException:
    original = getattr(error, "orig", None) or error
    # asyncpg's errors come wrapped in the DBAPI's, which SQLAlchemy makes for it.
    return original.__cause__ or original


def _sqlstate(error: BaseException) -> str | None:
    for candidate in (error, getattr(error, "orig", None)):
        state = getattr(candidate, "sqlstate", None)
        if isinstance(state, str):
            return state
    return None
