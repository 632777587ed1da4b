from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from support.databases import opened, settings_for

from streams.database import tables
from streams.database.engine import Database
from streams.database.schema import check_schema, schema_version, upgrade
from streams.failure.errors import DatabaseUnreachable, SetupError

TABLES = sorted(Path(tables.__file__).parent.glob("*tables.py"))


async def test_the_migrations_lead_to_the_tables_that_the_code_uses(database: Database) -> None:
    for module in TABLES:
        __import__(f"streams.database.{module.stem}")

    def differences(connection: Connection) -> object:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, tables.metadata)

    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []


async def test_an_empty_database_is_refused_and_the_command_is_named(empty_database_url: str) -> None:
    async with opened(empty_database_url) as database:
        with pytest.raises(SetupError, match=r"has no tables of paystream yet.*run 'paystream database upgrade'"):
            await check_schema(database)
        assert (await upgrade(database)).found is None
        await check_schema(database)


async def test_an_upgrade_of_what_is_up_to_date_does_nothing(database: Database) -> None:
    before = await upgrade(database)
    assert before.current
    assert (await schema_version(database)) == before


async def test_an_old_schema_is_refused_with_its_number(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    with pytest.raises(SetupError, match=r"has schema 0001, and schema .* is needed: run 'paystream database upgrade'"):
        await check_schema(database)


async def test_the_schema_of_a_newer_paystream_is_left_alone(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for step in (check_schema, upgrade):
        with pytest.raises(SetupError, match="a newer paystream has made"):
            await step(database)


async def test_two_that_upgrade_at_once_do_not_get_into_each_others_way(empty_database_url: str) -> None:
    async with opened(empty_database_url) as one, opened(empty_database_url) as other:
        await asyncio.gather(upgrade(one), upgrade(other))
        assert (await schema_version(one)).current


async def test_a_database_that_is_not_there_is_said_so_without_its_password(tmp_path: Path) -> None:
    urls = (f"postgresql://shop:secret@/shop?host={tmp_path}", f"sqlite:///{tmp_path}/missing/paystream.db")
    for url in urls:
        async with opened(url) as database:
            with pytest.raises(DatabaseUnreachable) as raised:
                await check_schema(database)
        assert "PAYSTREAM_DATABASE__URL" in str(raised.value)
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://shop@localhost/shop", "sqlite://", "sqlite:///:memory:"])
def test_a_url_that_cannot_be_used_names_the_setting(url: str) -> None:
    with pytest.raises(SetupError, match="PAYSTREAM_DATABASE__URL"):
        Database(settings_for(url))
