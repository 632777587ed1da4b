"""What an error of the database means: it is down, the transaction got in another's way, or the statement is wrong."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Final

from asyncpg import InterfaceError, PostgresError
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import InterfaceError as SQLAlchemyInterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout

# Source: PostgreSQL's documentation, appendix A, "PostgreSQL Error Codes".
_DOWN_CLASSES: Final = (
    "08",  # connection exception
    "28",  # the password is refused: nothing that a record could help
    "53",  # out of memory, disk or connections
    "57",  # an operator, a crash or a start-up in the way; also a statement that took too long
    "58",  # an error of the system around it
    "3D",  # no such database
    "55000",  # it does not accept connections
    "25006",  # read only: a standby, or a server that is being failed over
    "55P03",  # a lock that could not be had in time
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


def is_down(error: BaseException) -> bool:
    """Tell whether the database cannot be used at present, whatever the statement."""
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


def is_conflict(error: BaseException) -> bool:
    """Tell whether the transaction was rolled back for another's sake, and may just be run again."""
    return _sqlstate(error) in _CONFLICTS


def is_database_error(error: BaseException) -> bool:
    """Tell whether the error comes from the database or its client at all."""
    return isinstance(error, (SQLAlchemyError, PostgresError, sqlite3.Error))


def said(error: BaseException) -> str:
    """Name the error without the statement and its parameters, which are payload."""
    original = getattr(error, "orig", None) or error
    # asyncpg's errors come wrapped in the DBAPI's, which SQLAlchemy makes for it.
    original = original.__cause__ or original
    state = _sqlstate(error)
    if isinstance(original, sqlite3.Error) or is_down(error):
        return f"{type(original).__name__} ({original})"
    return type(original).__name__ + (f" ({state})" if state else "")


def _sqlstate(error: BaseException) -> str | None:
    for candidate in (error, getattr(error, "orig", None)):
        state = getattr(candidate, "sqlstate", None)
        if isinstance(state, str):
            return state
    return None
