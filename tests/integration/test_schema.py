from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from support.databases import create_postgresql, opened, settings_for

from streams.database import tables
from streams.database.address import sqlite_url
from streams.database.engine import Database
from streams.database.schema import VERSION_TABLE, check_schema, schema_version, upgrade
from streams.failure.errors import DatabaseUnreachable, DependencyUnavailable, ExitStatus, SetupError
from streams.stores.stock import count_opening_stock, read_articles

TABLES = sorted(Path(tables.__file__).parent.glob("*tables.py"))


async def test_the_migrations_lead_to_the_tables_that_the_code_uses(database: Database) -> None:
    for module in TABLES:
        __import__(f"streams.database.{module.stem}")

    def differences(connection: Connection) -> object:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "version_table": VERSION_TABLE})
        return compare_metadata(context, tables.metadata)

    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []


async def test_an_empty_database_is_refused_and_the_command_is_named(empty_database_url: str) -> None:
    async with opened(empty_database_url) as database:
        database.create()
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
        await connection.execute(text("UPDATE paystream_version SET version_num = '0001'"))
    with pytest.raises(SetupError, match=r"has schema 0001, and schema .* is needed: run 'paystream database upgrade'"):
        await check_schema(database)


async def test_the_schema_of_a_newer_paystream_is_left_alone(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE paystream_version SET version_num = '9999'"))
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


async def test_a_sqlite_file_that_is_not_there_is_made_by_an_upgrade_and_by_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "paystream.db"
    async with opened(f"sqlite:///{file}") as database:
        with pytest.raises(SetupError, match=f"no file {file}: run 'paystream database upgrade'"):
            await check_schema(database)
        for using in (database.reading, database.transaction):
            with pytest.raises(DependencyUnavailable, match="no file"):
                async with using():
                    pass
        assert os.listdir(tmp_path) == []
        await upgrade(database)
        await check_schema(database)


async def test_looking_at_a_file_of_somebody_else_leaves_it_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE theirs (x)")
    before = file.read_bytes()
    async with opened(f"sqlite:///{file}") as database:
        with pytest.raises(SetupError, match="no tables of paystream yet"):
            await check_schema(database)
    assert file.read_bytes() == before


async def test_a_file_that_is_no_database_is_a_matter_of_the_set_up(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("Ask Kim about the invoices.\n" * 100)
    async with opened(f"sqlite:///{file}") as database:
        for step in (check_schema, upgrade):
            with pytest.raises(SetupError, match=r"something else than a SQLite database") as raised:
                await step(database)
            assert raised.value.exit_status == ExitStatus.CONFIGURATION
    assert file.read_text().startswith("Ask Kim")


async def test_the_tables_of_another_application_are_left_alone_and_named(empty_database_url: str) -> None:
    async with opened(empty_database_url) as database:
        database.create()
        async with database.transaction() as connection:
            await connection.execute(text("CREATE TABLE customers (id int)"))
        with pytest.raises(SetupError, match=r"(?s)customers.*something else has a table of that name"):
            await upgrade(database)
        assert (await schema_version(database)).found is None  # all of the way or not at all


async def test_the_version_of_another_application_is_not_taken_for_ours(empty_database_url: str) -> None:
    async with opened(empty_database_url) as database:
        database.create()
        async with database.transaction() as connection:
            await connection.execute(text("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"))
            await connection.execute(text("INSERT INTO alembic_version VALUES ('ae1027a6acf')"))
        assert (await upgrade(database)).found is None
        await check_schema(database)
        async with database.reading() as connection:
            assert (await connection.execute(text("SELECT * FROM alembic_version"))).scalar_one() == "ae1027a6acf"


async def test_a_user_without_rights_is_told_which(postgresql: str) -> None:
    url = await create_postgresql(postgresql)
    clerk = f"clerk_{uuid.uuid4().hex[:8]}"
    as_clerk = make_url(url).set(username=clerk).render_as_string(hide_password=False)
    async with opened(url) as owner, opened(as_clerk) as database:
        async with owner.transaction() as connection:
            await connection.execute(text(f"CREATE ROLE {clerk} LOGIN"))
            await connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
        with pytest.raises(SetupError, match=r"permission denied for schema public.*GRANT USAGE, CREATE"):
            await upgrade(database)
        await upgrade(owner)
        with pytest.raises(SetupError, match=r"permission denied for table paystream_version.*needs SELECT"):
            await check_schema(database)


@pytest.mark.parametrize("encoding", ["LATIN1", "EUC_KR", "SQL_ASCII"])
async def test_a_database_that_cannot_keep_every_name_is_refused_by_its_encoding(
    postgresql: str, encoding: str
) -> None:
    name = f"old_{uuid.uuid4().hex[:8]}"
    made = f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    async with opened(postgresql) as server, server.engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text(made))
    url = make_url(postgresql).set(database=name).render_as_string(hide_password=False)
    async with opened(url) as database:
        for step in (upgrade, check_schema):
            with pytest.raises(SetupError, match=rf"{name}\S* has the encoding {encoding}.*ENCODING 'UTF8'") as raised:
                await step(database)
            assert raised.value.exit_status == ExitStatus.CONFIGURATION
        async with database.reading() as connection:
            tables = text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            assert (await connection.execute(tables)).scalar_one() == 0


async def test_a_file_in_utf_16_keeps_every_name(tmp_path: Path) -> None:
    file = tmp_path / "wide.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA encoding = 'UTF-16le'")
        other.execute("CREATE TABLE theirs (x)")
    names = ["Ä€", "한국어", "𝄞 clef", "z", "\ufeffA"]
    async with opened(sqlite_url(file)) as database:
        await upgrade(database)
        await count_opening_stock(database, dict.fromkeys(names, 7))
        articles = {each.sku: each.on_hand for each in await read_articles(database)}
        assert articles == dict.fromkeys(names, 7)
        async with database.reading() as connection:
            assert (await connection.execute(text("PRAGMA encoding"))).scalar_one() == "UTF-16le"


async def test_a_wrong_password_and_a_database_that_is_not_there_are_matters_of_the_set_up(postgresql: str) -> None:
    missing = make_url(postgresql).set(database="nowhere").render_as_string(hide_password=False)
    for url, said in (
        (missing, "create it"),
        (postgresql.replace("postgres@", "nobody:secret@"), "the user or password"),
    ):
        async with opened(url) as database:
            with pytest.raises(SetupError, match=said) as raised:
                await check_schema(database)
        assert raised.value.exit_status == ExitStatus.CONFIGURATION
        assert "secret" not in str(raised.value)


_UPGRADE = """
import asyncio, streams
from streams.database.engine import Database
from streams.database.schema import check_schema, upgrade
from streams.settings import settings

async def main():
    database = Database(settings().database)
    await upgrade(database)
    await check_schema(database)
    await database.close()

asyncio.run(main())
print(streams.__file__)
"""


def test_paystream_may_be_installed_in_any_folder_and_its_database_lie_in_any(tmp_path: Path) -> None:
    folder = tmp_path / "50% off [1] #2? %(here)s é"
    shutil.copytree(Path(tables.__file__).parents[1], folder / "streams", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "a b" / "pay [x]#%20?.db"
    file.parent.mkdir()
    environment = {**os.environ, "PAYSTREAM_DATABASE__URL": sqlite_url(file), "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", _UPGRADE], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith(str(folder)), done.stderr
    assert file.stat().st_size > 0


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "mysql://shop@localhost/shop",
        "sqlite://",
        "sqlite://paystream.db",
        "sqlite://folder/paystream.db",
        "sqlite:///:memory:",
        "sqlite:///paystream.db?foo=1",
        "postgresql://shop@127.0.0.1/shop?foo=1",
        "postgresql://shop@127.0.0.1/shop?sslmode=bogus",
        "postgresql://shop@127.0.0.1/shop?sslmode=prefer&sslmode=require",
        "postgresql://shop@127.0.0.1/shop?connect_timeout=soon",
        "postgresql://shop@127.0.0.1/shop?connect_timeout=0",
        "postgresql://shop@127.0.0.1/shop?target_session_attrs=standby",
    ],
)
def test_a_url_that_cannot_be_used_names_the_setting(url: str) -> None:
    with pytest.raises(SetupError, match="PAYSTREAM_DATABASE__URL"):
        Database(settings_for(url))


async def test_options_that_libpq_has_other_names_for_are_translated(postgresql: str) -> None:
    url = f"{postgresql}&application_name=till-7&connect_timeout=3&sslmode=prefer"
    async with opened(url) as database, database.reading() as connection:
        assert (await connection.execute(text("SHOW application_name"))).scalar_one() == "till-7"


async def test_a_connection_is_given_up_after_the_time_that_the_url_says() -> None:
    clock = asyncio.get_running_loop().time
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://shop@127.0.0.1:{silent.getsockname()[1]}/shop?connect_timeout=1&sslmode=disable"
        began = clock()
        async with opened(url) as database:
            with pytest.raises(DatabaseUnreachable, match="no answer in time"):
                await check_schema(database)
    assert clock() - began < 5  # the setting is 10
