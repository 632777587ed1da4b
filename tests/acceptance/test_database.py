"""A worker and its database: what it refuses to start on, and what it does while the database is away."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text
from support.databases import make_url_of, opened, settings_for, upgraded
from support.kafka import produce
from support.payments import Raw
from support.requests import REQUEST
from support.waiting import eventually
from support.worker import Crew

from models.inventory import StockLine, StockMovement
from streams.database.engine import Database
from streams.stores.stock import movements_applied, read_articles
from streams.topics import INVENTORY_MOVEMENTS

AGENTS = ("agents.inventory",)


@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        ("sqlite:///{folder}/empty.db", 78, "run 'paystream database upgrade'"),
        ("postgresql://shop:secret@127.0.0.1:1/shop", 69, "PAYSTREAM_DATABASE__URL"),
        ("mysql://shop:secret@127.0.0.1/shop", 78, "PAYSTREAM_DATABASE__URL"),
    ],
    ids=["no tables", "nothing answers", "another database"],
)
async def test_a_worker_that_cannot_use_its_database_says_what_to_do_and_ends(
    crew: Crew, tmp_path: Path, url: str, status: int, said: str
) -> None:
    worker = crew.hire("worker", agents=AGENTS, DATABASE__URL=url.format(folder=tmp_path)).start()
    assert await worker.ended() == status
    assert said in worker.said()
    assert "secret" not in worker.said()


async def test_a_worker_does_not_start_on_a_database_that_cannot_keep_every_name(crew: Crew, postgresql: str) -> None:
    made = "CREATE DATABASE shop_in_latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    async with opened(postgresql) as server, server.engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text(made))
    url = postgresql.replace("/postgres?", "/shop_in_latin?")
    worker = crew.hire("worker", agents=AGENTS, DATABASE__URL=url).start()
    assert await worker.ended() == 78
    assert "has the encoding LATIN1" in worker.said()


@pytest.mark.parametrize(
    ("agent", "chosen", "longer_than"),
    [
        ("notifications", {"FAILURE__HANDLER_TIMEOUT": "50"}, "the 50.2 s that"),
        ("notifications", {"DELIVERY__CONCURRENCY": "16"}, "the 200.8 s that"),
        ("notifications", {"NOTIFICATIONS__WEBHOOK_TIMEOUT": "90"}, "the 90.2 s that"),
        ("notifications", {"NOTIFICATIONS__RATE_PER_HOST": "0.1"}, "the 90 s that"),
        ("platform", {"PLATFORM__API_TIMEOUT": "60"}, "PAYSTREAM_PLATFORM__API_TIMEOUT"),
    ],
    ids=["a letter", "behind other letters", "a webhook", "in turn", "the API"],
)
async def test_what_could_be_cut_off_by_its_handlers_time_limit_is_a_wrong_setting(
    crew: Crew, tmp_path: Path, agent: str, chosen: dict[str, str], longer_than: str
) -> None:
    url = await upgraded(make_url_of("sqlite", tmp_path, None))
    http = {"PLATFORM__SINK": "http", "PLATFORM__API_URL": "http://127.0.0.1:1/"}
    worker = crew.hire("worker", agents=[f"agents.{agent}"], DATABASE__URL=url, **http, **chosen).start()
    assert await worker.ended() == 78
    assert f"PAYSTREAM_FAILURE__HANDLER_TIMEOUT must be longer than {longer_than}" in worker.said()


async def test_an_agent_without_effects_needs_no_database(crew: Crew) -> None:
    worker = await crew.hire("worker", DATABASE__URL="postgresql://shop@127.0.0.1:1/shop").start().ready()
    assert await worker.terminate() == 0


async def test_a_worker_whose_database_is_gone_for_a_while_is_not_ready_and_then_goes_on(
    crew: Crew, tmp_path: Path
) -> None:
    url = await upgraded(make_url_of("sqlite", tmp_path, None))
    worker = crew.hire(
        "worker", agents=AGENTS, DATABASE__URL=url, DATABASE__TIMEOUT="0.3", FAILURE__PAUSE_INTERVAL="0.3"
    )
    await worker.start().ready()
    holder = Database(settings_for(url))
    movements = [
        StockMovement(f"pay-{number}:order-inventory", f"{number}", REQUEST.occurred_at, (StockLine("HEART", 2),))
        for number in range(100)
    ]
    async with holder.transaction():  # SQLite has one writer, and this is it
        await produce(crew.servers, INVENTORY_MOVEMENTS, [Raw(0, b"k", movement.to_json()) for movement in movements])
        await eventually(lambda: b"database" in worker.fetch("/health/ready/")[1], "the worker to be unready")
        assert worker.fetch("/health/ready/")[0] == 503
        assert worker.fetch("/health/live/")[0] == 200
    await holder.close()
    async with opened(url) as database:

        async def done() -> bool:
            return await movements_applied(database) == 100

        await eventually(done, "the worker to go on")
        (article,) = await read_articles(database)
    assert (article.moved, article.back_ordered) == (200, 200)
    assert await worker.terminate() == 0
