from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from asyncpg import ClientConfigurationError, InterfaceError
from asyncpg.exceptions._base import DataError as ClientDataError
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.exc import InterfaceError as SQLAlchemyInterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from streams.database.trouble import (
    NoServer,
    Refusal,
    is_conflict,
    is_database_error,
    is_down,
    is_locked,
    is_lost,
    is_misuse,
    refusal,
    said,
)


class Refused(Exception):
    """As PostgreSQL's driver reports what the server says."""

    def __init__(self, state: str, words: str = "a value that is private") -> None:
        super().__init__(words)
        self.sqlstate = state


def wrapped(error: Exception, kind: type[DBAPIError] = DBAPIError) -> DBAPIError:
    return kind("INSERT …", {"email": "private"}, error)


@pytest.mark.parametrize("state", ["08006", "28P01", "53300", "57P01", "57014", "3D000", "25006", "55P03", "55000"])
def test_a_server_that_cannot_be_used_is_down_whatever_the_statement(state: str) -> None:
    assert is_down(wrapped(Refused(state)))
    assert not is_conflict(wrapped(Refused(state)))


@pytest.mark.parametrize(
    "error",
    [
        *(
            wrapped(Refused(state))
            for state in ("25006", "57P01", "57P02", "57P03", "57P05", "08006", "53100", "55000")
        ),
        *(wrapped(Refused(state)) for state in ("28P01", "3D000", "25P03", "58030")),
        asyncio.TimeoutError(),
        ConnectionRefusedError(111, "refused"),
        NoServer("db: it cannot be written to"),
        wrapped(sqlite3.OperationalError("attempt to write a readonly database"), OperationalError),
        wrapped(sqlite3.DatabaseError("database disk image is malformed"), OperationalError),
    ],
)
def test_what_says_that_the_server_is_the_wrong_one_costs_all_connections(error: Exception) -> None:
    assert is_lost(error)
    assert is_down(error)


@pytest.mark.parametrize(
    "error",
    [
        *(wrapped(Refused(state)) for state in ("53300", "57014", "55P03")),
        PoolTimeout("none free"),
        wrapped(sqlite3.OperationalError("database is locked"), OperationalError),
    ],
)
def test_what_the_right_server_says_about_one_statement_or_one_connection_costs_no_other(error: Exception) -> None:
    assert not is_lost(error)
    assert is_down(error)


@pytest.mark.parametrize("state", ["40001", "40P01", "23505", "42P01"])
def test_what_is_no_outage_costs_no_connection(state: str) -> None:
    assert not is_lost(wrapped(Refused(state)))


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("28P01", Refusal.LOGIN),
        ("28000", Refusal.LOGIN),
        ("3D000", Refusal.NO_SUCH_DATABASE),
        ("42P05", Refusal.STATEMENT_OF_ANOTHER),
        ("26000", Refusal.STATEMENT_OF_ANOTHER),
    ],
)
def test_what_somebody_has_to_change_is_told_from_what_passes(state: str, kind: Refusal) -> None:
    assert refusal(wrapped(Refused(state))) is kind


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_a_transaction_in_anothers_way_is_a_conflict_and_not_an_outage(state: str) -> None:
    assert is_conflict(wrapped(Refused(state)))
    assert not is_down(wrapped(Refused(state)))


@pytest.mark.parametrize("state", ["23505", "22003", "42601"])
def test_a_statement_that_is_refused_is_neither_and_does_not_quote_its_values(state: str) -> None:
    error = wrapped(Refused(state), IntegrityError)
    assert (is_down(error), is_conflict(error), is_database_error(error)) == (False, False, True)
    assert "private" not in said(error)
    assert state in said(error)


@pytest.mark.parametrize("kind", [Refusal.FORBIDDEN, Refusal.NO_SUCH_TABLE, Refusal.TABLE_EXISTS])
def test_a_right_or_a_table_that_is_missing_is_named_in_the_first_line_of_the_servers_words(kind: Refusal) -> None:
    error = wrapped(Refused(kind.value, "permission denied for table stock\nDETAIL: private"), ProgrammingError)
    assert (refusal(error), is_down(error)) == (kind, False)
    assert said(error) == f"Refused ({kind.value}: permission denied for table stock)"


@pytest.mark.parametrize("kind", [ClientConfigurationError, ClientDataError])
def test_what_no_server_was_asked_for_is_no_outage(kind: type[InterfaceError]) -> None:
    driver = Exception("as SQLAlchemy wraps it")
    driver.__cause__ = kind("private")
    for error in (kind("private"), wrapped(driver, SQLAlchemyInterfaceError)):
        assert (is_misuse(error), is_down(error), is_database_error(error)) == (True, False, True)
    assert is_down(InterfaceError("connection is closed"))
    assert "private" not in said(ClientDataError("private"))


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError(111, "refused"), asyncio.TimeoutError(), PoolTimeout("none free")]
)
def test_what_keeps_a_client_from_connecting_is_an_outage(error: Exception) -> None:
    assert is_down(error)


def test_a_locked_sqlite_file_is_an_outage_and_a_missing_table_is_not(tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "file.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    other = sqlite3.connect(tmp_path / "file.db", timeout=0)
    with pytest.raises(sqlite3.OperationalError) as locked:
        other.execute("CREATE TABLE t (x)")
    holder.rollback()
    with pytest.raises(sqlite3.OperationalError) as missing:
        other.execute("SELECT * FROM nowhere")
    holder.close()
    other.close()
    for error, is_it in ((locked.value, True), (missing.value, False)):
        assert is_down(wrapped(error, OperationalError)) is is_it
        assert is_locked(wrapped(error, OperationalError)) is is_it
    assert refusal(wrapped(missing.value, OperationalError)) is Refusal.NO_SUCH_TABLE


def test_a_defect_in_our_own_code_is_no_matter_of_the_database() -> None:
    assert not is_down(KeyError("sku"))
    assert not is_database_error(KeyError("sku"))
    assert is_database_error(wrapped(Refused("42P01"), ProgrammingError))
