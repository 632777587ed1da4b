"""Ids in the database: events of two kinds with one id, one id with two contents, and what is left of before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from alembic.command import upgrade as alembic_upgrade
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection
from support.agent import running, unique
from support.databases import opened
from support.kafka import create_topic, produce, read_topic
from support.payments import Raw
from support.placed import placed
from support.waiting import eventually

from agents.analytics import on_sale
from agents.inventory import on_movement
from models.analytics import SaleFact
from models.cancellation import PaymentCancelled
from models.inventory import StockMovement
from models.order import OrderEvent
from models.payment import PaymentCompleted
from streams.database.engine import Database
from streams.database.in_database import InDatabase
from streams.database.offsets import seek
from streams.database.schema import VERSION_TABLE, _config, upgrade
from streams.failure.errors import IdTaken
from streams.sandbox import Cluster
from streams.stores.sales import SalesEffects
from streams.stores.sales_report import read_sales
from streams.stores.stock import StockEffects, read_articles

LINE = {"sku": "A1", "name": "thing", "quantity": 5, "unitPrice": "10.00"}
PAYMENT: dict[str, Any] = {
    "paymentId": "1001", "orderId": "o-1", "customerId": "C1", "method": "CARD", "currency": "GBP", "amount": "50.00",
    "paidAt": "2026-01-01T10:00:00Z", "country": "United Kingdom", "lines": [LINE],
}  # fmt: skip
CANCELLATION: dict[str, Any] = {
    "cancellationId": "1001", "paymentId": "1001", "orderId": "k-1", "customerId": "C1", "currency": "GBP",
    "amount": "50.00", "cancelledAt": "2026-01-02T10:00:00Z", "country": "United Kingdom", "lines": [LINE],
}  # fmt: skip


def payment(**changes: Any) -> PaymentCompleted:
    return PaymentCompleted.model_validate_json(json.dumps(PAYMENT | changes))


def cancellation(**changes: Any) -> PaymentCancelled:
    return PaymentCancelled.model_validate_json(json.dumps(CANCELLATION | changes))


PAID, BACK = payment(), cancellation()
OTHER = payment(orderId="o-556", amount="70.00", lines=[{**LINE, "quantity": 7}])


def movement(event: OrderEvent, *, former: bool = False) -> StockMovement:
    made = StockMovement.of(event)
    if former:
        made.movement_id = f"{event.event_id}:inventory"
    return made


def fact(event: OrderEvent, *, former: bool = False) -> SaleFact:
    made = SaleFact.of(event)
    if former:
        made.fact_id = f"{event.event_id}:analytics"
    return made


async def move(database: Database, *events: StockMovement) -> list[str]:
    """Apply movements as a batch; return what is declined, each with its reason."""
    async with database.transaction() as connection:
        declined = await StockEffects().apply(connection, placed(events))
    return [f"{each.index}: {each.error}" for each in declined]


async def count(database: Database, *facts: SaleFact) -> list[str]:
    async with database.transaction() as connection:
        declined = await SalesEffects().apply(connection, placed(facts))
    return [f"{each.index}: {each.error}" for each in declined]


async def moved(database: Database) -> int:
    return sum(each.moved for each in await read_articles(database))


async def sold(database: Database) -> tuple[int, int]:
    """Return how many sales and how many refunds are counted."""
    rows = await read_sales(database)
    return sum(row.orders for row in rows), sum(row.refunds for row in rows)


# -- two kinds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("former", [True, False], ids=["names of before", "names of today"])
async def test_a_payment_and_a_cancellation_of_one_id_both_count(
    database: Database, at_once: bool, former: bool
) -> None:
    events = [PAID, BACK, PAID, BACK]
    for batch in [events] if at_once else [[each] for each in events]:
        assert await move(database, *[movement(each, former=former) for each in batch]) == []
        assert await count(database, *[fact(each, former=former) for each in batch]) == []
    (article,) = await read_articles(database)
    assert (article.moved, article.on_hand, article.back_ordered) == (0, 0, 0)
    assert await sold(database) == (1, 1)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("first", ["of before", "of today"])
async def test_a_record_of_before_and_one_of_today_of_the_same_event_count_once(
    database: Database, first: str, at_once: bool
) -> None:
    order = [first == "of before", first != "of before"]
    for event in (PAID, BACK):
        movements, facts = [[make(event, former=each) for each in order] for make in (movement, fact)]
        for batch in [slice(0, 2)] if at_once else [slice(0, 1), slice(1, 2)]:
            assert await move(database, *movements[batch]) == []  # type: ignore[arg-type]
            assert await count(database, *facts[batch]) == []  # type: ignore[arg-type]
    assert await moved(database) == 0
    assert await sold(database) == (1, 1)


# -- one id, other contents ------------------------------------------------------------------------


async def test_another_event_under_an_id_that_is_taken_is_declined_and_says_where_the_first_is(
    database: Database,
) -> None:
    assert await move(database, movement(PAID)) == []
    (why,) = await move(database, movement(BACK), movement(OTHER))
    assert why.startswith("1: its id is taken: the record at test-0@0 has the same id and other contents")
    (why,) = await count(database, fact(BACK), fact(PAID), fact(OTHER), fact(PAID))
    assert why.startswith("2: its id is taken: the record at test-0@1 has the same id")


@pytest.mark.parametrize("former", [True, False], ids=["a name of before", "a name of today"])
async def test_other_contents_are_told_whichever_form_their_name_has(database: Database, former: bool) -> None:
    assert await count(database, fact(PAID, former=former)) == []
    assert len(await count(database, fact(OTHER, former=not former))) == 1


async def test_two_lanes_that_meet_under_one_id_do_not_both_count(database: Database) -> None:
    events = [payment(paymentId=f"{number}") for number in range(20)]
    others = [payment(paymentId=f"{number}", orderId="o-2") for number in range(20)]
    declined = await asyncio.gather(
        count(database, *map(fact, events)), count(database, *map(fact, reversed(others))),
        return_exceptions=True,
    )  # fmt: skip
    # One of them is declined whole, or, on PostgreSQL, was in the other's way and is to be run again.
    assert sorted(len(each) if isinstance(each, list) else 20 for each in declined) == [0, 20]


async def test_through_real_lanes_it_is_a_dead_letter_and_the_sums_of_the_outcomes_are_right(
    kafka: Cluster, database: Database
) -> None:
    for handler, effects, make in ((on_movement, StockEffects(), movement), (on_sale, SalesEffects(), fact)):
        topic = unique("facts")
        for name in (topic, topic + ".DLT"):
            await create_topic(kafka.bootstrap_servers, name, 1)
        events = [PAID, BACK, OTHER, payment(paymentId="2", orderId="o-2"), OTHER, PAID]
        records = [Raw(0, each.order_id.encode(), make(each).to_json()) for each in events]
        await produce(kafka.bootstrap_servers, topic, records)
        finish = InDatabase(database, effects)  # type: ignore[arg-type]
        async with running(kafka.bootstrap_servers, [topic], handler, finish=finish) as agent:
            await agent.consumed()
            tally = agent.source.meter.tally
            assert (tally.consumed, tally.processed, dict(tally.dead_letters)) == (6, 4, {"validate": 2})
        letters = await read_topic(kafka.bootstrap_servers, topic + ".DLT")
        assert [(each.key, each.value) for each in letters] == [(records[n].key, records[n].value) for n in (2, 4)]
        for letter in letters:
            headers = dict(letter.headers)
            assert f"{topic}-0@0 has the same id".encode() in headers["x-error-reason"]
            assert headers["x-error-stage"] == b"validate"
            assert headers["kafka_dlt-exception-fqcn"] == b"streams.failure.errors.IdTaken"
            assert headers["kafka_dlt-original-topic"] == topic.encode()
    assert await moved(database) == 5
    assert await sold(database) == (2, 1)


async def test_a_replay_counts_nothing_twice_and_gives_the_same_letters(kafka: Cluster, database: Database) -> None:
    topic, group = unique("facts"), unique("group")
    for name in (topic, topic + ".DLT"):
        await create_topic(kafka.bootstrap_servers, name, 1)
    events = [PAID, OTHER, BACK]
    await produce(kafka.bootstrap_servers, topic, [Raw(0, b"k", fact(each).to_json()) for each in events])
    for _ in range(2):
        finish = InDatabase(database, SalesEffects())
        async with running(kafka.bootstrap_servers, [topic], on_sale, group=group, finish=finish) as agent:
            await eventually(lambda: agent.source.meter.tally.consumed == 3, "all of it to be read")
        await seek(database, group, topic, None, None)
    assert await sold(database) == (1, 1)
    letters = await read_topic(kafka.bootstrap_servers, topic + ".DLT")
    reasons = {dict(each.headers)["x-error-reason"] for each in letters}
    assert (len(letters), len(reasons)) == (2, 1)


# -- rows of before schema 0006 --------------------------------------------------------------------


def _to_0005(connection: Connection) -> None:
    alembic_upgrade(_config(connection=connection, version_table=VERSION_TABLE), "0005")


async def before(url: str, events: Sequence[OrderEvent], *, seen: str = "2026-03-01") -> None:
    """Leave behind what paystream with schema 0005 did of these events: of two with one id, the first counted."""
    async with opened(url) as database:
        database.create()
        async with database.transaction() as connection:
            await connection.run_sync(_to_0005)
            done: set[str] = set()
            for event in events:
                if event.event_id not in done:
                    done.add(event.event_id)
                    await _count_as_before(connection, event, seen)
        assert (await upgrade(database)).found == "0005"


async def _count_as_before(connection: AsyncConnection, event: OrderEvent, seen: str) -> None:
    seen_at = int(payment(paidAt=f"{seen}T00:00:00Z").occurred_at.timestamp())
    for table, key, output in (
        ("stock_movements", "movement_id", "inventory"),
        ("sales_facts", "fact_id", "analytics"),
    ):
        statement = text(f"INSERT INTO {table} ({key}, seen_at) VALUES (:id, :at)")
        await connection.execute(statement, {"id": f"{event.event_id}:{output}", "at": seen_at})
    orders, refunds = (0, 1) if event.takes_back else (1, 0)
    moment = int(event.occurred_at.timestamp())
    money = int(event.amount * 1_000_000)
    await connection.execute(
        text(
            "INSERT INTO sales_totals VALUES (:minute, 'GBP', 'United Kingdom', :orders, 0, :sold, :refunds, 0, :back)"
        ),
        {
            "minute": moment - moment % 60, "orders": orders, "sold": orders * money, "refunds": refunds,
            "back": refunds * money,
        },
    )  # fmt: skip
    for line in event.lines:
        await connection.execute(
            text(
                "INSERT INTO stock VALUES (:sku, 0, 0, :n, :n, 0) ON CONFLICT (sku) DO UPDATE SET "
                "back_ordered = stock.back_ordered + :n, moved = stock.moved + :n"
            ),
            {"sku": line.sku, "n": event.stock_sign * line.quantity},
        )


def effects_of(*events: OrderEvent, former: bool = False) -> tuple[list[StockMovement], list[SaleFact]]:
    return [movement(each, former=former) for each in events], [fact(each, former=former) for each in events]


async def replay(database: Database, *events: OrderEvent, former: bool = False) -> None:
    """Have what follows from events come again, in batches of one."""
    for event in events:
        assert await count(database, fact(event, former=former)) == []
        assert await move(database, movement(event, former=former)) == []


@pytest.mark.parametrize("former", [True, False], ids=["records of before", "records of today"])
@pytest.mark.parametrize("event", [PAID, BACK], ids=["payment", "cancellation"])
async def test_what_was_counted_before_the_upgrade_is_recognised(
    empty_database_url: str, event: OrderEvent, former: bool
) -> None:
    await before(empty_database_url, [event])
    async with opened(empty_database_url) as database:
        whole = await moved(database), await sold(database)
        for _ in range(2):
            await replay(database, event, former=former)
            await replay(database, event, former=not former)
        assert (await moved(database), await sold(database)) == whole


@pytest.mark.parametrize("former", [True, False], ids=["records of before", "records of today"])
async def test_a_refund_that_vanished_before_the_upgrade_is_brought_back_by_a_replay(
    empty_database_url: str, former: bool
) -> None:
    await before(empty_database_url, [PAID, BACK])
    async with opened(empty_database_url) as database:
        assert (await moved(database), await sold(database)) == (5, (1, 0)), "it has vanished"
        for _ in range(2):
            await replay(database, PAID, BACK, former=former)
        assert (await moved(database), await sold(database)) == (0, (1, 1))


@pytest.mark.parametrize("stock_first", [True, False])
async def test_a_refund_that_comes_after_the_upgrade_is_not_taken_for_the_payment_of_its_id(
    empty_database_url: str, stock_first: bool
) -> None:
    await before(empty_database_url, [PAID])
    async with opened(empty_database_url) as database:
        for step in (move, count) if stock_first else (count, move):
            assert await step(database, movement(BACK) if step is move else fact(BACK)) == []  # type: ignore[operator]
        await replay(database, BACK, PAID)
        assert (await moved(database), await sold(database)) == (0, (1, 1))


async def test_without_sales_a_row_that_was_there_before_the_event_is_not_its(empty_database_url: str) -> None:
    await before(empty_database_url, [PAID], seen="2025-12-30")
    async with opened(empty_database_url) as database:
        async with database.transaction() as connection:
            await connection.execute(text("DELETE FROM sales_facts"))
        assert await move(database, movement(BACK)) == []
        assert await moved(database) == 0


async def test_a_row_of_before_is_taken_by_one_event_only(empty_database_url: str) -> None:
    await before(empty_database_url, [PAID])
    later = payment(paidAt=(PAID.occurred_at + timedelta(seconds=10)).isoformat())
    async with opened(empty_database_url) as database:
        await replay(database, PAID)
        assert len(await count(database, fact(later))) == 1
        assert len(await move(database, movement(later))) == 1


async def test_ids_of_no_form_of_ours_get_their_digest_at_the_next_repeat(empty_database_url: str) -> None:
    await before(empty_database_url, [])
    async with opened(empty_database_url) as database:
        async with database.transaction() as connection:
            await connection.execute(text("INSERT INTO stock_movements (movement_id, seen_at) VALUES ('m7', 1)"))
        own, other = movement(PAID), movement(OTHER)
        own.movement_id = other.movement_id = "m7"
        assert await move(database, own) == []
        assert await moved(database) == 0
        assert len(await move(database, other)) == 1


def test_the_error_says_so_where_the_first_is_not_known() -> None:
    assert "a place that is not known any more" in str(IdTaken(None))
