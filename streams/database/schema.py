"""The schema: which version a database has, and bringing it to the one that this paystream needs.

Migrations are made with Alembic; each is a file in ``streams/database/migrations/versions``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alembic.command import upgrade as alembic_upgrade
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from streams.database.engine import DEPENDENCY, Database
from streams.database.trouble import Refusal, is_database_error, refusal, said
from streams.failure.errors import DatabaseUnreachable, DependencyUnavailable, SetupError

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
# Names and addresses are of any script. SQL_ASCII would take them, and is refused with the others: it checks nothing,
# so what somebody else writes may not be readable, and it counts bytes where columns are to count characters.
_ENCODING: Final = "UTF8"
# Any number that nothing else in the database locks: the letters of "pays".
_ADVISORY_LOCK: Final = 0x70617973
# Not Alembic's own name, which another application in the same database may have taken.
VERSION_TABLE: Final = "paystream_version"
"""Where the database's version is written down."""

_WAYS_OUT: Final = {
    Refusal.FORBIDDEN: (
        "the user of PAYSTREAM_DATABASE__URL lacks a right: 'paystream database upgrade' needs to create tables "
        "(GRANT USAGE, CREATE ON SCHEMA), all else needs SELECT, INSERT, UPDATE and DELETE on paystream's tables"
    ),
    Refusal.NO_SUCH_TABLE: (
        "a table that paystream had made is gone: restore the database, or have 'paystream database upgrade' prepare "
        "an empty one"
    ),
    Refusal.TABLE_EXISTS: (
        "something else has a table of that name there: give paystream a database, or a schema in its user's "
        "search_path, of its own"
    ),
    Refusal.LOGIN: "the user or password of PAYSTREAM_DATABASE__URL is wrong, or the server lets nobody in from here",
    Refusal.NO_SUCH_DATABASE: "create it (CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0), or name another in "
    "PAYSTREAM_DATABASE__URL",
    Refusal.STATEMENT_OF_ANOTHER: "a pooler in between shares connections and their statements: set "
    "PAYSTREAM_DATABASE__PREPARED_STATEMENTS=false",
    Refusal.NO_DATABASE: "the file is something else than a SQLite database: PAYSTREAM_DATABASE__URL says where it is",
}


# It tells at each start which database it talks to.
logging.getLogger("alembic").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """Which version of the schema there is, and which is needed.

    Attributes:
        found: the database's; None if it has no tables of ours.
        needed: the newest one that this paystream knows.
        known: whether this paystream knows `found`.
    """

    found: str | None
    needed: str
    known: bool

    @property
    def current(self) -> bool:
        """Whether they are the same."""
        return self.found == self.needed


async def schema_version(database: Database) -> SchemaVersion:
    """Look which version of the schema the database has.

    Raises:
        SetupError: it is a SQLite file that is not there, cannot keep all text, or refuses to say.
        DatabaseUnreachable: it does not answer.
    """
    if database.missing:
        raise SetupError(
            f"there is no file {database.file}: run 'paystream database upgrade', which makes it, or say in "
            "PAYSTREAM_DATABASE__URL where it is"
        )
    scripts = ScriptDirectory.from_config(_config())
    needed = scripts.get_current_head()
    assert needed is not None, "there are migrations"
    with explaining(database):
        async with database.reading() as connection:
            await _check_encoding(connection, database)
            found = await connection.run_sync(_revision)
    known = found is None or found in {script.revision for script in scripts.walk_revisions()}
    return SchemaVersion(found, needed, known)


async def _check_encoding(connection: AsyncConnection, database: Database) -> None:
    # SQLite's UTF-16 keeps whatever its UTF-8 does, and its client speaks UTF-8 with either.
    if database.dialect == "sqlite":
        return
    encoding = (await connection.execute(text("SHOW server_encoding"))).scalar_one()
    if encoding != _ENCODING:
        raise SetupError(
            f"the database {database.name} has the encoding {encoding}, in which not every name can be kept; paystream "
            f"needs {_ENCODING}: create another (CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0) and name it in "
            "PAYSTREAM_DATABASE__URL; what is in this one comes along by pg_dump --encoding=UTF8"
        )


async def check_schema(database: Database) -> None:
    """Make sure that the database has the schema that this paystream needs.

    Raises:
        SetupError: it has another, or refuses to say; the message names the way out.
        DatabaseUnreachable: it does not answer.
    """
    version = await schema_version(database)
    if version.current:
        return
    if not version.known:
        raise SetupError(
            f"the database {database.name} has schema {version.found}, which a newer paystream has made; this one "
            f"knows {version.needed}: install the newer one"
        )
    has = f"has schema {version.found}" if version.found else "has no tables of paystream yet"
    raise SetupError(
        f"the database {database.name} {has}, and schema {version.needed} is needed: run 'paystream database upgrade'"
    )


async def upgrade(database: Database) -> SchemaVersion:
    """Bring the schema to the newest version, all of the way or not at all; return what there was before.

    Raises:
        SetupError: the database was made by a newer paystream, or refuses; the message names the way out.
        DatabaseUnreachable: it does not answer, or somebody else has it for too long.
    """
    with explaining(database):
        database.create()
    before = await schema_version(database)
    if not before.known:
        await check_schema(database)
    if not before.current:
        with explaining(database):
            async with database.transaction() as connection:
                await connection.run_sync(_upgrade)
    return before


@contextmanager
def explaining(database: Database) -> Iterator[None]:
    """Make of the database's errors what a command or a worker that starts can end with.

    Raises:
        SetupError: the database refuses; the message says what, and names the way out if there is one.
        DatabaseUnreachable: it does not answer.
    """
    try:
        yield
    except DependencyUnavailable as error:
        if error.dependency != DEPENDENCY:
            raise
        kind = refusal(error.__cause__)
        if kind is not None:
            raise SetupError(f"{error.reason}: {_WAYS_OUT[kind]}") from error
        raise DatabaseUnreachable(f"{error}; PAYSTREAM_DATABASE__URL says where it is") from error
    except Exception as error:
        if not is_database_error(error):
            raise
        kind = refusal(error)
        way_out = f": {_WAYS_OUT[kind]}" if kind is not None else ""
        raise SetupError(f"the database {database.name} refuses: {said(error)}{way_out}") from error


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        # Two that upgrade at once: the second waits, and then finds nothing to do. SQLite locks by itself.
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
    alembic_upgrade(_config(connection=connection, version_table=VERSION_TABLE), "head")


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


def _config(**attributes: Any) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes.update(attributes)
    return config
