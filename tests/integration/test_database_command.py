"""``paystream database`` on real databases."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result
from support.databases import opened

from streams.commands.database import database as command
from streams.database.statements import insert_for
from streams.database.tables import consumer_offsets
from streams.failure.errors import ExitStatus
from streams.settings import settings


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    settings.cache_clear()
    yield
    settings.cache_clear()


def run(url: str, *arguments: str) -> Result:
    settings.cache_clear()
    return CliRunner().invoke(command, arguments, env={"PAYSTREAM_DATABASE__URL": url, "COLUMNS": "120"})


async def _take_lanes(url: str, **offsets: int | None) -> None:
    async with opened(url) as database, database.transaction() as connection:
        rows = [
            {
                "consumer_group": "paystream.inventory",
                "topic": "moves",
                "partition": number,
                "next_offset": each,
                "epoch": 1,
            }
            for number, each in enumerate(offsets.values())
        ]
        await connection.execute(insert_for(connection, consumer_offsets), rows)


def test_an_upgrade_says_what_it_has_done_and_the_second_one_that_there_was_nothing_to_do(
    empty_database_url: str,
) -> None:
    assert run(empty_database_url, "check").exit_code == ExitStatus.CONFIGURATION
    first, second = run(empty_database_url, "upgrade"), run(empty_database_url, "upgrade")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "(before: none)" in first.output
    assert "is up to date" in second.output
    assert run(empty_database_url, "check").exit_code == 0


def test_a_database_that_does_not_answer_has_a_status_of_its_own() -> None:
    result = run("postgresql://shop:secret@127.0.0.1:1/shop", "upgrade")
    assert result.exit_code == ExitStatus.UNREACHABLE
    assert "secret" not in result.output
    assert "PAYSTREAM_DATABASE__URL" in result.output


def test_lanes_are_listed_and_sent_elsewhere(database_url: str) -> None:
    asyncio.run(_take_lanes(database_url, zero=1200, one=None))
    listing = run(database_url, "offsets").output
    assert "1,200" in listing
    assert "beginning" in listing
    moved = run(database_url, "seek", "paystream.inventory", "moves", "40", "--partition", "1")
    assert "40" in moved.output
    assert "1,200" not in moved.output
    assert run(database_url, "seek", "paystream.inventory", "moves", "beginning").output.count("beginning") == 2


def test_a_lane_that_is_not_there_and_an_offset_that_is_none_are_refused(database_url: str) -> None:
    nobody = run(database_url, "seek", "paystream.inventory", "moves", "0")
    assert nobody.exit_code == ExitStatus.FAILED
    assert "paystream database offsets" in nobody.output
    assert run(database_url, "seek", "paystream.inventory", "moves", "-5").exit_code == 2
