"""The stock on real databases: repeats, replays, lanes side by side, and the commands."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydantic import ValidationError
from support.agent import running, unique
from support.databases import opened, upgraded
from support.kafka import create_topic, produce
from support.payments import Raw
from support.placed import placed
from support.waiting import eventually

from agents.inventory import on_movement
from models.inventory import ADAPTER, StockLine, StockMovement
from streams.commands.inventory import inventory as command
from streams.database.engine import Database
from streams.database.in_database import InDatabase
from streams.database.offsets import seek
from streams.database.statements import packed, with_rows
from streams.failure.errors import ExitStatus
from streams.sandbox import Cluster
from streams.settings import settings
from streams.stores.article import Article
from streams.stores.stock import _FILLED_LINES, StockEffects, count_opening_stock, movements_applied, read_articles

NOW = datetime(2010, 12, 1, 8, 26, tzinfo=timezone.utc)
SKUS = [f"A{number:02}" for number in range(12)]


def movement(number: int, **pieces: int) -> StockMovement:
    lines = tuple(StockLine(sku, quantity) for sku, quantity in pieces.items())
    return StockMovement(f"pay-{number}:order-inventory", str(number), NOW, lines)


def movements(count: int, seed: int = 7) -> list[StockMovement]:
    chance = random.Random(seed)
    return [
        movement(number, **{sku: chance.randint(-3, 6) or 1 for sku in chance.sample(SKUS, 3)})
        for number in range(count)
    ]


async def apply(database: Database, effects: Sequence[StockMovement]) -> None:
    async with database.transaction() as connection:
        assert not await StockEffects().apply(connection, placed(effects))


async def figures(database: Database) -> list[Article]:
    articles = await read_articles(database)
    for each in articles:
        assert each.opening - each.on_hand + each.back_ordered == each.moved, each
        assert each.back_ordered == sum(line.quantity for line in each.open), each
    return articles


def moved_by(effects: Sequence[StockMovement]) -> Counter[str]:
    moved: Counter[str] = Counter()
    for each in effects:
        for line in each.lines:
            moved[line.sku] += line.quantity
    return moved


def comparable(article: Article) -> Article:
    return replace(article, changed={})


async def test_batches_do_what_single_movements_do_and_repeats_do_nothing(database: Database) -> None:
    everything = movements(200)
    await count_opening_stock(database, dict.fromkeys(SKUS, 20))
    for start in range(0, 200, 30):
        await apply(database, everything[start : start + 40])  # ten of each batch come again in the next
    after = await figures(database)
    by_hand = {sku: Article(sku) for sku in SKUS}
    for sku in SKUS:
        by_hand[sku].count(20)
    for each in everything:
        for line in each.lines:
            by_hand[line.sku].move(line.quantity, each.order_id)
    assert [comparable(each) for each in after] == [comparable(each) for each in by_hand.values()]
    await apply(database, everything)
    assert await figures(database) == after
    assert await movements_applied(database) == 200


@pytest.mark.parametrize("quantity", [2**31 * 10_000 + 1, -(2**31) * 10_000 - 1, True, 1.0, "1"])
def test_a_quantity_that_no_order_can_have_is_no_movement(quantity: object) -> None:
    body = json.loads(movement(1, A01=1).to_json())
    body["lines"][0]["quantity"] = quantity
    with pytest.raises(ValidationError):
        ADAPTER.validate_json(json.dumps(body))


async def test_filled_lines_are_found_by_their_key_however_many_there_are(database: Database) -> None:
    await apply(database, [movement(number, A01=1, A02=1) for number in range(2_000)])
    await count_opening_stock(database, {"A01": 1_500})
    one, two = await figures(database)
    assert (len(one.open), one.open[0].order_id, len(two.open)) == (500, "1500", 2_000)
    if database.dialect == "sqlite":
        async with database.reading() as connection:
            plan = await connection.execute(
                with_rows(connection, f"EXPLAIN QUERY PLAN {_FILLED_LINES}", sku=str, number=int), packed([])
            )
            assert "SCAN back_orders" not in [row.detail for row in plan]


async def test_lanes_that_move_the_same_articles_at_once_lose_nothing(database: Database) -> None:
    everything = movements(400)
    lanes = [everything[lane::4] for lane in range(4)]

    async def work(lane: list[StockMovement]) -> None:
        for start in range(0, len(lane), 10):
            await apply(database, lane[start : start + 10])

    await asyncio.gather(*(work(lane) for lane in lanes))
    assert {each.sku: each.moved for each in await figures(database)} == dict(moved_by(everything))


async def test_a_replay_from_the_beginning_through_real_lanes_changes_nothing(
    kafka: Cluster, database: Database
) -> None:
    topic, group = unique("moves"), unique("group")
    for name in (topic, topic + ".DLT"):
        await create_topic(kafka.bootstrap_servers, name, 2)
    everything = movements(300)
    await produce(
        kafka.bootstrap_servers,
        topic,
        [Raw(number % 2, each.order_id.encode(), each.to_json()) for number, each in enumerate(everything)],
    )

    finish = InDatabase(database, StockEffects())
    results = []
    for _ in range(2):
        async with running(kafka.bootstrap_servers, [topic], on_movement, group=group, finish=finish) as agent:
            tally = agent.source.meter.tally
            await eventually(lambda: tally.processed == 300, "all movements to be applied")  # noqa: B023
        results.append(await figures(database))
        assert await seek(database, group, topic, None, None)
    assert results[0] == results[1]
    assert {each.sku: each.moved for each in results[0]} == dict(moved_by(everything))


# -- the commands ------------------------------------------------------------------------------------


def run(url: str, *arguments: str | Path) -> Result:
    settings.cache_clear()
    environment = {"PAYSTREAM_DATABASE__URL": url, "COLUMNS": "120"}
    return CliRunner().invoke(command, [str(each) for each in arguments], env=environment)


def test_stock_is_loaded_and_shown_with_what_is_owed_to_whom(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "opening.csv"
    file.write_text("sku,quantity\nHEART,5\nSHEET,7\n")
    assert "2 articles, 12 pieces" in run(database_url, "load", file).output

    async def sell() -> None:
        async with opened(database_url) as database:
            await apply(database, [movement(1, HEART=8)])

    asyncio.run(sell())
    shown = run(database_url, "show", "HEART")
    assert "HEART: 3 owed to order 1" in shown.output
    assert "SHEET" not in shown.output
    assert "SHEET" not in run(database_url, "show", "--owed").output
    assert "SHEET" in run(database_url, "show").output
    nobody = run(database_url, "show", "HEART", "NOBODY")
    assert nobody.exit_code == ExitStatus.FAILED
    assert "nothing is known of NOBODY" in nobody.output


def test_the_name_of_an_article_is_shown_as_it_is(database_url: str, tmp_path: Path) -> None:
    asyncio.run(upgraded(database_url))
    (tmp_path / "opening.csv").write_text("sku,quantity\n[/x],5\n[red]x,5\n")
    assert run(database_url, "load", tmp_path / "opening.csv").exit_code == 0
    shown = run(database_url, "show").output
    assert "[/x]" in shown
    assert "[red]x" in shown


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("HEART,5\n", ":1: the first line must be: sku,quantity"),
        ("sku,quantity\nHEART,-5\n", ":2: column 'quantity': expected a whole number"),
        ("sku,quantity\nHEART,5.5\n", ":2: column 'quantity': expected a whole number"),
        ("sku,quantity\nHEART,1000000000001\n", ":2: column 'quantity': expected a whole number of pieces, from 0 to"),
        (f"sku,quantity\nHEART,{'9' * 5000}\n", ":2: column 'quantity': expected a whole number of pieces, from 0 to"),
        ('sku,quantity\nHEART,5\n"LANTERN,5\n', ":3: no CSV: a quote is not closed"),
        ("sku,quantity\n,5\n", ":2: column 'sku': expected the name of an article"),
        ("sku,quantity\nHEART,5,6\n", ":2: 3 columns"),
        ("sku,quantity\nHEART,5\nHEART,6\n", ":3: column 'sku': the article was there before"),
    ],
)
def test_a_file_that_is_wrong_is_refused_whole_with_the_place(tmp_path: Path, text: str, place: str) -> None:
    file = tmp_path / "opening.csv"
    file.write_text(text)
    result = run("sqlite:///nowhere/at/all.db", "load", file)
    assert result.exit_code == ExitStatus.BAD_INPUT
    assert f"opening.csv{place}" in result.output
