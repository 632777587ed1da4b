"""The schema: which version a database has, and bringing it to the one that this paystream needs.

Migrations are made with Alembic; each is a file in ``streams/database/migrations/versions``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alembic.command import upgrade as alembic_upgrade
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from streams.database.engine import Database
from streams.failure.errors import DatabaseUnreachable, DependencyUnavailable, SetupError

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
# Any number that nothing else in the database locks: the letters of "pays".
_ADVISORY_LOCK: Final = 0x70617973


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
        DatabaseUnreachable: it does not answer.
    """
    scripts = ScriptDirectory.from_config(_config())
    needed = scripts.get_current_head()
    assert needed is not None, "there are migrations"
    try:
        async with database.reading() as connection:
            found = await connection.run_sync(_revision)
    except DependencyUnavailable as error:
        raise DatabaseUnreachable(f"{error}; PAYSTREAM_DATABASE__URL says where it is") from error
    known = found is None or found in {script.revision for script in scripts.walk_revisions()}
    return SchemaVersion(found, needed, known)


async def check_schema(database: Database) -> None:
    """Make sure that the database has the schema that this paystream needs.

    Raises:
        SetupError: it has another; the message names the way out.
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
        SetupError: the database was made by a newer paystream.
        DatabaseUnreachable: it does not answer.
    """
    before = await schema_version(database)
    if not before.known:
        await check_schema(database)
    if not before.current:
        async with database.transaction() as connection:
            await connection.run_sync(_upgrade)
    return before


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        # Two that upgrade at once: the second waits, and then finds nothing to do. SQLite locks by itself.
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
    alembic_upgrade(_config(connection=connection), "head")


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config(**attributes: Any) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes.update(attributes)
    return config
