"""``paystream database`` on real databases."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text
from support.databases import opened

from streams.commands.database import database as command
from streams.database.statements import insert_for
from streams.database.tables import consumer_offsets
from streams.failure.errors import ExitStatus
from streams.settings import settings
from streams.stores import pruning


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


async def _see(url: str, **seen_at: int) -> None:
    async with opened(url) as database, database.transaction() as connection:
        for name, at in seen_at.items():
            await connection.execute(text(f"INSERT INTO sales_facts (fact_id, seen_at) VALUES ('{name}', {at})"))
            await connection.execute(
                text(f"INSERT INTO stock_movements (movement_id, seen_at) VALUES ('{name}', {at})")
            )


async def _facts(url: str) -> list[str]:
    async with opened(url) as database, database.reading() as connection:
        return sorted((await connection.execute(text("SELECT fact_id FROM sales_facts"))).scalars())


def test_what_was_done_longer_ago_than_topics_remember_is_forgotten(database_url: str) -> None:
    now = int(time.time())
    asyncio.run(_see(database_url, old=now - 31 * 86_400, new=now - 29 * 86_400))
    pruned = run(database_url, "prune", "--older-than", "30")
    assert pruned.exit_code == 0, pruned.output
    assert "sales_facts: 1 rows deleted" in pruned.output
    assert "stock_movements: 1 rows deleted" in pruned.output
    assert asyncio.run(_facts(database_url)) == ["new"]


async def test_rows_are_forgotten_in_portions_until_none_is_left(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_AT_ONCE", 3)
    for count in (0, 3, 7):
        await _see(database_url, **{f"old{number}": 1 for number in range(count)}, new=3)
        async with opened(database_url) as database:
            deleted = await pruning.prune(database, 2)
            assert deleted == {"stock_movements": count, "sales_facts": count, "notifications": 0}
            assert (await pruning.prune(database, 4))["sales_facts"] == 1


def test_what_a_replay_may_still_bring_is_not_forgotten(database_url: str) -> None:
    asyncio.run(_see(database_url, old=0))
    for days in ("7", "28"):
        refused = run(database_url, "prune", "--older-than", days)
        assert refused.exit_code == 2
        assert "must be more than 28" in refused.output
        assert "PAYSTREAM_TOPICS__RETENTION" in refused.output
    assert asyncio.run(_facts(database_url)) == ["old"]


def test_a_lane_that_is_not_there_and_an_offset_that_is_none_are_refused(database_url: str) -> None:
    nobody = run(database_url, "seek", "paystream.inventory", "moves", "0", "--partition", "0")
    assert nobody.exit_code == ExitStatus.FAILED
    assert "paystream database offsets" in nobody.output
    assert run(database_url, "seek", "paystream.inventory", "moves", "-5").exit_code == 2


def test_an_offset_or_a_partition_that_kafka_cannot_have_is_refused_and_the_highest_is_not(database_url: str) -> None:
    asyncio.run(_take_lanes(database_url, zero=1200))
    seek = ("seek", "paystream.inventory", "moves")
    for beyond in (str(2**63), "9" * 20, "9" * 5000):
        assert run(database_url, *seek, beyond).exit_code == 2
    assert run(database_url, *seek, "0", "--partition", str(2**31)).exit_code == 2
    assert f"{2**63 - 1:,}" in run(database_url, *seek, str(2**63 - 1), "--partition", "0").output
    everywhere = run(database_url, *seek, "5")
    assert everywhere.exit_code == 2
    assert "--partition" in everywhere.output, "an offset means something in one partition only"


@pytest.mark.parametrize("arguments", [("check",), ("offsets",), ("seek", "paystream.inventory", "moves", "beginning")])
def test_no_command_but_the_upgrade_makes_a_file(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = run(f"sqlite:///{tmp_path}/paystream.db", *arguments)
    assert result.exit_code == ExitStatus.CONFIGURATION
    assert "run 'paystream database upgrade'" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_is_gone_is_named_in_one_line(database_url: str) -> None:
    async def drop() -> None:
        async with opened(database_url) as database, database.transaction() as connection:
            await connection.execute(text("DROP TABLE consumer_offsets"))

    asyncio.run(drop())
    result = run(database_url, "offsets")
    assert result.exit_code == ExitStatus.CONFIGURATION
    assert "consumer_offsets" in result.output
    assert len(result.output.splitlines()) == 1
